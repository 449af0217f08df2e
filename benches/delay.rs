//! What the server adds to the way from mouth to ear, and how soon a newcomer hears.
//!
//! `cargo bench --bench delay`: pairs of clients connected through the server and directly, in turn,
//! each pair anew, so that the phase between the talker's packets and the room's clock is chance.
//! The talker sends chirps; the ear is packet arrival plus decode, without a client's own buffer.
//! Prints `name,value` lines, delays in milliseconds.
//!
//! As `cargo test --benches` runs it there are two pairs, to see that it works.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mixer::RtpTime;
use mixminus::config::Config;
use mixminus::join::client::{Client, ClientOptions};
use mixminus::join::direct;
use mixminus::join::media::MediaOptions;
use mixminus::join::pcm::{PcmError, Source};
use mixminus::join::session::Room;
use mixminus::join::tap::Tap;
use mixminus::server::Server;
use rtc::rtp::header::Header;

/// How long each pair is listened to.
const LISTEN: Duration = Duration::from_millis(2_200);

fn main() {
    // `cargo bench` says `--bench`; `cargo test --benches` does not.
    let quick = !std::env::args().any(|argument| argument == "--bench");
    let pairs = if quick { 2 } else { 30 };
    let runtime = tokio::runtime::Runtime::new().expect("threads are to be had");
    runtime.block_on(async {
        let server = Server::start(config()).expect("loopback ports are free");
        let mut through = Vec::new();
        let mut direct = Vec::new();
        let mut first_audio = Vec::new();
        for pair in 0..pairs {
            let (delays, first) = through_the_server(&server, pair).await;
            through.extend(delays);
            first_audio.push(first);
            direct.extend(directly().await);
        }
        server.stop().await;
        report(&through, &direct, &first_audio);
    });
}

fn config() -> Config {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        http: loopback,
        media: loopback,
        ..Config::default()
    }
}

fn report(through: &[f64], direct: &[f64], first_audio: &[f64]) {
    let base = percentile(direct, 0.5);
    println!("direct_ms_p50,{base:.2}");
    println!("direct_ms_p95,{:.2}", percentile(direct, 0.95));
    println!("through_ms_p50,{:.2}", percentile(through, 0.5));
    println!("through_ms_p95,{:.2}", percentile(through, 0.95));
    println!("added_ms_p50,{:.2}", percentile(through, 0.5) - base);
    println!("added_ms_p95,{:.2}", percentile(through, 0.95) - base);
    println!("first_audio_ms_p50,{:.2}", percentile(first_audio, 0.5));
    println!("first_audio_ms_p95,{:.2}", percentile(first_audio, 0.95));
    println!("joins,{}", first_audio.len());
}

/// Delays of one talker's chirps to one listener through a room of their own, and the time from the
/// listener's POST to the first packet it received.
async fn through_the_server(server: &Server, pair: usize) -> (Vec<f64>, f64) {
    let url = format!(
        "http://{}/v1/rooms/delay-{pair}/participants",
        server.http_addr()
    );
    let mouth = Arc::new(Mouth::default());
    let talker = Client::join(options(&url, "mouth"), talking(mouth.clone()))
        .await
        .expect("the talker joins");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ear = Arc::new(Ear::default());
    let asked = Instant::now();
    let listener = Client::join(options(&url, "ear"), listening(ear.clone()))
        .await
        .expect("the listener joins");
    tokio::time::sleep(LISTEN).await;
    listener.leave().await.expect("nothing is recorded");
    talker.leave().await.expect("nothing is recorded");
    let first = ear.first().expect("the listener heard something");
    (
        delays(&mouth, &ear),
        first.duration_since(asked).as_secs_f64() * 1e3,
    )
}

/// Delays of the same two clients without a server.
async fn directly() -> Vec<f64> {
    let mouth = Arc::new(Mouth::default());
    let ear = Arc::new(Ear::default());
    let (talker, listener) = direct::connect(talking(mouth.clone()), listening(ear.clone()))
        .await
        .expect("loopback connects");
    tokio::time::sleep(LISTEN).await;
    talker.finish().await.expect("nothing is recorded");
    listener.finish().await.expect("nothing is recorded");
    delays(&mouth, &ear)
}

fn options(url: &str, name: &str) -> ClientOptions {
    let url = url.parse().expect("a URL made here");
    let room = Room::new(url, Some(name), None, false).expect("a client for loopback");
    ClientOptions {
        room,
        reconnect: false,
        ptime_ms: None,
        bitrate_bps: None,
    }
}

fn talking(mouth: Arc<Mouth>) -> MediaOptions {
    MediaOptions {
        source: Some(Box::new(Chirps { at: 0 })),
        tap: mouth,
        ..MediaOptions::default()
    }
}

fn listening(ear: Arc<Ear>) -> MediaOptions {
    MediaOptions {
        tap: ear,
        ..MediaOptions::default()
    }
}

// -- the sound ---------------------------------------------------------------------------------------

/// Samples from one chirp to the next: half a second, far more than any delay expected.
const PERIOD: u64 = 24_000;
/// Samples of a chirp: 50 ms.
const CHIRP: usize = 2_400;

/// A chirp from 300 to 6,000 Hz every half second over a quiet noise that keeps the stream going.
struct Chirps {
    at: u64,
}

impl Source for Chirps {
    fn read(&mut self, pcm: &mut [f32]) -> Result<usize, PcmError> {
        for sample in pcm.iter_mut() {
            *sample = sample_at(self.at);
            self.at += 1;
        }
        Ok(pcm.len())
    }
}

fn sample_at(at: u64) -> f32 {
    let within = (at % PERIOD) as usize;
    let noise = (at.wrapping_mul(6_364_136_223_846_793_005).rotate_left(17) >> 40) as f32
        / 8_388_608.0
        - 1.0;
    let quiet = 0.003 * noise;
    if within < CHIRP {
        chirp(within) + quiet
    } else {
        quiet
    }
}

fn chirp(at: usize) -> f32 {
    let t = at as f64 / 48_000.0;
    let length = CHIRP as f64 / 48_000.0;
    let phase = std::f64::consts::TAU * (300.0 * t + (6_000.0 - 300.0) * t * t / (2.0 * length));
    let window = (std::f64::consts::PI * at as f64 / CHIRP as f64).sin();
    (0.5 * window * phase.sin()) as f32
}

// -- mouth and ear -----------------------------------------------------------------------------------

/// When each frame was spoken: the instant its last sample was there, as a sound card has it.
#[derive(Default)]
struct Mouth(Mutex<Vec<(Instant, usize)>>);

impl Tap for Mouth {
    fn taken(&self, at: Instant, _: RtpTime, pcm: &[f32]) {
        self.0
            .lock()
            .expect("no panic while held")
            .push((at, pcm.len()));
    }
}

impl Mouth {
    /// When each chirp began to be spoken.
    fn chirps(&self) -> Vec<Instant> {
        let mut chirps = Vec::new();
        let mut spoken = 0u64;
        for (at, samples) in self.0.lock().expect("no panic while held").iter() {
            let next = spoken.next_multiple_of(PERIOD);
            if next < spoken + *samples as u64 {
                chirps.push(*at + of_samples(next - spoken));
            }
            spoken += *samples as u64;
        }
        chirps
    }
}

/// What arrived when.
#[derive(Default)]
struct Ear(Mutex<Vec<(Instant, u32, Vec<u8>)>>);

impl Tap for Ear {
    fn received(&self, at: Instant, header: &Header, payload: &[u8]) {
        let packet = (at, header.timestamp, payload.to_vec());
        self.0.lock().expect("no panic while held").push(packet);
    }
}

impl Ear {
    fn first(&self) -> Option<Instant> {
        self.0
            .lock()
            .expect("no panic while held")
            .first()
            .map(|(at, ..)| *at)
    }

    /// When each chirp began to be heard: each packet is decoded as it arrives.
    fn chirps(&self) -> Vec<Instant> {
        let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono).expect("a decoder");
        let mut sound = Vec::new();
        let mut arrivals = Vec::new();
        for (at, _, payload) in self.0.lock().expect("no panic while held").iter() {
            let mut pcm = [0f32; 5_760];
            let samples = decoder.decode_float(payload, &mut pcm, false).unwrap_or(0);
            arrivals.push((sound.len(), *at));
            sound.extend_from_slice(&pcm[..samples]);
        }
        let instant = |start: usize| {
            let packet = arrivals.partition_point(|(first, _)| *first <= start) - 1;
            let (first, at) = arrivals[packet];
            at + of_samples((start - first) as u64)
        };
        chirps_in(&sound).into_iter().map(instant).collect()
    }
}

fn of_samples(samples: u64) -> Duration {
    Duration::from_nanos(samples * 1_000_000_000 / 48_000)
}

/// Where chirps begin, by the peaks of the correlation with one.
fn chirps_in(sound: &[f32]) -> Vec<usize> {
    let template: Vec<f32> = (0..CHIRP).map(chirp).collect();
    let energy: f32 = template.iter().map(|sample| sample * sample).sum();
    let mut found = Vec::new();
    let mut from = 0;
    while from + CHIRP <= sound.len() {
        let until = (from + PERIOD as usize / 2).min(sound.len() - CHIRP + 1);
        // Coarse in steps of 0.04 ms would miss the carrier's peaks: every sample is tried.
        let scored = (from..until).map(|at| {
            let product: f32 = sound[at..at + CHIRP]
                .iter()
                .zip(&template)
                .map(|(a, b)| a * b)
                .sum();
            (at, product / energy)
        });
        match scored.max_by(|a, b| a.1.total_cmp(&b.1)) {
            Some((at, score)) if score > 0.5 => {
                found.push(at);
                from = at + CHIRP;
            }
            _ => from = until,
        }
    }
    found
}

/// From each chirp heard back to the one spoken last before it, in milliseconds.
fn delays(mouth: &Mouth, ear: &Ear) -> Vec<f64> {
    let spoken = mouth.chirps();
    let delay_of = |heard: Instant| {
        let before = spoken.iter().rev().find(|spoken| **spoken <= heard)?;
        Some((heard - *before).as_secs_f64() * 1e3)
    };
    ear.chirps().into_iter().filter_map(delay_of).collect()
}

fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (share * (sorted.len() - 1) as f64).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}
