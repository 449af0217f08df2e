//! Checks that nothing of a talk-spurt is cut off on the real path, from the key to the listener's
//! ear: the first and the last 20 ms of each talk-spurt are a tone that does not occur again within
//! half a second.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod measure;
    pub mod radio;
    pub mod scheduler_watch;
    pub mod sound;
}

use std::f64::consts::TAU;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::measure::Probe;
use common::radio::Served;
use common::scheduler_watch::SchedulerWatch;
use mixer::RtpTime;
use mixminus::join::client::{Client, ClientEvent, ClientOptions};
use mixminus::join::media::MediaOptions;
use mixminus::join::pcm::{PcmError, Source};
use mixminus::join::radio::gate::{Gate, UplinkGate};
use mixminus::join::tap::Tap;
use mixminus::join::whip_client::WhipEndpoint;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant as TokioInstant, sleep_until};

/// Samples in a packet of 20 ms, which holds one tone.
const PACKET: usize = 960;

/// The number of packets in a talk-spurt, and in the silence between two talk-spurts.
const SPOKEN: RangeInclusive<u64> = 3..=60;
const SILENT: RangeInclusive<u64> = 26..=60;

/// How long a tone is looked for after it was sent: slightly less than the time until its frequency
/// occurs again.
const REACH: Duration = Duration::from_millis(440);

const AMPLITUDE: f64 = 0.25;

/// The talk-spurts to send: for each packet, whether it belongs to one.
#[derive(Clone)]
struct Script(Arc<[bool]>);

impl Script {
    fn new(spurts: usize, seed: u64) -> Script {
        let mut state = seed;
        let mut within = |range: RangeInclusive<u64>| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            range.start() + (state >> 33) % (range.end() - range.start() + 1)
        };
        let mut packets = vec![false; 50];
        for _ in 0..spurts {
            let spoken = packets.len() + within(SPOKEN) as usize;
            packets.resize(spoken, true);
            let silent = packets.len() + within(SILENT) as usize;
            packets.resize(silent, false);
        }
        Script(packets.into())
    }

    fn duration(&self) -> Duration {
        Duration::from_millis(20) * self.0.len() as u32
    }

    fn talks(&self, packet: usize) -> bool {
        self.0.get(packet).copied().unwrap_or(false)
    }

    /// Returns the first and the last packet of each talk-spurt.
    fn ends(&self) -> Vec<(usize, usize)> {
        let starts = (1..self.0.len()).filter(|at| self.talks(*at) && !self.talks(at - 1));
        let last_of = |first: usize| (first..).take_while(|at| self.talks(*at)).last();
        starts
            .map(|first| (first, last_of(first).unwrap()))
            .collect()
    }

    /// Returns the frequency of a packet's tone. The step shares no factor with the number of
    /// frequencies, so that all of them occur before any occurs again.
    fn hz(packet: usize) -> f64 {
        500.0 + 150.0 * (packet * 7 % 24) as f64
    }
}

/// A source that plays the script and counts as a microphone: it advances also while the key is not
/// pressed.
struct Voice {
    script: Script,
    at: usize,
}

impl Source for Voice {
    fn read(&mut self, pcm: &mut [f32]) -> Result<usize, PcmError> {
        for sample in pcm.iter_mut() {
            let (packet, within) = (self.at / PACKET, self.at % PACKET);
            let edge = within.min(PACKET - 1 - within).min(48) as f64 / 48.0;
            let turns = (Script::hz(packet) * within as f64 / 48_000.0).fract();
            *sample = match self.script.talks(packet) {
                true => (AMPLITUDE * (edge * TAU / 4.0).sin() * (TAU * turns).sin()) as f32,
                false => 0.0,
            };
            self.at += 1;
        }
        Ok(pcm.len())
    }

    fn may_be_live(&self) -> bool {
        true
    }
}

/// A tap that presses the key with the first frame of a talk-spurt and releases it with the first
/// frame after the talk-spurt.
struct Finger {
    script: Script,
    gate: Arc<Gate>,
    presses: UnboundedSender<()>,
    was_talking: AtomicBool,
    /// The instant of the first sample of each packet.
    said: Mutex<Vec<Instant>>,
}

impl Tap for Finger {
    fn taken(&self, at: Instant, _: RtpTime, pcm: &[f32]) {
        assert_eq!(pcm.len(), PACKET, "a frame is a packet");
        let mut said = self.said.lock().unwrap();
        let talks = self.script.talks(said.len());
        said.push(at - Duration::from_millis(20));
        if self.was_talking.swap(talks, Ordering::Relaxed) == talks {
            return;
        }
        if talks {
            self.gate.open();
            self.presses.send(()).unwrap();
        } else {
            self.gate.shut();
        }
    }
}

/// A tap that keeps the frames that a listener hears, with the instant at which each was due.
#[derive(Default)]
struct Ear(Mutex<Vec<(Instant, Vec<f32>)>>);

impl Tap for Ear {
    fn played(&self, due: Instant, pcm: &[f32]) {
        self.0.lock().unwrap().push((due, pcm.to_vec()));
    }
}

impl Ear {
    /// Returns how much of the amplitude of a packet's tone was heard after it was sent, where it
    /// was loudest; 1.0 is all of it.
    fn heard_of(&self, packet: usize, said: Instant) -> f64 {
        let frames = self.0.lock().unwrap();
        let first = frames.partition_point(|(due, _)| *due < said);
        let reach = frames[first..].iter();
        let pcm: Vec<f32> = reach
            .take_while(|(due, _)| *due < said + REACH)
            .flat_map(|(_, pcm)| pcm.iter().copied())
            .collect();
        let probe = Probe::new(Script::hz(packet), PACKET);
        let windows = pcm.windows(PACKET).step_by(48);
        let loudest_db = windows.map(|window| probe.level_db(window));
        10f64.powf(loudest_db.fold(f64::MIN, f64::max) / 20.0) / AMPLITUDE
    }
}

fn into(served: &Served, name: &str) -> ClientOptions {
    let url = served.url("spurts").parse().unwrap();
    ClientOptions {
        room: WhipEndpoint::new(url, Some(name), None, false).unwrap(),
        reconnect: false,
        ptime_ms: None,
        bitrate_bps: None,
    }
}

/// Requests the floor when the key is pressed and releases it when the last packet has been sent,
/// until the instant `until`.
async fn talk(client: &mut Client, mut presses: UnboundedReceiver<()>, until: TokioInstant) {
    loop {
        tokio::select! {
            () = sleep_until(until) => return,
            Some(()) = presses.recv() => {
                assert!(client.say(&json!({ "command": "floor_request" }).to_string()).await);
            }
            event = client.event() => match event {
                ClientEvent::Sending(false) => {
                    assert!(client.say(&json!({ "command": "floor_release" }).to_string()).await);
                }
                ClientEvent::Sending(true) => {}
                other => panic!("{other:?}"),
            },
        }
    }
}

/// Sends `spurts` talk-spurts and judges them. Returns a text for each that was cut, and the number
/// of those that fell into a stall of the machine and are not judged.
async fn run(spurts: usize, seed: u64) -> (Vec<String>, usize) {
    let served = Served::start();
    served.room("spurts", &json!({ "mode": "ptt" }));
    let script = Script::new(spurts, seed);
    let ear = Arc::<Ear>::default();
    let listening = MediaOptions {
        tap: Arc::clone(&ear) as Arc<_>,
        ..MediaOptions::default()
    };
    let listener = Client::join(into(&served, "ear"), listening).await.unwrap();
    let (gate, (keys, presses)) = (Arc::<Gate>::default(), unbounded_channel());
    let finger = Arc::new(Finger {
        script: script.clone(),
        gate: Arc::clone(&gate),
        presses: keys,
        was_talking: AtomicBool::new(false),
        said: Mutex::default(),
    });
    let voice = Voice {
        script: script.clone(),
        at: 0,
    };
    let talking = MediaOptions {
        source: Some(Box::new(voice)),
        switch: Some(UplinkGate::key(gate)),
        tap: Arc::clone(&finger) as Arc<_>,
        ..MediaOptions::default()
    };
    let watch = SchedulerWatch::start();
    let until = TokioInstant::now() + script.duration() + Duration::from_secs(1);
    let mut talker = Client::join(into(&served, "mouth"), talking).await.unwrap();
    talk(&mut talker, presses, until).await;
    talker.leave().await.unwrap();
    listener.leave().await.unwrap();
    println!("{}", watch.stalls());

    let said = finger.said.lock().unwrap();
    let (mut cut, mut disturbed) = (Vec::new(), 0);
    for (first, last) in script.ends() {
        let (begun, ended) = (said[first], said[last]);
        if watch.was_disturbed(begun - REACH, ended + REACH) {
            disturbed += 1;
            continue;
        }
        let heard = [first, last].map(|packet| ear.heard_of(packet, said[packet]));
        if heard.iter().any(|share| *share < HEARD) {
            let packets = last + 1 - first;
            cut.push(format!(
                "packets {first} to {last} ({packets}): {heard:.2?}"
            ));
        }
    }
    (cut, disturbed)
}

/// The least share of a tone's amplitude at which the tone counts as undamaged. A codec leaves nine
/// tenths; a tone cut in half has one half.
const HEARD: f64 = 0.7;

/// Sends talk-spurts in up to `tries` runs. Panics if in each run some talk-spurt is cut.
///
/// - `tries`: the largest number of runs. A stall that the watch did not see cuts a talk-spurt in
///   one run only.
async fn nothing_is_cut(spurts: usize, seed: u64, tries: u32) {
    let (mut cut, mut disturbed) = (Vec::new(), 0);
    for _ in 0..tries {
        (cut, disturbed) = run(spurts, seed).await;
        println!("{spurts} talk-spurts, seed {seed}: {disturbed} not judged, cut: {cut:#?}");
        if cut.is_empty() {
            break;
        }
    }
    assert!(cut.is_empty(), "{cut:#?}");
    assert!(
        disturbed * 2 <= spurts,
        "the machine stood still too often to judge"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listener_hears_the_first_and_the_last_20_ms_of_every_talk_spurt() {
    nothing_is_cut(15, 1, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes five minutes"]
async fn listener_hears_the_first_and_the_last_20_ms_of_two_hundred_talk_spurts() {
    nothing_is_cut(200, 2, 1).await;
}
