//! Mix-minus: each participant hears all others and not their own signal.

use crate::stage::{Stage, amplitude_of, db, tone};
use mixer::codec::Decode;
use mixer::codec::opus::OpusDecoder;
use mixer::format::Layout;
use mixer::output::limiter::CEILING;
use mixer::room::RoomSettings;

/// Frequencies off any common grid, so that distortion of one tone does not fall on another.
const TONES_HZ: [f64; 4] = [317.3, 541.9, 823.7, 1_201.1];

#[test]
fn mix_minus_in_pcm_keeps_the_own_tone_below_minus_90_db() {
    let mut stage = Stage::new(RoomSettings::default());
    for (id, hz) in (1..).zip(TONES_HZ) {
        stage.join_exact(id, tone(hz, 0.15));
    }
    for _ in 0..120 {
        stage.turn();
    }
    for (own, _) in TONES_HZ.into_iter().enumerate() {
        let heard = stage.heard(own);
        let heard = &heard[960 * 10..][..960 * 100];
        for (id, hz) in TONES_HZ.into_iter().enumerate() {
            let level_db = db(amplitude_of(heard, hz) / 0.15);
            if id == own {
                assert!(level_db < -90.0, "own tone at {level_db:.1} dB");
            } else {
                assert!(level_db.abs() < 0.01, "{hz} Hz at {level_db:.2} dB");
            }
        }
    }
}

#[test]
fn lone_talker_hears_nothing() {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_tapped(1, tone(317.3, 0.9));
    stage.join_tapped(2, |_| 0.0);
    for _ in 0..100 {
        stage.turn();
    }
    assert!(stage.heard(0).iter().all(|&sample| sample == 0.0));
    assert!(stage.heard(1).iter().any(|&sample| sample > 0.7));
}

#[test]
fn muting_a_participant_does_not_change_the_mix_that_it_hears() {
    // Opus noise would mask a residue of the own tone, so compare two rooms with equal input, one
    // of them with a voice muted: the mix for that voice's owner must not differ.
    for left_out in 0..TONES_HZ.len() {
        let mixes = [false, true].map(|muted| {
            let mut stage = Stage::new(RoomSettings::default());
            for (id, hz) in (1..).zip(TONES_HZ) {
                stage.join_tapped(id, tone(hz, 0.15));
            }
            stage.talkers[left_out].shared.settings.mute(muted);
            for _ in 0..60 {
                stage.turn();
            }
            stage.heard(left_out)
        });
        assert!(mixes[0].len() > 960 * 50);
        assert_eq!(mixes[0].len(), mixes[1].len());
        for (with, without) in mixes[0].iter().zip(&mixes[1]) {
            assert!((with - without).abs() < 1e-6);
        }
    }
}

#[test]
fn limiter_keeps_three_full_scale_voices_below_minus_one_dbfs() {
    let mut stage = Stage::new(RoomSettings::default());
    for (id, hz) in [317.3, 541.9, 823.7].into_iter().enumerate() {
        let mut voice = tone(hz, 1.0);
        // Square waves have the highest energy at full scale.
        stage.join_tapped(id as u32 + 1, move |sample| voice(sample).signum());
    }
    stage.join_tapped(9, |_| 0.0);
    for _ in 0..100 {
        stage.turn();
    }
    for talker in 0..4 {
        let heard = stage.heard(talker);
        let peak = heard
            .iter()
            .fold(0.0f32, |peak, sample| peak.max(sample.abs()));
        assert!(peak > 0.7 && peak <= CEILING, "peak {peak}");
    }
}

#[test]
fn mix_does_not_depend_on_the_order_of_joining() {
    let mut mixes = Vec::new();
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let mut stage = Stage::new(RoomSettings::default());
        for id in order {
            stage.join_tapped(id as u32 + 1, tone(TONES_HZ[id], 0.2));
        }
        for _ in 0..50 {
            stage.turn();
        }
        let first = order.iter().position(|&id| id == 0).expect("0 is there");
        mixes.push(stage.heard(first));
    }
    for other in &mixes[1..] {
        assert_eq!(mixes[0].len(), other.len());
        for (a, b) in mixes[0].iter().zip(other) {
            assert!((a - b).abs() < 1e-6);
        }
    }
}

#[test]
fn silent_participants_produce_silence_and_then_no_packets() {
    let mut stage = Stage::new(RoomSettings::default());
    for id in 1..=3 {
        stage.join_tapped(id, |_| 0.0);
    }
    for _ in 0..500 {
        stage.turn();
    }
    for talker in 0..3 {
        assert!(stage.heard(talker).iter().all(|&sample| sample == 0.0));
    }
    assert!(stage.sink.events.is_empty(), "nobody talks");
    let last_slot_sent = stage
        .sink
        .packets
        .last()
        .map(|(_, packet)| packet.time.0 / 120);
    assert!(
        last_slot_sent.is_some_and(|slot| slot < 400 + 8 * 110),
        "after two seconds nothing is sent"
    );
}

#[test]
fn mix_minus_through_opus_carries_the_others_and_not_the_own_tone() {
    let mut stage = Stage::new(RoomSettings::default());
    let tones = [541.9, 823.7, 1_201.1];
    for (id, hz) in tones.into_iter().enumerate() {
        stage.join(id as u32 + 1, tone(hz, 0.2), None);
    }
    for _ in 0..100 {
        stage.turn();
    }
    for (own, talker) in stage.talkers.iter().enumerate() {
        let mut decoder = OpusDecoder::new(Layout::Mono);
        let mut heard = Vec::new();
        let mut pcm = [0.0; 960];
        for (_, packet) in stage.sink.packets.iter().filter(|(to, _)| *to == talker.id) {
            let samples = decoder.decode(packet.payload.as_slice(), &mut pcm);
            heard.extend_from_slice(&pcm[..samples.expect("what we send is Opus")]);
        }
        let heard = &heard[960 * 20..][..960 * 60];
        let level_db = |hz: f64| db(amplitude_of(heard, hz) / 0.2);
        for (id, hz) in tones.into_iter().enumerate() {
            if id == own {
                assert!(level_db(hz) < -40.0, "own at {:.1} dB", level_db(hz));
            } else {
                assert!(level_db(hz).abs() < 2.0, "other at {:.1} dB", level_db(hz));
            }
        }
        let sources = stage
            .sink
            .packets
            .iter()
            .rev()
            .find(|(to, _)| *to == talker.id);
        let ids = sources
            .map(|(_, packet)| packet.sources.ids().to_vec())
            .expect("it hears");
        assert_eq!(ids.len(), 2);
        assert!(!ids.contains(&talker.id.0));
    }
}
