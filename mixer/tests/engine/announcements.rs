//! Announcements: a file played into a room reaches every listener unaltered, and the room's gain,
//! mute, permit and gate rules apply to it.
#![allow(
    clippy::disallowed_types,
    reason = "the queue of a test may hold a lock; a real one is a ring"
)]

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use crate::stage::{Stage, amplitude_of, db, tone};
use mixer::engine::Command;
use mixer::format::{Layout, SAMPLE_RATE_HZ, TickLength};
use mixer::ingest::Pushed;
use mixer::output::Event;
use mixer::permit::Permit;
use mixer::room::{RoomSettings, Shared};
use mixer::source::{PcmReader, PcmSource, Strip, TickRules};
use mixer::{Decibels, Gain, ParticipantId, Time};

const ANNOUNCEMENT: u32 = 9;

/// A queue of PCM that the test fills, in place of a thread that reads a file.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<(VecDeque<f32>, bool)>>);

impl Queue {
    fn fill(&self, pcm: impl IntoIterator<Item = f32>) {
        self.0.lock().unwrap().0.extend(pcm);
    }

    fn finish(&self) {
        self.0.lock().unwrap().1 = true;
    }
}

impl PcmReader for Queue {
    fn read(&mut self, pcm: &mut [f32]) -> usize {
        let queue = &mut self.0.lock().unwrap().0;
        let count = pcm.len().min(queue.len());
        for (out, sample) in pcm.iter_mut().zip(queue.drain(..count)) {
            *out = sample;
        }
        count
    }

    fn available(&self) -> usize {
        self.0.lock().unwrap().0.len()
    }

    fn is_finished(&self) -> bool {
        self.0.lock().unwrap().1
    }
}

/// Builds a room without a noise gate, with two silent participants whose codecs are lossless and
/// an announcement whose queue is still empty.
fn room() -> (Stage, Queue, Arc<Shared>) {
    let mut stage = Stage::new(RoomSettings {
        gate_db: None,
        ..RoomSettings::default()
    });
    stage.join_exact(1, |_| 0.0);
    stage.join_exact(2, |_| 0.0);
    let queue = Queue::default();
    let source = PcmSource::new(Layout::Mono, Box::new(queue.clone()));
    let shared = stage.join_source(ANNOUNCEMENT, Box::new(source));
    // Let the room go to sleep.
    (0..100).for_each(|_| stage.pass());
    (stage, queue, shared)
}

fn wake(stage: &mut Stage) {
    let command = Command::Attend(ParticipantId(ANNOUNCEMENT));
    stage.engine.apply(command, &mut stage.sink);
}

fn pass(stage: &mut Stage, ticks: usize) {
    (0..ticks).for_each(|_| stage.pass());
}

/// PCM that a listener received in the packets from index `before` on; pauses of the stream are
/// zeros.
fn heard_since(stage: &Stage, listener: usize, before: usize) -> Vec<f32> {
    let id = stage.talkers[listener].id;
    let packets = stage.sink.packets[before..].iter();
    let mut packets = packets
        .filter(|(to, _)| *to == id)
        .map(|(_, packet)| packet)
        .peekable();
    let begin = packets.peek().expect("it hears something").time;
    let mut heard = Vec::new();
    for packet in packets {
        heard.resize(packet.time.distance_from(begin) as usize, 0.0);
        heard.extend(stage.log.pcm(packet));
    }
    heard
}

/// Three seconds of a fixture voice from its first non-zero sample on, as a reader thread would
/// read it.
fn recording() -> Vec<f32> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../fixtures/voices/human-en-female.wav"
    );
    let mut file = hound::WavReader::open(path).expect("it is in the repository");
    let samples = file.samples::<i16>();
    samples
        .map(|sample| f32::from(sample.expect("a whole file")) / 32_768.0)
        .skip_while(|sample| *sample == 0.0)
        .take(3 * SAMPLE_RATE_HZ as usize)
        .collect()
}

#[test]
fn announcement_is_heard_as_it_was_recorded() {
    let (mut stage, queue, _) = room();
    let recording = recording();
    queue.fill(recording.iter().copied());
    queue.finish();
    let before = stage.sink.packets.len();
    wake(&mut stage);
    pass(&mut stage, 170);
    for listener in 0..2 {
        let heard = heard_since(&stage, listener, before);
        // Number of samples that the listener received before the first sample of the announcement.
        let delay = (0..2_000)
            .min_by_key(|delay| {
                let pairs = recording[24_000..28_800]
                    .iter()
                    .zip(&heard[24_000 + delay..]);
                let error: f32 = pairs.map(|(sent, heard)| (sent - heard).abs()).sum();
                (error * 1e6) as u64
            })
            .expect("a delay");
        // The noise gate opens over one millisecond, so skip the first 48 samples.
        let pairs = recording.iter().zip(&heard[delay..]).skip(48);
        let mut compared = 0;
        for (sent, heard) in pairs {
            assert!(
                (sent - heard).abs() < 1e-6,
                "listener {listener}: {sent} {heard}"
            );
            compared += 1;
        }
        assert!(compared > 140_000, "{compared} samples");
    }
    let events = &stage.sink.events;
    let participant = ParticipantId(ANNOUNCEMENT);
    let is_about_it = |event: &&Event| match event {
        Event::Talking {
            participant: id, ..
        }
        | Event::Stopped {
            participant: id, ..
        } => *id == participant,
        _ => false,
    };
    assert!(events.iter().filter(is_about_it).count() >= 2, "{events:?}");
}

#[test]
fn room_sleeps_before_an_announcement_begins_and_after_it_ends() {
    let (mut stage, queue, _) = room();
    let ticks = |stage: &Stage| stage.engine.stats().ticks_total;
    let asleep = ticks(&stage);
    pass(&mut stage, 50);
    assert_eq!(ticks(&stage), asleep, "nothing is announced");
    queue.fill((0..48_000).map(|at| tone(440.0, 0.1)(at)));
    queue.finish();
    wake(&mut stage);
    pass(&mut stage, 50);
    assert!(ticks(&stage) >= asleep + 50);
    pass(&mut stage, 150);
    let asleep = ticks(&stage);
    pass(&mut stage, 100);
    assert_eq!(ticks(&stage), asleep, "it has been announced");
}

#[test]
fn gain_and_mute_apply_to_an_announcement() {
    let (mut stage, queue, shared) = room();
    queue.fill((0..10 * 48_000).map(|at| tone(440.0, 0.1)(at)));
    wake(&mut stage);
    pass(&mut stage, 60);
    let level_db = |stage: &Stage| {
        let heard = stage.heard(0);
        db(amplitude_of(&heard[heard.len() - 24_000..], 440.0) / 0.1)
    };
    assert!(level_db(&stage).abs() < 0.05, "{}", level_db(&stage));
    shared.settings.amplify(Gain::from(Decibels(-6.0)));
    pass(&mut stage, 60);
    let softer = level_db(&stage);
    assert!((softer + 6.0).abs() < 0.05, "{softer}");
    shared.settings.mute(true);
    pass(&mut stage, 5);
    let before = stage.heard(0).len();
    pass(&mut stage, 50);
    let muted = &stage.heard(0)[before..];
    assert!(muted.iter().all(|sample| *sample == 0.0));
    shared.settings.mute(false);
    pass(&mut stage, 60);
    assert!(
        (level_db(&stage) + 6.0).abs() < 0.05,
        "it went on meanwhile"
    );
}

#[test]
fn announcement_without_a_permit_waits_for_one_without_losing_samples() {
    let (mut stage, queue, shared) = room();
    shared.settings.set_permit(Permit::Closed);
    queue.fill((0..48_000).map(|at| tone(440.0, 0.1)(at)));
    queue.finish();
    wake(&mut stage);
    pass(&mut stage, 100);
    assert_eq!(queue.available(), 48_000, "nothing of it is lost");
    shared.settings.set_permit(Permit::Held);
    wake(&mut stage);
    let before = stage.heard(0).len();
    pass(&mut stage, 60);
    let heard = &stage.heard(0)[before..];
    let level_db = db(amplitude_of(&heard[9_600..33_600], 440.0) / 0.1);
    assert!(level_db.abs() < 0.05, "{level_db}");
}

#[test]
fn late_announcement_reader_causes_silence_counted_as_concealment() {
    let (mut stage, queue, shared) = room();
    let voice = tone(440.0, 0.1);
    let mut sent = (0..).map(voice);
    queue.fill(sent.by_ref().take(4_800));
    wake(&mut stage);
    pass(&mut stage, 10);
    queue.fill(sent.by_ref().take(4_800));
    queue.finish();
    pass(&mut stage, 20);
    let telemetry = &shared.telemetry;
    assert_eq!(telemetry.played_samples_total.load(Relaxed), 9_600);
    assert_eq!(telemetry.concealed_samples_total.load(Relaxed), 4_800);
}

#[test]
fn announcement_starts_only_with_three_ticks_queued() {
    let (mut stage, queue, shared) = room();
    let played = |shared: &Shared| shared.telemetry.played_samples_total.load(Relaxed);
    queue.fill([0.1; 2_879]);
    wake(&mut stage);
    pass(&mut stage, 10);
    assert_eq!(played(&shared), 0);
    queue.fill([0.1]);
    pass(&mut stage, 3);
    assert_eq!(played(&shared), 2_880, "the room stayed awake for it");
}

#[test]
fn stereo_announcement_keeps_left_and_right_apart() {
    let queue = Queue::default();
    let source = PcmSource::new(Layout::Stereo, Box::new(queue.clone()));
    let mut strip = Strip::with_source(Layout::Stereo, TickLength::Ms20, Box::new(source));
    let pcm: Vec<f32> = (0..19_200)
        .map(|at| if at % 2 == 0 { 0.25 } else { -0.5 })
        .collect();
    queue.fill(pcm.iter().copied());
    queue.finish();
    for tick in 0..10 {
        let heard = strip.listen(&TickRules {
            now: Time::from_us(1_000_000 + tick * 20_000),
            gate_db: None,
            leeway_samples: 0,
        });
        assert!(heard && strip.contribute(heard), "tick {tick}");
        let opening = if tick == 0 { 96 } else { 0 };
        let frame = &strip.frame().samples()[opening..];
        assert_eq!(frame, &pcm[opening..1_920], "tick {tick}");
    }
    assert!(queue.available() == 0);
}

#[test]
fn packets_pushed_to_an_announcement_are_refused_and_counted() {
    let (mut stage, _, _) = room();
    let strays = stage.engine.stats().strays_total;
    let packet = stage.talkers[0].packet();
    let now = stage.now();
    let pushed = stage.engine.push(ParticipantId(ANNOUNCEMENT), &packet, now);
    assert_eq!(pushed, None::<Pushed>);
    assert_eq!(stage.engine.stats().strays_total, strays + 1);
}
