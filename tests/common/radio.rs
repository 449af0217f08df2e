//! A server and radios as processes of their own: `mixminus serve`, `mixminus join --ptt`.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A server in a process of its own, on free ports of loopback.
pub struct Served {
    child: Child,
    http: SocketAddr,
}

impl Served {
    /// Starts it and waits until it says where it is.
    pub fn start() -> Served {
        Served::with(&[])
    }

    /// Starts it with further arguments and waits until it says where it is.
    pub fn with(arguments: &[&str]) -> Served {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mixminus"))
            .args(["serve", "--http=127.0.0.1:0", "--media=127.0.0.1:0"])
            // Tests of several rooms listen to open ones.
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
        // What it says later must not fill the pipe.
        thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Served {
            child,
            http: http.expect("it says where it is"),
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it serves HTTP.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where offers for a room are posted.
    pub fn url(&self, room: &str) -> String {
        format!("http://{}/v1/rooms/{room}/participants", self.http)
    }

    /// Makes a room, or sets it otherwise.
    pub fn room(&self, room: &str, settings: &Value) {
        let answer = self.ask("PUT", &format!("/v1/rooms/{room}"), &settings.to_string());
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    }

    /// One request on a connection of its own; the whole answer.
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
        // Has ended already, if all went wrong.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that tells what happens.
pub struct Radio {
    child: Child,
    stdin: Option<ChildStdin>,
    told: EventLog,
}

/// The lines it has printed, and when.
#[derive(Clone, Default)]
struct EventLog(Arc<Mutex<Vec<(Instant, Value)>>>);

impl Radio {
    /// Joins, and waits until it is in and was told the room.
    pub fn join(url: &str, name: &str, arguments: &[&str]) -> Radio {
        let radio = Radio::start(url, name, arguments);
        radio.wait("connected", |_| true);
        radio.wait("room", |_| true);
        radio
    }

    /// Joins; its standard input stays open.
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

    /// Types a line.
    pub fn key(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it was not ended");
        writeln!(stdin, "{line}").expect("it runs");
    }

    /// Standard input, to be written to or to be ended.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().expect("it was not taken before")
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -s $0 $1", name, &id])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "it runs");
    }

    /// Its public name of the moment.
    pub fn id(&self) -> String {
        let told = self.told.all();
        let connected = told.iter().rfind(|event| event["event"] == "connected");
        let id = connected.and_then(|event| event["participant"].as_str());
        id.expect("it is in").to_owned()
    }

    /// Waits for something to be told, from the very beginning on; gives it and when it came.
    pub fn wait(&self, event: &str, wish: impl Fn(&Value) -> bool) -> (Instant, Value) {
        self.wait_after(0, event, wish)
    }

    /// How much it has told, to wait for what comes after that.
    pub fn mark(&self) -> usize {
        self.told.0.lock().expect("no panic while held").len()
    }

    /// The same, for what is told after a mark.
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

    /// Everything it has told.
    pub fn told(&self) -> Vec<Value> {
        self.told.all()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our own child");
    }

    /// Asks it to end, and fails unless it ends well.
    pub fn stop(mut self) {
        self.signal("TERM");
        self.ended();
    }

    /// Waits for its end, and fails unless that is a good one.
    pub fn ended(&mut self) {
        let status = self.status();
        assert!(status.success(), "it ended with {status}");
    }

    /// Waits for its end, and tells how it was.
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
        // Has ended already, if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl EventLog {
    fn read(&self, from: impl Read + Send + 'static) {
        let told = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                // Standard error has other lines as well.
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

/// Longer than anything takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(15);
