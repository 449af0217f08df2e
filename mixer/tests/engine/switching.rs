//! Mix-minus under frequent role changes: no participant hears a residue of their own voice.
//!
//! Two rooms get equal input, except that one voice is inverted in one of them: its level, and with
//! it every decision, is unchanged, while each sample has the opposite sign. The mixes for that
//! voice's owner must not differ; any difference is a residue of the own voice.
#![allow(clippy::disallowed_macros, reason = "a test may say what it measured")]

use crate::stage::{Stage, db};
use mixer::room::RoomSettings;

const PEOPLE: u32 = 12;

/// Peak amplitude of each participant's noise.
const LOUD: f32 = 0.1;

/// Noise that is unique to the participant and equal in every run.
fn noise(id: u32, sign: f32) -> impl FnMut(u64) -> f32 + Send + 'static {
    move |sample| {
        let mut state = (sample + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(id) << 32;
        state = (state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        sign * LOUD * ((state >> 40) as f32 / (1 << 23) as f32 - 1.0)
    }
}

/// Runs the room with 20 role changes a second; participant `flipped` sends its noise inverted.
fn run(flipped: u32, ticks: usize) -> Stage {
    let mut stage = Stage::new(RoomSettings::default());
    for id in 1..=PEOPLE {
        let sign = if id == flipped { -1.0 } else { 1.0 };
        stage.join_exact(id, noise(id, sign));
    }
    let mut random = 1u32;
    for _ in 0..ticks {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Two ticks in five toggle a participant's mute: 20 times a second.
        if (random >> 8) % 5 < 2 {
            let talker = &stage.talkers[(random >> 16) as usize % PEOPLE as usize];
            let settings = &talker.shared.settings;
            settings.mute(!settings.muted());
        }
        stage.turn();
    }
    stage
}

#[test]
fn mix_minus_keeps_the_own_voice_below_minus_90_db_at_20_role_changes_a_second() {
    const TICKS: usize = 1_500;
    let plain = run(0, TICKS);
    for own in [1, 5, PEOPLE] {
        let flipped = run(own, TICKS);
        let (mut rest, mut packets, mut others_differ) = (0.0f32, 0, 0);
        let pairs = plain.sink.packets.iter().zip(&flipped.sink.packets);
        for ((to, one), (same, other)) in pairs {
            assert_eq!(to, same, "every decision is the same");
            let (one, other) = (plain.log.pcm(one), flipped.log.pcm(other));
            let differences = one.iter().zip(&other).map(|(a, b)| (a - b).abs());
            let most = differences.fold(0.0, f32::max);
            if to.0 == own {
                rest = rest.max(most);
                packets += 1;
            } else {
                others_differ += usize::from(most > LOUD);
            }
        }
        assert_eq!(plain.sink.packets.len(), flipped.sink.packets.len());
        // The residue appears with both signs, so it is half the difference.
        let rest_db = db(f64::from(rest / 2.0 / LOUD));
        println!("{own}: the own voice at {rest_db:.0} dB in the worst of {packets} packets");
        assert!(packets > TICKS * 9 / 10);
        assert!(others_differ > packets, "the others do hear it");
        assert!(rest_db <= -90.0, "{rest_db:.1} dB");
    }
    let encodes = plain.engine.stats().encodes_total;
    let packets = plain.engine.stats().packets_total;
    assert!(
        encodes < packets * 9 / 10,
        "some do share: {encodes} of {packets}"
    );
}
