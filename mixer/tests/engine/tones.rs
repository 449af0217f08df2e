//! Floor tones: only the participant that a tone is meant for hears it, on top of its mix.

use crate::stage::{Stage, amplitude_of, tone};
use mixer::codec::Decode;
use mixer::codec::opus::OpusDecoder;
use mixer::engine::Command;
use mixer::format::Layout;
use mixer::mix::Tone;
use mixer::permit::Permit;
use mixer::room::RoomSettings;
use mixer::units::ParticipantId;

/// Indices of the stage's talkers in these tests.
const VOICE: usize = 0;
const TAPPED: usize = 1;
const GROUPED: usize = 2;

/// Builds a room of one talker, one tapped listener, three members that share an encode, and one
/// listen-only member that shares it too.
fn room() -> Stage {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_exact(1, tone(311.3, 0.1));
    stage.join_tapped(2, |_| 0.0);
    for id in 3..=5 {
        stage.join_clear(id, |_| 0.0);
    }
    stage.join_ear(6);
    for talker in &stage.talkers[1..] {
        talker.shared.settings.set_permit(Permit::Closed);
    }
    stage
}

/// Runs `count` ticks, in which the voice speaks if `speaks` is set.
fn turns(stage: &mut Stage, count: usize, speaks: bool) {
    for _ in 0..count {
        let now = stage.now();
        let packet = stage.talkers[VOICE].packet();
        if speaks {
            stage.engine.push(stage.talkers[VOICE].id, &packet, now);
        } else {
            stage.talkers[VOICE].unsend();
        }
        stage.pass();
    }
}

fn play(stage: &mut Stage, at: usize, tone: Tone) {
    stage.talkers[at].shared.settings.play(tone);
    let command = Command::Attend(stage.talkers[at].id);
    stage.engine.apply(command, &mut stage.sink);
}

/// Payloads sent to a participant since packet index `from`.
fn payloads(stage: &Stage, from: usize, id: u32) -> Vec<Vec<u8>> {
    let sent = stage.sink.packets[from..].iter();
    sent.filter(|(to, _)| to.0 == id)
        .map(|(_, packet)| packet.payload.as_slice().to_vec())
        .collect()
}

fn decoded(stage: &Stage, id: u32) -> Vec<f32> {
    let mut decoder = OpusDecoder::new(Layout::Mono);
    let mut pcm = [0.0; 960];
    let mut heard = Vec::new();
    for payload in payloads(stage, 0, id) {
        let samples = decoder.decode(&payload, &mut pcm).expect("what we send");
        heard.extend_from_slice(&pcm[..samples]);
    }
    heard
}

/// Largest amplitude of a frequency in any window of 40 ms.
fn loudest(heard: &[f32], hz: f64) -> f64 {
    let windows = heard.windows(1_920).step_by(480);
    windows.map(|pcm| amplitude_of(pcm, hz)).fold(0.0, f64::max)
}

const GRANT_HZ: [f64; 2] = [880.0, 1_318.5];

#[test]
fn tone_wakes_a_sleeping_room_until_it_ends_and_only_its_listener_hears_it() {
    for (played, hz) in [
        (Tone::Grant, GRANT_HZ),
        (Tone::Deny, [220.0, 660.0]),
        (Tone::End, [587.3; 2]),
    ] {
        let mut stage = room();
        turns(&mut stage, 300, false);
        let (ticks, from) = (stage.engine.stats().ticks_total, stage.sink.packets.len());
        play(&mut stage, TAPPED, played);
        turns(&mut stage, 300, false);
        let heard = stage.heard(TAPPED);
        for hz in hz {
            let amplitude = loudest(&heard, hz);
            assert!(amplitude > 0.035, "{played:?}: {amplitude} at {hz} Hz");
        }
        let to_others = stage.sink.packets[from..]
            .iter()
            .filter(|(to, _)| to.0 != 2);
        assert_eq!(to_others.count(), 0, "{played:?}");
        let ran = stage.engine.stats().ticks_total - ticks;
        assert!((10..200).contains(&ran), "{played:?}: {ran} ticks");
    }
}

#[test]
fn tone_starts_with_the_next_packet_of_its_listener() {
    let mut stage = room();
    turns(&mut stage, 300, false);
    stage.talkers[TAPPED].shared.settings.play(Tone::Deny);
    turns(&mut stage, 20, false);
    assert!(stage.heard(TAPPED).iter().all(|&sample| sample == 0.0));
    let packet = stage.talkers[TAPPED].packet();
    let now = stage.now();
    stage.engine.push(stage.talkers[TAPPED].id, &packet, now);
    turns(&mut stage, 20, false);
    assert!(loudest(&stage.heard(TAPPED), 220.0) > 0.1);
}

#[test]
fn tone_over_a_voice_is_added_for_its_listener_only() {
    let run = |played: bool, owner: usize| {
        let mut stage = room();
        turns(&mut stage, 100, true);
        let before = stage.engine.stats().encodes_total;
        turns(&mut stage, 50, true);
        let usual = stage.engine.stats().encodes_total - before;
        let from = stage.sink.packets.len();
        if played {
            play(&mut stage, owner, Tone::Grant);
        }
        turns(&mut stage, 50, true);
        let before = stage.engine.stats().encodes_total;
        turns(&mut stage, 50, true);
        let after = stage.engine.stats().encodes_total - before;
        assert_eq!(usual, after, "who shared an encode shares it again");
        (stage, from)
    };
    for owner in [TAPPED, GROUPED] {
        let (with, from) = run(true, owner);
        let (without, _) = run(false, owner);
        let id = with.talkers[owner].id.0;
        for other in (1..=6).filter(|other| *other != id) {
            // A tap's payload is only an index into its log, so it cannot be compared.
            if other != 2 {
                let payloads = |stage| payloads(stage, from, other);
                assert_eq!(payloads(&with), payloads(&without), "to {other}");
            }
        }
        let heard = match owner {
            TAPPED => with.heard(owner),
            _ => decoded(&with, id),
        };
        for hz in GRANT_HZ {
            assert!(loudest(&heard, hz) > 0.1, "{owner}: {hz} Hz");
        }
        let voice = &heard[heard.len() - 95 * 960..heard.len() - 90 * 960];
        assert!((amplitude_of(voice, 311.3) - 0.1).abs() < 0.01);
        if owner == GROUPED {
            assert_eq!(with.heard(TAPPED), without.heard(TAPPED));
        }
    }
}

#[test]
fn latest_of_two_tones_is_heard_and_the_limiter_keeps_its_ceiling() {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_exact(1, tone(311.3, 0.9));
    stage.join_tapped(2, |_| 0.0);
    turns(&mut stage, 50, true);
    stage.talkers[TAPPED].shared.settings.play(Tone::Deny);
    play(&mut stage, TAPPED, Tone::End);
    turns(&mut stage, 50, true);
    let heard = stage.heard(TAPPED);
    assert!(loudest(&heard, 587.3) > 0.1);
    assert!(loudest(&heard, 220.0) < 0.01);
    let peak = heard.iter().fold(0.0f32, |peak, s| peak.max(s.abs()));
    assert!(peak <= mixer::output::limiter::CEILING);
}

#[test]
fn tone_for_a_listen_only_member_is_left_out_and_disturbs_nothing() {
    let run = |played: bool| {
        let mut stage = room();
        let ear = stage.join_ear(7);
        turns(&mut stage, 100, true);
        if played {
            ear.settings.play(Tone::Grant);
            let command = Command::Attend(ParticipantId(7));
            stage.engine.apply(command, &mut stage.sink);
        }
        turns(&mut stage, 100, true);
        assert_eq!(stage.engine.stats().encodes_skipped_total, 0);
        payloads(&stage, 0, 7)
    };
    assert!(run(true) == run(false));
    let mut stage = room();
    let nobody = Command::Attend(ParticipantId(99));
    stage.engine.apply(nobody, &mut stage.sink);
    assert_eq!(stage.engine.stats().refused_total, 1);
}
