//! The headless client against a peer that echoes its audio, and against another headless client.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod echo;

use std::f32::consts::TAU;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use echo::Echo;
use mixminus::join::client::{Client, ClientEvent, ClientOptions};
use mixminus::join::media::MediaOptions;
use mixminus::join::pcm::{PcmError, Sink, Source};
use mixminus::join::peer_to_peer;
use mixminus::join::tap::Tap;
use mixminus::join::whip_client::WhipEndpoint;
use mixminus::join::{JoinArgs, JoinError};
use rtc::rtp::header::Header;

/// A source that plays a sine of 440 Hz.
struct Sine {
    at: usize,
    end: usize,
}

impl Source for Sine {
    fn read(&mut self, pcm: &mut [f32]) -> Result<usize, PcmError> {
        let samples = (self.end - self.at).min(pcm.len());
        for sample in &mut pcm[..samples] {
            *sample = 0.5 * (TAU * 440.0 / 48_000.0 * (self.at % 1_200) as f32).sin();
            self.at += 1;
        }
        Ok(samples)
    }
}

fn sine(seconds: usize) -> Option<Box<dyn Source>> {
    let end = seconds * 48_000;
    Some(Box::new(Sine { at: 0, end }))
}

/// A sink that keeps the recorded samples in memory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<f32>>>);

impl Sink for Memory {
    fn write(&mut self, pcm: &[f32]) -> Result<(), PcmError> {
        self.0.lock().unwrap().extend_from_slice(pcm);
        Ok(())
    }
    fn finish(self: Box<Self>) -> Result<(), PcmError> {
        Ok(())
    }
}

/// A tap that keeps the instants and timestamps of the frames taken and of the packets sent.
#[derive(Default)]
struct Passed {
    taken: Mutex<Vec<(Instant, u32)>>,
    sent: Mutex<Vec<(Instant, Header)>>,
    received: Mutex<Vec<(Instant, Header, usize)>>,
}

impl Tap for Passed {
    fn taken(&self, at: Instant, time: mixer::RtpTime, _: &[f32]) {
        self.taken.lock().unwrap().push((at, time.0));
    }
    fn sent(&self, at: Instant, header: &Header, _: &[u8]) {
        self.sent.lock().unwrap().push((at, header.clone()));
    }
    fn received(&self, at: Instant, header: &Header, payload: &[u8]) {
        let passed = (at, header.clone(), payload.len());
        self.received.lock().unwrap().push(passed);
    }
}

/// Returns the typical amplitude of 440 Hz: the median over tenths of a second, so that a few
/// concealments on a busy machine do not count.
fn amplitude(pcm: &[f32]) -> f32 {
    let of = |part: &[f32]| {
        let (mut re, mut im) = (0.0f32, 0.0f32);
        for (n, sample) in part.iter().enumerate() {
            // 4,800 samples are 44 whole periods.
            let phase = TAU * 44.0 * n as f32 / 4_800.0;
            re += sample * phase.cos();
            im += sample * phase.sin();
        }
        2.0 * (re * re + im * im).sqrt() / part.len() as f32
    };
    let mut amplitudes: Vec<f32> = pcm.chunks_exact(4_800).map(of).collect();
    amplitudes.sort_by(f32::total_cmp);
    amplitudes[amplitudes.len() / 2]
}

fn room(url: &str, name: Option<&str>) -> WhipEndpoint {
    WhipEndpoint::new(url.parse().unwrap(), name, None, false).unwrap()
}

fn options(echo: &Echo) -> ClientOptions {
    ClientOptions {
        room: room(&echo.url, Some("Ann")),
        reconnect: true,
        ptime_ms: None,
        bitrate_bps: None,
    }
}

/// How long a tone is played.
const PLAY: Duration = Duration::from_secs(3);

/// How long the tone is played after a reconnection.
const PLAY_AGAIN: Duration = Duration::from_secs(1);

/// How long the test waits to see that no recording is made.
const IN_VAIN: Duration = Duration::from_millis(200);

/// Waits until the client receives the packets that the peer echoes.
async fn until_it_receives(client: &Client) {
    let received = async {
        while client.stats().await.received_packets == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let received = tokio::time::timeout(Duration::from_secs(5), received).await;
    received.expect("packets come back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_hears_the_echo_of_what_it_plays_and_ends_its_session() {
    let echo = Echo::start().await;
    let (heard, tap) = (Memory::default(), Arc::new(Passed::default()));
    let media = MediaOptions {
        source: sine(600),
        sink: Some(Box::new(heard.clone())),
        tap: Arc::clone(&tap) as Arc<dyn Tap>,
        ..MediaOptions::default()
    };
    let client = Client::join(options(&echo), media).await.unwrap();
    assert_eq!(client.participant().as_deref(), Some("0000abcd"));
    tokio::time::sleep(PLAY).await;
    let stats = client.stats().await;
    client.leave().await.unwrap();

    let heard = heard.0.lock().unwrap();
    let seconds = heard.len() as f32 / 48_000.0;
    assert!((2.9..3.4).contains(&seconds), "{seconds} s recorded");
    let tone = amplitude(&heard[48_000..48_000 * 2]);
    assert!((0.4..0.6).contains(&tone), "{tone}, {stats:?}");
    assert!(
        stats.connected && stats.sent_packets > 100 && stats.received_packets > 100,
        "{stats:?}"
    );
    assert_eq!(stats.talkers, ["0000abcd"]);
    assert!(stats.rtt_ms.is_some_and(|rtt| rtt < 100.0), "{stats:?}");
    assert_eq!(echo.deleted(), 1);
    let offer = echo.offers().remove(0);
    assert!(
        offer.contains("a=sendrecv") && offer.contains("webrtc-datachannel"),
        "{offer}"
    );
    assert_eq!(echo.queries(), ["name=Ann"]);

    let sent = tap.sent.lock().unwrap();
    assert!(sent[0].1.marker && !sent[1].1.marker);
    for pair in sent.windows(2) {
        let next = pair[0].1.sequence_number.wrapping_add(1);
        assert_eq!(pair[1].1.sequence_number, next);
    }
    let taken = tap.taken.lock().unwrap();
    assert_eq!(taken[0].1, sent[0].1.timestamp);
    // Frames are 20 ms apart by RTP timestamps, and by the clock on average.
    let (first, last) = (taken.first().unwrap(), taken.last().unwrap());
    let media_s = f64::from(last.1.wrapping_sub(first.1)) / 48_000.0;
    let clock_s = (last.0 - first.0).as_secs_f64();
    assert!(
        (media_s - clock_s).abs() < 0.05,
        "{media_s} s of media in {clock_s} s"
    );
    assert!(tap.received.lock().unwrap().len() > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_offers_to_receive_and_sends_nothing() {
    let echo = Echo::start().await;
    let heard = Memory::default();
    let media = MediaOptions {
        sink: Some(Box::new(heard.clone())),
        limit: Some(Duration::from_millis(500)),
        ..MediaOptions::default()
    };
    let client = Client::join(options(&echo), media).await.unwrap();
    let recorded = async {
        while heard.0.lock().unwrap().len() < 24_000 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let recorded = tokio::time::timeout(Duration::from_secs(5), recorded).await;
    recorded.expect("half a second is recorded");
    tokio::time::sleep(IN_VAIN).await;
    let stats = client.stats().await;
    client.leave().await.unwrap();
    assert!(echo.offers()[0].contains("a=recvonly"));
    assert_eq!((stats.sent_packets, stats.received_packets), (0, 0));
    // No packet arrived, so half a second of silence was recorded.
    assert_eq!(heard.0.lock().unwrap().len(), 24_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_rejoins_a_restarted_server() {
    let echo = Echo::start().await;
    let heard = Memory::default();
    let media = MediaOptions {
        source: sine(600),
        sink: Some(Box::new(heard.clone())),
        ..MediaOptions::default()
    };
    let mut client = Client::join(options(&echo), media).await.unwrap();
    let joined = Instant::now();
    until_it_receives(&client).await;
    let lost = Instant::now();
    echo.forget_everyone().await;
    for expected in ["Lost", "Reconnected"] {
        let event = tokio::time::timeout(Duration::from_secs(10), client.event()).await;
        let event = format!("{:?}", event.unwrap());
        assert_eq!(event, expected);
    }
    let away = lost.elapsed();
    tokio::time::sleep(PLAY_AGAIN).await;
    let expected_s = joined.elapsed().as_secs_f32();
    let stats = client.stats().await;
    client.leave().await.unwrap();
    assert!(away < Duration::from_secs(6), "away for {away:?}");
    assert_eq!((stats.reconnects, echo.offers().len()), (1, 2));
    let heard = heard.0.lock().unwrap();
    let seconds = heard.len() as f32 / 48_000.0;
    assert!(
        (expected_s - 0.3..expected_s + 1.0).contains(&seconds),
        "{seconds} s in {expected_s} s"
    );
    let tone = amplitude(&heard[heard.len() - 28_800..heard.len() - 9_600]);
    assert!(tone > 0.4, "{tone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kicked_client_does_not_reconnect() {
    let echo = Echo::start().await;
    let mut client = Client::join(options(&echo), MediaOptions::default())
        .await
        .unwrap();
    let mut messages = client.messages();
    let left = r#"{"event":"left","participant":"0000abcd","reason":"kicked"}"#;
    echo.say(left).await;
    let event = tokio::time::timeout(Duration::from_secs(3), client.event()).await;
    let Ok(ClientEvent::Failed(JoinError::Removed { reason })) = &event else {
        panic!("{event:?}");
    };
    assert_eq!(reason, "kicked");
    assert_eq!(&*messages.recv().await.unwrap(), left);
    client.leave().await.unwrap();
    assert_eq!(echo.offers().len(), 1);
}

#[tokio::test]
async fn client_reports_a_refusal_with_the_servers_own_text() {
    let echo = Echo::start().await;
    let mut options = options(&echo);
    options.room = room(&echo.url.replace("/lobby/", "/full/"), None);
    let joined = Client::join(options.clone(), MediaOptions::default()).await;
    let error = joined.err().unwrap();
    assert!(
        error
            .to_string()
            .contains("The room full takes 2 participants"),
        "{error}"
    );
    assert_eq!(error.exit_status(), 1);
    options.room = room("http://127.0.0.1:1/", None);
    let joined = Client::join(options, MediaOptions::default()).await;
    let error = joined.err().unwrap().to_string();
    assert!(error.starts_with("cannot reach 127.0.0.1:1"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_to_peer_clients_hear_each_other_without_a_server() {
    let (heard, tap) = (Memory::default(), Arc::new(Passed::default()));
    let caller = MediaOptions {
        source: sine(600),
        ..MediaOptions::default()
    };
    let callee = MediaOptions {
        sink: Some(Box::new(heard.clone())),
        tap: Arc::clone(&tap) as Arc<dyn Tap>,
        ..MediaOptions::default()
    };
    let (caller, callee) = peer_to_peer::connect(caller, callee).await.unwrap();
    tokio::time::sleep(PLAY).await;
    let stats = callee.stats().await;
    caller.finish().await.unwrap();
    callee.finish().await.unwrap();
    assert!(stats.received_packets > 80, "{stats:?}");
    let heard = heard.0.lock().unwrap();
    let tone = amplitude(&heard[heard.len() - 60_000..heard.len() - 12_000]);
    assert!((0.4..0.6).contains(&tone), "{tone}");
    let received = tap.received.lock().unwrap();
    let ssrc = received[0].1.ssrc;
    assert!(
        received
            .iter()
            .all(|(_, header, bytes)| header.ssrc == ssrc && *bytes > 0)
    );
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    join: JoinArgs,
}

fn args(line: &str) -> JoinArgs {
    Line::parse_from(line.split(' ')).join
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("mixminus-join-{}-{name}", std::process::id()))
}

/// Writes a tone to a WAV file, as 24-bit stereo at 44.1 kHz.
fn write_wav(path: &Path, frames: usize) {
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 44_100,
        bits_per_sample: 24,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    for n in 0..frames {
        let sample = (4_000_000.0 * (TAU * 440.0 / 44_100.0 * n as f32).sin()) as i32;
        writer.write_sample(sample).unwrap();
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn join_command_plays_a_file_and_records_exactly_the_given_seconds() {
    let echo = Echo::start().await;
    let (played, recorded) = (scratch("in.wav"), scratch("out.ogg"));
    write_wav(&played, 88_200);
    let line = format!(
        "join {} --play {} --loop --record {} --seconds 2.5 --ptime 10",
        echo.url,
        played.display(),
        recorded.display()
    );
    mixminus::join::run(args(&line)).await.unwrap();
    let mut source = mixminus::join::pcm::open(&recorded).unwrap();
    let (mut pcm, mut part) = (Vec::new(), [0.0; 960]);
    while let samples @ 1.. = source.read(&mut part).unwrap() {
        pcm.extend_from_slice(&part[..samples]);
    }
    std::fs::remove_file(played).unwrap();
    std::fs::remove_file(recorded).unwrap();
    assert_eq!(pcm.len(), 120_000);
    let tone = amplitude(&pcm[48_000..72_000]);
    assert!((0.4..0.55).contains(&tone), "{tone}");
    assert!(echo.offers()[0].contains("a=ptime:10"));
    assert_eq!(echo.deleted(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn join_command_ends_at_the_end_of_the_played_file() {
    let echo = Echo::start().await;
    let played = scratch("short.wav");
    write_wav(&played, 22_050);
    let started = Instant::now();
    let line = format!("join {} --play {}", echo.url, played.display());
    mixminus::join::run(args(&line)).await.unwrap();
    let took = started.elapsed();
    std::fs::remove_file(played).unwrap();
    assert!((1.0..2.0).contains(&took.as_secs_f32()), "{took:?}");
    assert_eq!(echo.deleted(), 1);
}
