//! A call of two participants continues, whatever strangers, spoofers and a hostile participant
//! send to the server.
//!
//! Ann and Bob talk to each other all the time. Each packet that they receive is recorded, and
//! judged over the time of each attack. `http.rs` has the attacks on HTTP; this file has only
//! attacks that could disturb a call.

#[path = "hostile/attacks.rs"]
mod attacks;
#[path = "common/call.rs"]
#[allow(dead_code, reason = "each test uses its own part")]
mod call;
#[path = "hostile/caller.rs"]
mod caller;
#[path = "transport/client.rs"]
mod client;
#[path = "common/scheduler_watch.rs"]
mod scheduler_watch;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use attacks::Attack;
use call::Host;
use caller::Pair;
use client::{Client, binding};
use scheduler_watch::{ATTEMPTS, SchedulerWatch};

/// How long each attack lasts.
const ATTACK: Duration = Duration::from_millis(1_500);

/// Strangers attack the media port from an unknown address.
#[test]
fn call_continues_under_attack_from_unknown_addresses_which_get_no_answer() {
    let host = Host::start();
    let pair = Pair::call(&host);
    let stranger = socket();
    for attack in attacks::of_strangers() {
        let before = host.metric("mixminus_rtc_dropped_total", attack.counted_as);
        pair.undisturbed(attack.name, || fire(&stranger, host.media(), &attack));
        let after = host.metric("mixminus_rtc_dropped_total", attack.counted_as);
        assert!(
            after > before,
            "{} is not counted as {}",
            attack.name,
            attack.counted_as
        );
        assert_silence(&stranger, attack.name);
    }
    pair.hang_up();
    host.stop();
}

/// Strangers attack while a participant joins: the join takes at most one retransmission longer.
#[test]
fn join_takes_at_most_100_ms_longer_under_attack_from_unknown_addresses() {
    let host = Host::start();
    let calm = (0..5).map(|_| connect(&host, None)).min().expect("five");
    for attack in attacks::of_strangers()
        .into_iter()
        .filter(|attack| attack.is_dtls)
    {
        let limit = calm + Duration::from_millis(100);
        let time = soon(attack.name, limit, || connect(&host, Some(&attack)));
        println!(
            "connect_ms,{},{},calm {}",
            attack.name,
            time.as_millis(),
            calm.as_millis()
        );
    }
    host.stop();
}

/// The attacks come from Ann's own address, as an attacker on the network path could send them.
#[test]
fn call_continues_under_attack_from_a_participants_spoofed_address() {
    let host = Host::start();
    let pair = Pair::call(&host);
    let spoofed = pair.socket_of_ann();
    for attack in attacks::of_strangers() {
        pair.undisturbed(attack.name, || fire(&spoofed, host.media(), &attack));
    }
    assert!(host.metric("mixminus_rtc_dropped_total", "hostile_dtls") > 0.0);
    assert_eq!(host.metric("mixminus_rtc_faults_total", ""), 0.0);
    pair.hang_up();
    host.stop();
}

/// A participant cannot direct the mix to an address that never asked for it.
#[test]
fn server_sends_strangers_nothing_but_stun() {
    let host = Host::start();
    let pair = Pair::call(&host);
    let mut mallory = Client::new(666, false);
    let offer = mallory.offer();
    let (session, answer) = host.post(caller::ROOM, &offer);
    mallory.answer(&answer);
    assert!(mallory.run(Duration::from_secs(5), |mallory| mallory.connected));
    let value = |sdp: &str, name: &str| {
        let line = sdp.lines().find_map(|line| line.strip_prefix(name));
        line.expect("an attribute").trim().to_owned()
    };
    let name = format!(
        "{}:{}",
        value(&answer, "a=ice-ufrag:"),
        value(&offer, "a=ice-ufrag:")
    );
    let victim = socket();
    for _ in 0..50 {
        let check = binding(&name, &value(&answer, "a=ice-pwd:"), true);
        victim.send_to(&check, host.media()).expect("sent");
        mallory.run(Duration::from_millis(20), |_| false);
    }
    let (mut checks, mut buffer) = (0, [0; 2_000]);
    while let Ok(length) = victim.recv(&mut buffer) {
        assert!(
            length > 0 && buffer[0] < 4,
            "only STUN, and not {:x}",
            buffer[0]
        );
        checks += 1;
    }
    println!("stun_to_the_victim,{checks},for 50");
    // The server answers each connectivity check and checks the address in turn, as ICE requires.
    // It sends nothing else to that address.
    assert!((50..=4 * 50).contains(&checks), "{checks}");
    host.leave(&session);
    pair.hang_up();
    host.stop();
}

/// A participant attacks with valid SRTP, by packets that no regular client sends.
#[test]
fn call_continues_beside_a_hostile_participant() {
    let host = Host::start();
    let pair = Pair::call(&host);
    let mut mallory = Client::new(666, false);
    let session = host.join(&mut mallory, caller::ROOM);
    assert!(mallory.run(Duration::from_secs(5), |mallory| mallory.connected));
    let mut sent = 0;
    for abuse in attacks::of_participants() {
        let undecodable = host.metric("mixminus_packets_undecodable_total", "");
        let busy = host.metric("mixminus_mixer_busy_seconds_total", "");
        let (begin, first) = (Instant::now(), sent);
        pair.undisturbed(abuse.name, || {
            let end = Instant::now() + ATTACK;
            while Instant::now() < end {
                for _ in 0..abuse.packets_in_20_ms {
                    mallory.send_packet(abuse.packet(mallory.ssrc, sent));
                    sent += 1;
                }
                mallory.run(Duration::from_millis(20), |_| false);
            }
        });
        let busy = host.metric("mixminus_mixer_busy_seconds_total", "") - busy;
        let load = busy / begin.elapsed().as_secs_f64();
        let undecodable = host.metric("mixminus_packets_undecodable_total", "") - undecodable;
        println!(
            "abuse,{},sent {},undecodable {undecodable},mixer load {load:.3}",
            abuse.name,
            sent - first
        );
        assert_eq!(undecodable > 0.0, abuse.is_undecodable, "{}", abuse.name);
        assert!(load < 0.3, "{}: the mixer is busy {load}", abuse.name);
    }
    assert_eq!(host.metric("mixminus_room_faults_total", ""), 0.0);
    assert_eq!(host.metric("mixminus_rtc_faults_total", ""), 0.0);
    host.leave(&session);
    pair.hang_up();
    host.stop();
}

/// Strangers hold sessions that never connect, and HTTP connections on which they send nothing.
#[test]
fn call_continues_beside_unconnected_sessions_and_idle_connections() {
    const IDLE: usize = 400;
    let host = Host::start();
    let pair = Pair::call(&host);
    pair.undisturbed("sessions that nobody comes to", || {
        for at in 0..60 {
            host.post(&format!("empty-{}", at % 20), &Client::new(1, true).offer());
        }
    });
    let mut idle: Vec<TcpStream> = Vec::new();
    pair.undisturbed("idle connections", || {
        for at in 0..IDLE {
            let mut stream = TcpStream::connect(host.http()).expect("it listens");
            if at % 2 == 0 {
                stream
                    .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx")
                    .expect("written");
            }
            idle.push(stream);
        }
    });
    let healthz = soon("healthz", Duration::from_millis(100), || {
        let begin = Instant::now();
        assert_eq!(host.ask("GET", "/healthz", "", "").status, 200);
        begin.elapsed()
    });
    println!(
        "healthz_ms,{:.1},beside {IDLE} idle connections",
        healthz.as_secs_f64() * 1e3
    );
    for mut stream in idle {
        stream
            .set_read_timeout(Some(Duration::from_secs(13)))
            .expect("a socket");
        let closed = stream.read_to_end(&mut Vec::new());
        assert!(closed.is_ok(), "still open: {closed:?}");
    }
    pair.hang_up();
    host.stop();
}

/// Repeats a measurement until the time is within `limit`, and returns that time. Panics if it
/// never is, or if it exceeds the limit three times while the machine does not stall.
fn soon(what: &str, limit: Duration, mut measure: impl FnMut() -> Duration) -> Duration {
    let watch = SchedulerWatch::start();
    let mut calm = 0;
    for _ in 0..2 * ATTEMPTS {
        let begin = Instant::now();
        let time = measure();
        if time < limit {
            return time;
        }
        calm += usize::from(!watch.was_disturbed(begin, Instant::now()));
        assert!(calm < 3, "{what}: {time:?}, at most {limit:?} wanted");
    }
    panic!("{what}: this machine stalls too often to judge")
}

/// Sends an attack's datagrams in turn, at the attack's rate, for `ATTACK`.
fn fire(from: &UdpSocket, media: SocketAddr, attack: &Attack) {
    let begin = Instant::now();
    let mut datagrams = attack.datagrams.iter().cycle();
    let mut sent = 0;
    while begin.elapsed() < ATTACK {
        let due = (begin.elapsed().as_secs_f64() * f64::from(attack.per_second)) as u32;
        while sent < due {
            let datagram = datagrams.next().expect("it cycles");
            // A full send buffer of the attacker says nothing about the server.
            let _ = from.send_to(datagram, media);
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns the time from the `POST` to the connection, while an attack is sent.
fn connect(host: &Host, attack: Option<&Attack>) -> Duration {
    let (media, stranger) = (host.media(), socket());
    let mut client = Client::new(5, true);
    let begin = Instant::now();
    let session = host.join(&mut client, "another");
    let mut datagrams = attack.iter().flat_map(|attack| &attack.datagrams).cycle();
    assert!(client.run(Duration::from_secs(10), |client| {
        if let Some(datagram) = datagrams.next() {
            // The attack comes from another address and, worse, from the joining client's own.
            let _ = stranger.send_to(datagram, media);
            let _ = client.socket.send_to(datagram, media);
        }
        client.connected
    }));
    let time = begin.elapsed();
    host.leave(&session);
    assert_silence(&stranger, "a join under attack");
    time
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_nonblocking(true).expect("a socket");
    socket
}

fn assert_silence(stranger: &UdpSocket, after: &str) {
    let received = stranger.recv(&mut [0; 2_000]).map_err(|error| error.kind());
    assert_eq!(received, Err(ErrorKind::WouldBlock), "{after} is answered");
}
