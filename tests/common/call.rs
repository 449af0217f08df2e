//! A server in this process, and clients that call it: one thread may drive as many of them as it likes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use mixminus::config::Config;
use mixminus::server::Server;
use tokio::runtime::Runtime;

use crate::client::Client;

/// A server with a runtime of its own.
pub struct Host {
    runtime: Runtime,
    server: Server,
    http: SocketAddr,
    media: SocketAddr,
}

/// An answer to a request.
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Host {
    /// On free ports of loopback, with the defaults otherwise.
    pub fn start() -> Host {
        Host::with(Config::default())
    }

    /// The same with other settings.
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

    /// One request on a connection of its own.
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

    /// Lets a client join; says where its session is. Media flows once the client is driven.
    pub fn join(&self, client: &mut Client, room: &str) -> String {
        let (session, answer) = self.post(room, &client.offer());
        client.answer(&answer);
        session
    }

    /// Posts an offer; says where the session is, and the answer.
    pub fn post(&self, room: &str, offer: &str) -> (String, String) {
        let path = format!("/v1/rooms/{room}/participants");
        let reply = self.ask("POST", &path, "application/sdp", offer);
        assert_eq!(reply.status, 201, "{}", reply.body);
        (reply.header("location"), reply.body)
    }

    pub fn leave(&self, session: &str) {
        assert_eq!(self.ask("DELETE", session, "", "").status, 200);
    }

    /// The sum of one family of `/metrics` over its labels, or of those with this label.
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

    /// Ends the server; everything of it is gone afterwards.
    pub fn stop(self) {
        self.runtime.block_on(self.server.stop());
    }
}

impl Reply {
    /// The value of a header that must be there.
    pub fn header(&self, name: &str) -> String {
        let line = self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value)
        });
        line.expect("the header").trim().to_owned()
    }
}

/// Packets of a tone of 440.5 Hz at -20 dBFS, 20 ms each, a second of them.
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
