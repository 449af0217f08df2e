//! Two participants who talk to each other, with a record of what each of them received at which
//! instant.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::call::{Host, tone};
use crate::client::Client;

pub const ROOM: &str = "call";

/// The longest permitted time without a packet, with one sent every 20 ms: two may be late in a
/// row.
const MAX_GAP: Duration = Duration::from_millis(60);

/// How often an attack is made before the test believes that the attack disturbs the call: all
/// tests share two processors.
const ATTEMPTS: usize = 4;

/// A packet with its arrival.
#[derive(Clone, Copy)]
struct Arrival {
    at: Instant,
    seq: u16,
    time: u32,
}

type Log = Arc<Mutex<Vec<Arrival>>>;

/// Ann and Bob, each on a thread of their own.
pub struct Pair {
    ann: Caller,
    bob: Caller,
}

struct Caller {
    name: &'static str,
    log: Log,
    socket: UdpSocket,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Pair {
    /// Lets both participants join and waits until they hear each other.
    pub fn call(host: &Host) -> Pair {
        let pair = Pair {
            ann: Caller::join(host, "Ann", 1),
            bob: Caller::join(host, "Bob", 2),
        };
        // The participants receive half a second of sound first, until the jitter buffers have
        // settled.
        let end = Instant::now() + Duration::from_secs(5);
        while [&pair.ann, &pair.bob]
            .iter()
            .any(|caller| caller.heard() < 25)
        {
            assert!(Instant::now() < end, "they do not hear each other");
            std::thread::sleep(Duration::from_millis(20));
        }
        pair
    }

    /// Returns a socket that sends from Ann's address, as a spoofer would.
    pub fn socket_of_ann(&self) -> UdpSocket {
        self.ann.socket.try_clone().expect("a descriptor")
    }

    /// Makes an attack with `make` and asserts that Ann and Bob received everything from each other
    /// meanwhile; tries again if they did not.
    pub fn undisturbed(&self, attack: &str, mut make: impl FnMut()) {
        let mut gaps = Vec::new();
        for _ in 0..ATTEMPTS {
            let begin = Instant::now();
            make();
            // Packets that are still under way belong to the attack's time.
            std::thread::sleep(Duration::from_millis(60));
            let end = Instant::now();
            let faults: Vec<String> = [&self.ann, &self.bob]
                .iter()
                .filter_map(|caller| caller.fault(begin, end))
                .collect();
            let gap = self
                .ann
                .longest_gap(begin, end)
                .max(self.bob.longest_gap(begin, end));
            println!("gap_ms,{attack},{:.1}", gap.as_secs_f64() * 1e3);
            if faults.is_empty() {
                return;
            }
            gaps.extend(faults);
        }
        panic!("{attack} disturbs the call: {gaps:?}");
    }

    /// Stops both participants without a `DELETE`; the caller of this function stops the server
    /// next.
    pub fn hang_up(self) {
        for caller in [self.ann, self.bob] {
            caller.stop.store(true, Ordering::Relaxed);
            caller.thread.join().expect("the caller did not panic");
        }
    }
}

impl Caller {
    fn join(host: &Host, name: &'static str, ssrc: u32) -> Caller {
        let mut client = Client::new(ssrc, true);
        host.join(&mut client, ROOM);
        assert!(
            client.run(Duration::from_secs(5), |client| client.connected),
            "{name} connects"
        );
        let socket = client.socket.try_clone().expect("a descriptor");
        let (log, stop) = (Log::default(), Arc::<AtomicBool>::default());
        let (arrivals, stopped) = (log.clone(), stop.clone());
        Caller {
            name,
            log,
            socket,
            stop,
            thread: std::thread::spawn(move || talk(&mut client, &arrivals, &stopped)),
        }
    }

    fn heard(&self) -> usize {
        self.log.lock().expect("no panic while held").len()
    }

    fn during(&self, begin: Instant, end: Instant) -> Vec<Arrival> {
        let log = self.log.lock().expect("no panic while held");
        log.iter()
            .filter(|arrival| (begin..end).contains(&arrival.at))
            .copied()
            .collect()
    }

    fn longest_gap(&self, begin: Instant, end: Instant) -> Duration {
        let arrivals = self.during(begin, end);
        let times = std::iter::once(begin).chain(arrivals.iter().map(|arrival| arrival.at));
        let until = arrivals.iter().map(|arrival| arrival.at).chain([end]);
        times
            .zip(until)
            .map(|(from, to)| to.duration_since(from))
            .max()
            .unwrap_or_default()
    }

    /// Describes a fault in the packets between two instants: a missing or late packet, or a jump
    /// of the media clock; `None` if there is none.
    fn fault(&self, begin: Instant, end: Instant) -> Option<String> {
        let gap = self.longest_gap(begin, end);
        if gap > MAX_GAP {
            return Some(format!("{} heard nothing for {gap:?}", self.name));
        }
        let arrivals = self.during(begin, end);
        let broken = arrivals.windows(2).find(|pair| {
            pair[1].seq != pair[0].seq.wrapping_add(1)
                || pair[1].time != pair[0].time.wrapping_add(960)
        })?;
        let steps = (
            broken[1].seq.wrapping_sub(broken[0].seq),
            broken[1].time.wrapping_sub(broken[0].time),
        );
        Some(format!("{} has a hole of {steps:?}", self.name))
    }
}

/// Sends a packet every 20 ms and records the arrivals in `log`, until `stop` is set.
fn talk(client: &mut Client, log: &Log, stop: &AtomicBool) {
    let begin = Instant::now();
    for (sent, packet) in (0..).zip(tone().iter().cycle()) {
        while Instant::now() < begin + sent * Duration::from_millis(20) {
            client.turn();
            let at = Instant::now();
            let arrivals = client.packets.drain(..).map(|packet| Arrival {
                at,
                seq: packet.header.sequence_number,
                time: packet.header.timestamp,
            });
            log.lock().expect("no panic while held").extend(arrivals);
            std::thread::sleep(Duration::from_millis(1));
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
        client.send(packet);
    }
}
