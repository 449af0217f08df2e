//! A server in the test's process, for clients that call it. One thread can drive any number of
//! these clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use mixminus::config::Config;
use mixminus::server::Server;
use tokio::runtime::Runtime;

use crate::client::Client;

/// A server with a tokio runtime of its own.
pub struct Host {
    runtime: Runtime,
    server: Server,
    http: SocketAddr,
    media: SocketAddr,
}

/// A response to an HTTP request.
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Host {
    /// Starts a server on free loopback ports, with the default settings otherwise.
    pub fn start() -> Host {
        Host::with(Config::default())
    }

    /// Starts a server with this configuration on free loopback ports.
    pub fn with(config: Config) -> Host {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            http: loopback,
            media: loopback,
            ..config
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_keep_alive(Duration::from_millis(200))
            .enable_all()
            .build()
            .expect("threads are to be had");
        let server = runtime.block_on(async { Server::start(config).expect("it starts") });
        Host {
            http: server.http_addr(),
            media: server.media_addr(),
            runtime,
            server,
        }
    }

    pub fn media(&self) -> SocketAddr {
        self.media
    }

    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Sends one request on a connection of its own and returns the response.
    pub fn ask(&self, method: &str, path: &str, media_type: &str, body: &str) -> Reply {
        let mut stream = TcpStream::connect(self.http).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a socket");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {media_type}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        Reply {
            status: head[9..12].parse().expect("a status"),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// Lets a client join; returns the path of its session. Media flows once the client is driven.
    pub fn join(&self, client: &mut Client, room: &str) -> String {
        let (session, answer) = self.post(room, &client.offer());
        client.answer(&answer);
        session
    }

    /// Posts an offer; returns the path of the session and the SDP answer.
    pub fn post(&self, room: &str, offer: &str) -> (String, String) {
        let path = format!("/v1/rooms/{room}/participants");
        let reply = self.ask("POST", &path, "application/sdp", offer);
        assert_eq!(reply.status, 201, "{}", reply.body);
        (reply.header("location"), reply.body)
    }

    pub fn leave(&self, session: &str) {
        assert_eq!(self.ask("DELETE", session, "", "").status, 200);
    }

    /// Returns the sum of a metric over all series whose line in `/metrics` contains `label`; an
    /// empty label means all series.
    pub fn metric(&self, family: &str, label: &str) -> f64 {
        let page = self.ask("GET", "/metrics", "", "").body;
        let of_family = |line: &&str| {
            line.strip_prefix(family)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
                && line.contains(label)
        };
        let values = page
            .lines()
            .filter(of_family)
            .filter_map(|line| line.rsplit(' ').next());
        values
            .map(|value| value.parse::<f64>().expect("a number"))
            .sum()
    }

    /// Stops the server and waits until its threads and sockets are gone.
    pub fn stop(self) {
        self.runtime.block_on(self.server.stop());
    }
}

impl Reply {
    /// Returns the value of a header that must be present.
    pub fn header(&self, name: &str) -> String {
        let line = self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value)
        });
        line.expect("the header").trim().to_owned()
    }
}

/// Returns one second of 440.5 Hz at -20 dBFS as Opus packets of 20 ms.
pub fn tone() -> Vec<&'static [u8]> {
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Audio)
        .expect("an encoder");
    let sample = |at| 0.1 * (std::f32::consts::TAU * 440.5 * at as f32 / 48_000.0).sin();
    let samples: Vec<f32> = (0..48_000).map(sample).collect();
    let packets = samples
        .chunks(960)
        .map(|frame| encoder.encode_vec_float(frame, 400));
    packets
        .map(|packet| &*packet.expect("a packet").leak())
        .collect()
}
