//! A server and push-to-talk clients (radios) as separate processes: `mixminus serve` and `mixminus
//! join --ptt`.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A server process on free loopback ports.
pub struct Served {
    child: Child,
    http: SocketAddr,
}

impl Served {
    /// Starts the server and waits until it prints its address.
    pub fn start() -> Served {
        Served::with(&[])
    }

    /// Starts the server with further arguments and waits until it prints its address.
    pub fn with(arguments: &[&str]) -> Served {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mixminus"))
            .args(["serve", "--http=127.0.0.1:0", "--media=127.0.0.1:0"])
            // Tests with several rooms monitor rooms of the mode `open`, which the default does not
            // permit.
            .arg("--allow-monitors=true")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was built with the test");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let http = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("http ")?.trim().parse().ok());
        // The pipe must not fill up with later output.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Served {
            child,
            http: http.expect("it says where it is"),
        }
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address of the server's HTTP interface.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// The URL to which offers for a room are posted.
    pub fn url(&self, room: &str) -> String {
        format!("http://{}/v1/rooms/{room}/participants", self.http)
    }

    /// Creates a room, or replaces its settings.
    pub fn room(&self, room: &str, settings: &Value) {
        let answer = self.ask("PUT", &format!("/v1/rooms/{room}"), &settings.to_string());
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    }

    /// Sends one request on a connection of its own; returns the whole response.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.http).expect("it listens");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // If all went well, the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A radio, which is a `mixminus join` process, and the events that it prints.
pub struct Radio {
    child: Child,
    stdin: Option<ChildStdin>,
    told: EventLog,
}

/// The events printed so far, each with its instant.
#[derive(Clone, Default)]
struct EventLog(Arc<Mutex<Vec<(Instant, Value)>>>);

impl Radio {
    /// Starts a radio and waits until it has joined and received the event `room`.
    pub fn join(url: &str, name: &str, arguments: &[&str]) -> Radio {
        let radio = Radio::start(url, name, arguments);
        radio.wait("connected", |_| true);
        radio.wait("room", |_| true);
        radio
    }

    /// Starts a radio whose standard input stays open.
    pub fn start(url: &str, name: &str, arguments: &[&str]) -> Radio {
        let audio_out = arguments.windows(2).any(|pair| pair == ["--record", "-"]);
        let mut child = Command::new(env!("CARGO_BIN_EXE_mixminus"))
            .args(["join", url, "--name", name, "--events"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if audio_out {
                Stdio::piped()
            } else {
                Stdio::inherit()
            })
            .spawn()
            .expect("the binary was built with the test");
        let told = EventLog::default();
        let out = child.stdout.take().expect("it is piped");
        match child.stderr.take() {
            None => told.read(out),
            Some(events) => {
                told.read(events);
                thread::spawn(move || std::io::copy(&mut { out }, &mut std::io::sink()));
            }
        }
        let stdin = child.stdin.take();
        Radio { child, stdin, told }
    }

    /// Writes a line to the radio's standard input.
    pub fn key(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it was not ended");
        writeln!(stdin, "{line}").expect("it runs");
    }

    /// Returns the radio's standard input, to write to it or to close it.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().expect("it was not taken before")
    }

    /// Sends a signal to the radio.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -s $0 $1", name, &id])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "it runs");
    }

    /// Returns the participant id of the radio's current session.
    pub fn id(&self) -> String {
        let told = self.told.all();
        let connected = told.iter().rfind(|event| event["event"] == "connected");
        let id = connected.and_then(|event| event["participant"].as_str());
        id.expect("it is in").to_owned()
    }

    /// Waits for an event of this name that meets the condition, among all events since the start;
    /// returns the event and its instant.
    pub fn wait(&self, event: &str, wish: impl Fn(&Value) -> bool) -> (Instant, Value) {
        self.wait_after(0, event, wish)
    }

    /// Returns the number of events so far, for [`Radio::wait_after`].
    pub fn mark(&self) -> usize {
        self.told.0.lock().expect("no panic while held").len()
    }

    /// Waits for an event of this name that meets the condition, among the events after a mark.
    pub fn wait_after(
        &self,
        mark: usize,
        event: &str,
        wish: impl Fn(&Value) -> bool,
    ) -> (Instant, Value) {
        let asked = Instant::now();
        loop {
            let told = self.told.0.lock().expect("no panic while held");
            let found = told[mark..]
                .iter()
                .find(|(_, told)| told["event"] == event && wish(told));
            if let Some(found) = found {
                return found.clone();
            }
            let events: Vec<String> = told.iter().map(|(_, told)| told.to_string()).collect();
            drop(told);
            assert!(
                asked.elapsed() < PATIENCE,
                "no {event} among\n{}",
                events.join("\n")
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns all events so far.
    pub fn told(&self) -> Vec<Value> {
        self.told.all()
    }

    /// Kills the process with `SIGKILL`.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our own child");
    }

    /// Sends `SIGTERM` and panics unless the process exits successfully.
    pub fn stop(mut self) {
        self.signal("TERM");
        self.ended();
    }

    /// Waits for the end of the process and panics unless it exits successfully.
    pub fn ended(&mut self) {
        let status = self.status();
        assert!(status.success(), "it ended with {status}");
    }

    /// Waits for the end of the process and returns its exit status.
    pub fn status(&mut self) -> ExitStatus {
        let asked = Instant::now();
        loop {
            let ended = self.child.try_wait().expect("it is our own child");
            if let Some(status) = ended {
                return status;
            }
            assert!(asked.elapsed() < PATIENCE, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Radio {
    fn drop(&mut self) {
        // If all went well, the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl EventLog {
    fn read(&self, from: impl Read + Send + 'static) {
        let told = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                // Standard error has log lines as well.
                let Ok(event) = serde_json::from_str(&line) else {
                    eprintln!("{line}");
                    continue;
                };
                let mut told = told.0.lock().expect("no panic while held");
                told.push((Instant::now(), event));
            }
        });
    }

    fn all(&self) -> Vec<Value> {
        let told = self.0.lock().expect("no panic while held");
        told.iter().map(|(_, event)| event.clone()).collect()
    }
}

/// The longest wait for an event or for the end of a process, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);
