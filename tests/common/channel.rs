//! A push-to-talk room with one participant that only listens, and assertions about what it heard.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::time::Duration;

use mixminus::join::client::Client;
use mixminus::join::media::MediaOptions;
use serde_json::json;

use crate::common::measure::level_db;
use crate::common::sound::{Heard, RATE};
use crate::common::test_server::{EventLog, TestServer};

/// How long the recording continues after a talk-spurt has ended, because its last packets are
/// still under way.
const LISTEN_ON: Duration = Duration::from_millis(300);

/// The push-to-talk room, its server and its listener.
pub struct Channel {
    server: TestServer,
    room: String,
    ann: Client,
    hears: Heard,
    told: EventLog,
}

impl Channel {
    /// Starts a server with this room, in the mode `ptt`, and lets a listener join.
    pub async fn start(room: &str) -> Channel {
        let server = TestServer::start();
        server.configure(room, &json!({ "mode": "ptt" })).await;
        let hears = Heard::default();
        let media = MediaOptions {
            sink: hears.sink(),
            ..MediaOptions::default()
        };
        let ann = server.join(room, "Ann", media).await;
        Channel {
            told: EventLog::to(&ann),
            room: room.to_owned(),
            server,
            ann,
            hears,
        }
    }

    /// The URL to which offers for the room are posted.
    pub fn url(&self) -> String {
        self.server.url(&self.room)
    }

    /// Returns the number of samples heard so far, silence included.
    pub fn heard_samples(&self) -> usize {
        self.hears.pcm().len()
    }

    /// Asserts that the listener heard one talk-spurt of participant `id` after sample `began`: a
    /// tone at -12 dBFS for about this many seconds, in at least four fifths of the windows. The
    /// listener must also have been told once that `id` took the floor, and that the floor became
    /// idle.
    pub async fn assert_one_burst_since(&self, began: usize, hz: f64, seconds: f64, id: &str) {
        tokio::time::sleep(LISTEN_ON).await;
        let pcm = self.hears.pcm();
        let windows: Vec<bool> = pcm[began.min(pcm.len())..]
            .chunks_exact(RATE / 10)
            .map(|window| (-14.0..-10.0).contains(&level_db(window, hz)))
            .collect();
        let first = windows.iter().position(|heard| *heard);
        let last = windows.iter().rposition(|heard| *heard);
        let (Some(first), Some(last)) = (first, last) else {
            panic!("nothing of {hz} Hz is heard in {} windows", windows.len());
        };
        let heard = windows.iter().filter(|heard| **heard).count();
        let whole = last + 1 - first;
        println!("heard in {heard} windows of 100 ms, from {first} to {last}");
        let wanted = 10.0 * seconds;
        assert!(
            (wanted * 0.85..wanted * 1.15).contains(&(whole as f64)),
            "{whole} windows from the first to the last"
        );
        assert!(heard * 10 >= whole * 8, "{heard} of {whole} windows");
        let taken = self.told.of("floor_taken");
        let is_his = |event: &serde_json::Value| event["participant"] == id;
        assert_eq!(
            taken.iter().filter(|event| is_his(event)).count(),
            1,
            "{taken:?}"
        );
        let idle = self.told.of("floor_idle");
        assert!(!idle.is_empty(), "the floor was let go");
    }

    /// Asserts that the listener never heard a tone of this frequency.
    pub fn assert_silence(&self, hz: f64) {
        let pcm = self.hears.pcm();
        assert!(pcm.len() > RATE, "{} samples", pcm.len());
        for window in pcm.chunks_exact(RATE / 10) {
            let db = level_db(window, hz);
            assert!(db < -80.0, "{db:.1} dBFS");
        }
    }

    /// Lets the listener leave and stops the server.
    pub async fn stop(self) {
        self.ann.leave().await.expect("it leaves");
        self.server.stop().await;
    }
}
