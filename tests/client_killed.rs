//! A client that is killed while it talks soon falls silent for the others and soon leaves the
//! room.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod measure;
    pub mod process;
    pub mod sound;
    pub mod test_server;
}

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::measure::percentile;
use common::process::Process;
use common::sound::{TONES_HZ, scratch, write_tone};
use common::test_server::{EventLog, TestServer};
use mixminus::join::media::MediaOptions;
use mixminus::join::tap::Tap;
use rtc::rtp::header::Header;
use tokio::time::{sleep, timeout};

/// The number of talkers that are killed, each at another moment between two of its packets.
const KILLS: usize = 5;

/// How long each talker talks before it is killed.
const TALK: Duration = Duration::from_secs(1);

/// How long the recording is checked for sound after each kill.
const LISTEN_TO_SILENCE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_client_falls_silent_at_once_and_is_removed_within_half_a_minute() {
    let server = TestServer::start();
    let tone = scratch("vanish").join("tone.wav");
    write_tone(&tone, TONES_HZ[0], 30);
    let ear = Arc::new(Ear::default());
    let media = MediaOptions {
        tap: ear.clone(),
        ..MediaOptions::default()
    };
    let listener = server.join("lobby", "ear", media).await;
    let told = EventLog::to(&listener);

    let killed = kill_talkers(&server, &tone, &ear).await;

    // The server removes all participants but the listener and reports each of them as lost, the
    // last one at most 30 s after its kill.
    let patience = Duration::from_secs(30);
    let waited = server
        .until("lobby", patience, |names| names == ["ear"])
        .await;
    let gone = killed[KILLS - 1].elapsed();
    println!("the last one is gone {gone:?} after its kill (asked for {waited:?})");
    assert!(gone <= patience, "gone after {gone:?}");
    told.wait("left", KILLS, Duration::from_secs(5)).await;
    let reasons: Vec<String> = told.left().into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["lost"; KILLS]);
    assert_eq!(
        server
            .metric("mixminus_participants_left_total{reason=\"lost\"}")
            .await,
        KILLS as f64
    );

    let arrived = ear.arrived.lock().unwrap().clone();
    let played = ear.played.lock().unwrap().clone();
    let at_the_wire: Vec<f64> = killed
        .iter()
        .map(|at| silent_after(*at, &arrived))
        .collect();
    let at_the_ear: Vec<f64> = killed.iter().map(|at| silent_after(*at, &played)).collect();
    println!(
        "silent after a kill, ms: as it arrives {at_the_wire:.0?}, as it is played {at_the_ear:.0?}"
    );
    listener.leave().await.unwrap();
    println!("{}", server.timekeeping().await);
    server.stop().await;
    assert!(percentile(&at_the_wire, 0.5) <= 200.0, "{at_the_wire:.0?}");
}

/// Lets one talker after the other talk, and kills each once it is heard; returns the instant of
/// each kill.
async fn kill_talkers(server: &TestServer, tone: &Path, ear: &Ear) -> Vec<Instant> {
    let mut killed = Vec::new();
    for number in 0..KILLS {
        let mut talker = Process::join([
            server.url("lobby"),
            format!("--name=talker-{number}"),
            format!("--play={}", tone.display()),
        ]);
        let loud = async {
            while !ear.is_loud() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), loud)
            .await
            .expect("the talker is heard");
        // Each client is killed at another point between two of its packets.
        sleep(TALK + 7 * number as u32 * Duration::from_millis(1)).await;
        let at = Instant::now();
        talker.kill();
        killed.push(at);
        sleep(LISTEN_TO_SILENCE).await;
    }
    killed
}

/// A tap of the listener that records the level of each frame, with its instant.
#[derive(Default)]
struct Ear {
    /// The level of each packet, decoded as it arrived.
    arrived: Mutex<Vec<(Instant, f32)>>,
    /// The level of each frame as a loudspeaker would have played it, after the client's own jitter
    /// buffer.
    played: Mutex<Vec<(Instant, f32)>>,
    decoder: Mutex<Option<opus::Decoder>>,
}

impl Tap for Ear {
    fn received(&self, at: Instant, _: &Header, payload: &[u8]) {
        let mut decoder = self.decoder.lock().unwrap();
        let decoder = decoder
            .get_or_insert_with(|| opus::Decoder::new(48_000, opus::Channels::Mono).unwrap());
        let mut pcm = [0.0; 5_760];
        let samples = decoder.decode_float(payload, &mut pcm, false).unwrap();
        self.arrived
            .lock()
            .unwrap()
            .push((at, loudest(&pcm[..samples])));
    }

    fn played(&self, due: Instant, pcm: &[f32]) {
        self.played.lock().unwrap().push((due, loudest(pcm)));
    }
}

impl Ear {
    fn is_loud(&self) -> bool {
        self.played
            .lock()
            .unwrap()
            .last()
            .is_some_and(|(_, level)| *level > 0.1)
    }
}

fn loudest(pcm: &[f32]) -> f32 {
    pcm.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
}

/// Returns the milliseconds from a kill to the end of the last audible frame after it. A frame is
/// audible if it is louder than 40 dB below the tone.
fn silent_after(kill: Instant, frames: &[(Instant, f32)]) -> f64 {
    let until = kill + LISTEN_TO_SILENCE;
    let sounding = |(at, level): &&(Instant, f32)| (kill..until).contains(at) && *level > 0.0025;
    let last = frames
        .iter()
        .rfind(sounding)
        .map_or(kill, |(at, _)| *at + Duration::from_millis(20));
    (last - kill).as_secs_f64() * 1e3
}
