//! A server whose threads share one processor under SCHED_FIFO keeps running: no thread waits for a
//! thread that it has preempted.
//!
//! `cargo test --release --test one_processor -- --ignored --nocapture` runs ten minutes of silence
//! and then ten minutes of talk. The tests are skipped on a machine that permits no real-time
//! priority or has a single processor, because the clients need a second one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The number of talkers: so many that packets arrive one by one and the network thread never
/// sleeps in between.
const TALKERS: usize = 24;

/// How long the server may go without a tick. After that it is stuck for good: a machine stalls for
/// a second at most.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn server_on_one_processor_never_stops_ticking() {
    talk_for(Duration::from_secs(30));
}

#[test]
#[ignore = "twenty minutes"]
fn server_on_one_processor_never_stops_ticking_in_ten_minutes() {
    talk_for(Duration::from_secs(600));
}

fn talk_for(time: Duration) {
    let all = sched_getaffinity(None).expect("the system tells where threads may run");
    let mut processors = (0..CpuSet::MAX_CPU).filter(|processor| all.is_set(*processor));
    let (Some(first), Some(second)) = (processors.next(), processors.next()) else {
        return eprintln!("skipped: there is only one processor");
    };
    if mixminus::sched::raise_priority(1).is_err() {
        return eprintln!("skipped: no real-time priority is permitted");
    }
    // A process starts on the processor of the thread that spawns it. The test's thread then
    // continues on the clients' processor.
    sched_setaffinity(None, &only(first)).expect("threads may run there");
    let server = Server::start();
    sched_setaffinity(None, &only(second)).expect("threads may run there");
    let mut clients = Running(
        Command::new(env!("CARGO_BIN_EXE_mixminus"))
            .args(["bench", "load", "--settle=1", "--nobody-seconds=1"])
            .arg(format!(
                "--target=whip:http://{}/v1/rooms/{{room}}/participants",
                server.http
            ))
            .arg(format!("--everybody-talks={TALKERS}"))
            .arg(format!("--seconds={}", time.as_secs()))
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary was built with the test"),
    );
    let began = Instant::now();
    let mut ticks = 0;
    let mut moved = Instant::now();
    let mut longest = Duration::ZERO;
    loop {
        let ended = clients.0.try_wait().expect("it is our own child");
        let now_ticks = server.ticks();
        if ticks == 0 || now_ticks.is_some_and(|now| now > ticks) {
            moved = Instant::now();
        }
        ticks = now_ticks.unwrap_or(ticks);
        longest = longest.max(moved.elapsed());
        if let Some(status) = ended {
            // A load that is too high for the machine is a result as well.
            println!("the clients ended with {status}");
            break;
        }
        assert!(
            moved.elapsed() < PATIENCE,
            "the mixer stands still after {} s, at tick {ticks}",
            began.elapsed().as_secs()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    println!(
        "{ticks} ticks in {} s, none for {longest:?} at most",
        began.elapsed().as_secs()
    );
    // The least number of ticks: half of what an idle machine would run.
    let least = time.as_millis() as u64 / 20 / 2;
    assert!(ticks >= least, "{ticks} ticks, {least} wanted");
    server.stop();
}

fn only(processor: usize) -> CpuSet {
    let mut only = CpuSet::new();
    only.set(processor);
    only
}

/// A child process that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Killing fails if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Server {
    process: Running,
    http: SocketAddr,
}

impl Server {
    /// Starts a server with one mixer and waits until it answers.
    fn start() -> Server {
        let free = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
        let http = free.local_addr().expect("it is bound");
        drop(free);
        let process = Command::new(env!("CARGO_BIN_EXE_mixminus"))
            .args(["serve", "--media=127.0.0.1:0", "--mixers=1"])
            .arg(format!("--http={http}"))
            .stdout(Stdio::null())
            .spawn();
        let server = Server {
            process: Running(process.expect("the binary was built with the test")),
            http,
        };
        let patience = Instant::now() + PATIENCE;
        while server.ticks().is_none() {
            assert!(Instant::now() < patience, "the server does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// Returns the number of ticks of all rooms so far; `None` if the server does not answer in
    /// time.
    fn ticks(&self) -> Option<u64> {
        let mut stream = TcpStream::connect_timeout(&self.http, Duration::from_secs(2)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let mut lines = answer.lines();
        let line = lines.find(|line| line.starts_with("mixminus_ticks_total{"))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// Asks the server to end, and panics unless it ends successfully.
    fn stop(mut self) {
        let id = self.process.0.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status();
        assert!(asked.is_ok_and(|status| status.success()), "it runs");
        let status = self.process.0.wait().expect("it is our own child");
        assert!(status.success(), "it ended with {status}");
    }
}
