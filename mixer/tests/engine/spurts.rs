//! Talk-spurts under floor control: the first and last word of each are heard however long the
//! answer to a request takes, and catching up is inaudible.

use crate::common::{Chance, packet};
use crate::stage::{Stage, db, human, tone};
use mixer::Frame;
use mixer::codec::Decode;
use mixer::codec::opus::OpusDecoder;
use mixer::engine::Command;
use mixer::format::{Layout, TickLength};
use mixer::permit::Permit;
use mixer::room::RoomSettings;
use mixer::source::Playout;
use mixer::units::Time;

/// An event of the first talker at a given time.
#[derive(Debug, Clone, Copy)]
enum Happening {
    /// The talker's next packet arrives.
    Packet,
    /// The talker's permit changes.
    Told(Permit),
}

/// Runs the engine until `until_us`, applying each of `happenings` of the first talker at its time
/// in microseconds.
fn play(stage: &mut Stage, mut happenings: Vec<(u64, Happening)>, until_us: u64) {
    happenings.sort_by_key(|(at_us, _)| *at_us);
    let mut next = happenings.into_iter().peekable();
    while stage.now().us() < until_us {
        stage.slot += 1;
        let now = stage.now();
        while let Some((at_us, what)) = next.next_if(|(at_us, _)| *at_us <= now.us()) {
            match what {
                Happening::Packet => {
                    let packet = stage.talkers[0].packet();
                    let id = stage.talkers[0].id;
                    stage.engine.push(id, &packet, Time::from_us(at_us));
                }
                Happening::Told(permit) => {
                    stage.talkers[0].shared.settings.set_permit(permit);
                    let command = Command::Attend(stage.talkers[0].id);
                    stage.engine.apply(command, &mut stage.sink);
                }
            }
        }
        stage.engine.run_slot(stage.slot, now, &mut stage.sink);
    }
    assert!(next.peek().is_none());
}

/// Frequencies in a talk-spurt: the first 20 ms, the last 20 ms, and everything between.
const FIRST_HZ: f64 = 1_700.0;
const LAST_HZ: f64 = 2_900.0;
const SAID_HZ: f64 = 310.0;

/// A talk-spurt and the timing of its request and release.
#[derive(Debug, Clone, Copy)]
struct Spurt {
    packets: u64,
    /// From the request to the grant, in microseconds.
    access_us: u64,
    /// From the first packet to the request, in microseconds; above zero, speech precedes it.
    request_us: u64,
    /// From the capture of the last sample to the release, in microseconds.
    release_us: u64,
}

/// Largest amplitude of `hz` in any window of 20 ms of `pcm`, in steps of 2 ms.
fn loudest(pcm: &[f32], hz: f64) -> f64 {
    let amplitude = |window: &[f32]| {
        let (mut re, mut im) = (0.0, 0.0);
        for (at, &sample) in window.iter().enumerate() {
            let phase = std::f64::consts::TAU * hz * at as f64 / 48_000.0;
            re += f64::from(sample) * phase.cos();
            im += f64::from(sample) * phase.sin();
        }
        2.0 * re.hypot(im) / window.len() as f64
    };
    pcm.windows(960)
        .step_by(96)
        .map(amplitude)
        .fold(0.0, f64::max)
}

fn below(chance: &mut Chance, limit: u64) -> u64 {
    (chance.next() * limit as f64) as u64
}

/// Builds a sleeping room of a talker with marked talk-spurts and two listeners; also returns the
/// length, in samples, that the talker's current talk-spurt has.
fn room() -> (Stage, std::sync::Arc<std::sync::atomic::AtomicU64>) {
    use std::sync::atomic::Ordering::Relaxed;
    let last = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (first_of, last_of) = (tone(FIRST_HZ, 0.3), tone(LAST_HZ, 0.3));
    let (mut first_of, mut last_of) = (first_of, last_of);
    let mut said = tone(SAID_HZ, 0.3);
    let ends = last.clone();
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_exact(1, move |sample| match sample % SPURT {
        at if at < 960 => first_of(sample),
        at if at + 960 >= ends.load(Relaxed) => last_of(sample),
        _ => said(sample),
    });
    stage.join_tapped(2, |_| 0.0);
    stage.join_ear(3);
    for talker in &stage.talkers {
        talker.shared.settings.set_permit(Permit::Closed);
    }
    (stage, last)
}

/// Distance between the starts of talk-spurts on the talker's media clock: ten seconds, in samples.
const SPURT: u64 = 480_000;

#[test]
fn first_and_last_20_ms_of_200_talk_spurts_are_heard() {
    use std::sync::atomic::Ordering::Relaxed;
    let (mut stage, ends) = room();
    let mut chance = Chance(7);
    let mut clock_us = 2_000_000;
    for number in 1..=200u64 {
        let spurt = Spurt {
            packets: 2 + below(&mut chance, if number % 2 == 0 { 20 } else { 150 }),
            access_us: below(&mut chance, 280_000),
            request_us: [0, 0, below(&mut chance, 15_000)][number as usize % 3],
            release_us: below(&mut chance, 40_000),
        };
        let jitter_us = [300, 300, 300, 8_000][number as usize % 4];
        // The media clock follows the wall clock to the next multiple of `SPURT`.
        let start_us = clock_us + SPURT / 48 * 1_000 - clock_us % (SPURT / 48 * 1_000)
            + below(&mut chance, 20_000);
        stage.talkers[0].speak_from(number * SPURT);
        ends.store(spurt.packets * 960, Relaxed);
        let mut happenings: Vec<(u64, Happening)> = (1..=spurt.packets)
            .map(|n| {
                let arrival_us = start_us + n * 20_000 + below(&mut chance, jitter_us);
                (arrival_us, Happening::Packet)
            })
            .collect();
        let asked_us = start_us + 20_000 + spurt.request_us;
        let granted_us = asked_us + spurt.access_us;
        // The talker releases the floor after the last word, whose packet may then still be in
        // flight.
        let spoken_us = start_us + spurt.packets * 20_000;
        let released_us = (spoken_us + spurt.release_us).max(granted_us + 1_000);
        happenings.push((asked_us, Happening::Told(Permit::Asked)));
        happenings.push((granted_us, Happening::Told(Permit::Held)));
        happenings.push((released_us, Happening::Told(Permit::Draining)));
        clock_us = released_us + 900_000;
        stage.sink.packets.clear();
        play(&mut stage, happenings, clock_us);

        let heard = stage.heard(1);
        let (first, last) = (loudest(&heard, FIRST_HZ), loudest(&heard, LAST_HZ));
        let label = || format!("spurt {number}: {spurt:?}, {first:.3} and {last:.3}");
        // The first 20 ms fade in over five milliseconds.
        assert!(first > 0.3 * 0.8, "{}", label());
        assert!(last > 0.3 * 0.9, "{}", label());
        let telemetry = &stage.talkers[0].shared.telemetry;
        assert_eq!(telemetry.permit(), Permit::Closed, "{}", label());
        assert_eq!(telemetry.lost_total.load(Relaxed), 0, "{}", label());
    }
}

/// Speaks for eight seconds, with the floor granted `access_ms` after the request; returns the mix,
/// and for each tick after the grant the playout delay in milliseconds.
fn speak(
    voice: impl FnMut(u64) -> f32 + Clone + Send + 'static,
    access_ms: u64,
) -> (Vec<f32>, Vec<f64>) {
    speak_at(voice, access_ms, 7_000)
}

/// Like [`speak`], with packets that arrive `offset_us` after the room's initial ticks.
fn speak_at(
    voice: impl FnMut(u64) -> f32 + Clone + Send + 'static,
    access_ms: u64,
    offset_us: u64,
) -> (Vec<f32>, Vec<f64>) {
    use std::sync::atomic::Ordering::Relaxed;
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_exact(1, voice);
    stage.join_tapped(2, |_| 0.0);
    for talker in &stage.talkers {
        talker.shared.settings.set_permit(Permit::Closed);
    }
    let start_us = 2_000_000 + offset_us;
    let asked_us = start_us + 20_300;
    let granted_us = asked_us + access_ms * 1_000;
    let mut happenings: Vec<(u64, Happening)> = (1..=400)
        .map(|n| (start_us + n * 20_000 + 300, Happening::Packet))
        .collect();
    happenings.push((asked_us, Happening::Told(Permit::Asked)));
    happenings.push((granted_us, Happening::Told(Permit::Held)));
    let mut delays = Vec::new();
    while !happenings.is_empty() {
        let now_us = stage.now().us() + 20_000;
        let (due, later) = happenings
            .into_iter()
            .partition(|(at_us, _)| *at_us <= now_us);
        happenings = later;
        play(&mut stage, due, now_us);
        let delay_us = stage.talkers[0].shared.telemetry.delay_us.load(Relaxed);
        if now_us > granted_us + 20_000 {
            delays.push(f64::from(delay_us) / 1_000.0);
        }
    }
    (stage.heard(1), delays)
}

#[test]
fn playout_catches_up_with_held_speech_in_three_seconds() {
    for name in ["human-en-female", "human-fr-female", "human-it-male"] {
        let (_, usual) = speak(human(name), 0);
        let usual = usual.iter().copied().fold(0.0, f64::max);
        assert!(usual <= 21.0, "{usual}");
        for access_ms in [40, 120, 200, 280] {
            let (_, delays) = speak(human(name), access_ms);
            let caught_up = delays.iter().position(|delay| *delay <= usual + 8.0);
            let seconds = caught_up.map(|ticks| ticks as f64 / 50.0);
            let most = 0.4 + access_ms as f64 / 280.0 * 2.6;
            assert!(
                seconds.is_some_and(|seconds| seconds <= most),
                "{name} after {access_ms} ms: {seconds:?} s"
            );
            let settled = &delays[caught_up.unwrap_or(0) + 1..];
            assert!(settled.iter().all(|delay| *delay <= usual + 8.0), "{name}");
            assert!(delays[delays.len() - 1] <= usual + 0.5, "{name}");
            // Playback is never more than a third faster than the speech in any half second; a
            // seventh, apart from pauses.
            let hurried = delays.windows(26).map(|pair| pair[0] - pair[25]);
            let most = hurried.fold(0.0, f64::max);
            assert!(most <= 500.0 * 0.34, "{name}: {most} ms in half a second");
        }
    }
}

#[test]
fn room_moves_its_phase_to_a_talker_that_was_just_granted_the_floor() {
    for access_ms in [0, 7, 23, 90] {
        for offset_us in (0..20_000).step_by(1_700) {
            let (_, delays) = speak_at(human("human-fr-female"), access_ms, offset_us);
            let settled = delays[delays.len() - 1];
            // The minimum wait, the margin, the slot grid, and one slot that is not worth a phase
            // move.
            assert!(
                settled <= 6.0 + 0.5 + 2.5 + 2.5,
                "{access_ms} ms, {offset_us} us: {settled} ms"
            );
        }
    }
}

/// Number of samples whose second difference exceeds `natural`, which marks a jump.
fn jumps(heard: &[f32], natural: f32) -> usize {
    let bends = heard.windows(3).map(|w| (w[0] - 2.0 * w[1] + w[2]).abs());
    bends.filter(|bend| *bend > natural).count()
}

#[test]
fn catching_up_makes_no_jump_in_tones_or_voices() {
    // A tone reveals every seam.
    for hz in [150.0, 331.7, 925.0] {
        let (heard, delays) = speak_tone(hz);
        assert!(delays[delays.len() - 1] <= 22.0);
        let natural = 0.5 * (std::f64::consts::TAU * hz / 48_000.0).powi(2) as f32;
        assert_eq!(jumps(&heard[1_000..], natural * 1.6 + 0.002), 0, "{hz} Hz");
    }
    // The second difference of a voice must not exceed its natural maximum.
    for name in ["human-en-female", "human-it-male"] {
        let mut voice = human(name);
        let spoken: Vec<f32> = (0..400 * 960).map(&mut voice).collect();
        let bends = spoken.windows(3).map(|w| (w[0] - 2.0 * w[1] + w[2]).abs());
        let natural = bends.fold(0.0, f32::max);
        let (heard, _) = speak(human(name), 280);
        assert_eq!(jumps(&heard, natural * 1.1), 0, "{name}");
        // The energy must match the original voice, so that no speech is missing.
        let energy = |pcm: &[f32]| pcm.iter().map(|s| f64::from(s * s)).sum::<f64>();
        let ratio = db((energy(&heard) / energy(&spoken)).sqrt());
        assert!((-0.4..=0.1).contains(&ratio), "{name}: {ratio} dB");
    }
}

fn speak_tone(hz: f64) -> (Vec<f32>, Vec<f64>) {
    let voice = move |sample: u64| {
        let turns = (hz * sample as f64 / 48_000.0).fract();
        0.5 * (turns * std::f64::consts::TAU).sin() as f32
    };
    speak(voice, 280)
}

/// Any packet length with any tick length: after 280 ms of held packets the delay returns to its
/// usual value.
#[test]
fn playout_catches_up_with_held_packets_of_every_length() {
    for tick in [TickLength::Ms10, TickLength::Ms20] {
        for ms in [2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0] {
            let late = wait_after(tick, ms, 280.0);
            let usual = wait_after(tick, ms, 0.0);
            assert!(late <= usual + 10.0, "{tick:?} {ms}: {late} and {usual} ms");
        }
    }
}

/// Playout delay in milliseconds, six seconds after packets that were held for `access_ms` began to
/// play.
fn wait_after(tick: TickLength, ms: f64, access_ms: f64) -> f64 {
    let (mut playout, mut frame) = (
        Playout::new(Layout::Mono, tick, crate::common::ToneDecoder::boxed()),
        Frame::new(Layout::Mono, tick),
    );
    let samples = (ms * 48.0) as u64;
    let (mut sent, mut heard) = (0, Vec::new());
    let start_us = 1_000_000;
    let let_in_us = start_us + ((ms + access_ms) * 1_000.0) as u64;
    let mut now_us = start_us;
    let mut waits = true;
    while now_us < let_in_us + 6_000_000 {
        now_us += u64::from(tick.ms()) * 1_000;
        loop {
            let arrival_us = start_us + ((sent + 1) as f64 * ms * 1_000.0) as u64 + 300;
            if arrival_us > now_us {
                break;
            }
            playout.push(&packet(sent, sent * samples, ms), Time::from_us(arrival_us));
            sent += 1;
        }
        if now_us < let_in_us {
            continue;
        }
        if std::mem::take(&mut waits) {
            playout.catch_up();
        }
        playout.pull(Time::from_us(now_us), &mut frame);
        heard.extend_from_slice(frame.samples());
    }
    let natural = 0.5 * (std::f64::consts::TAU * crate::common::TONE_HZ / 48_000.0).powi(2) as f32;
    let label = format!("{tick:?}, packets of {ms} ms, {:?}", playout.stats());
    assert_eq!(jumps(&heard[500..], natural * 1.6 + 0.004), 0, "{label}");
    let stats = playout.stats();
    assert_eq!(
        (stats.lost, stats.discarded, stats.concealed_samples),
        (0, 0, 0),
        "{label}"
    );
    stats.delay.as_secs_f64() * 1e3
}

/// A talker with an open microphone requests the floor within a word: the mix matches the output of
/// a decoder that received every packet.
#[test]
fn held_speech_is_decoded_like_a_stream_without_gaps() {
    for access_ms in [0u64, 60, 280, 1_000] {
        let mut stage = Stage::new(RoomSettings::default());
        stage.join(1, human("human-en-female"), None);
        stage.join_tapped(2, |_| 0.0);
        for talker in &stage.talkers {
            talker.shared.settings.set_permit(Permit::Closed);
        }
        let mut decoder = OpusDecoder::new(Layout::Mono);
        let (mut reference, mut pcm) = (Vec::new(), [0.0; 960]);
        for number in 0..200 {
            let told = match number * 20 {
                ms if ms < 2_000 => Permit::Closed,
                ms if ms < 2_000 + access_ms => Permit::Asked,
                _ => Permit::Held,
            };
            stage.talkers[0].shared.settings.set_permit(told);
            let (packet, id) = (stage.talkers[0].packet(), stage.talkers[0].id);
            let samples = decoder
                .decode(packet.payload.as_slice(), &mut pcm)
                .expect("Opus");
            reference.extend_from_slice(&pcm[..samples]);
            let now = stage.now();
            stage.engine.push(id, &packet, now);
            stage.pass();
        }
        let heard = stage.heard(1);
        let sound = heard.iter().position(|sample| *sample != 0.0);
        let first = &heard[sound.expect("it is heard") / 960 * 960..];
        // The first frame fades in; no splice happens within the first 60 ms.
        let first = &first[240..2 * 960];
        let noise_db = |from: usize| {
            let spoken = &reference[from * 960 + 240..][..first.len()];
            let noise: f32 = first.iter().zip(spoken).map(|(a, b)| (a - b).powi(2)).sum();
            let energy: f32 = spoken.iter().map(|a| a * a).sum();
            assert!(energy > 0.1, "something is said: {energy}");
            10.0 * (noise / energy).log10()
        };
        let from = 100 + (access_ms.saturating_sub(320) / 20) as usize;
        let best = (from - 2..from + 3).map(noise_db).fold(0.0, f32::min);
        assert!(best < -15.0, "{access_ms} ms: {best:.1} dB");
    }
}
