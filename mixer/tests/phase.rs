//! How long a lone talker's packets wait for the room's tick.
#![cfg(feature = "opus")]

mod stage;

use mixer::format::SLOT;
use mixer::room::RoomSettings;
use mixer::units::Time;
use stage::{Stage, tone};

/// Runs one room for two seconds of talk that begins at `offset_us` within a tick, after
/// `silence_ms`; how long the packets of the second half took from their arrival to the mix they
/// are in, milliseconds.
fn waits_ms(silence_ms: u64, offset_us: u64) -> Vec<f64> {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join(1, |_| 0.0, None);
    stage.join_exact(2, tone(331.7, 0.3));
    let talker = stage.talkers[1].id;

    let slot_us = SLOT.as_micros() as u64;
    let first_us = (stage.slot * slot_us).next_multiple_of(20_000) + silence_ms * 1_000 + offset_us;
    let (mut sent, mut waits) = (0, Vec::new());
    while waits.len() < 100 {
        stage.slot += 1;
        let now = stage.now();
        let due_us = first_us + sent * 20_000;
        if due_us <= now.us() {
            let packet = stage.talkers[1].packet();
            stage.engine.push(talker, &packet, Time::from_us(due_us));
            sent += 1;
        }
        stage.engine.run_slot(stage.slot, now, &mut stage.sink);
        for (_, packet) in stage.sink.packets.drain(..) {
            // On a clean network packets are played whole, one after the other.
            if !packet.sources.ids().is_empty() {
                let arrived_us = first_us + waits.len() as u64 * 20_000;
                waits.push((now.us() - arrived_us) as f64 / 1_000.0);
            }
        }
    }
    waits.split_off(50)
}

#[test]
fn a_lone_talker_waits_a_few_milliseconds_whatever_the_phase() {
    for silence_ms in [0, 300, 5_000] {
        let mut waits: Vec<f64> = (0..30)
            .flat_map(|step| waits_ms(silence_ms, step * 667))
            .collect();
        waits.sort_unstable_by(f64::total_cmp);
        let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
        assert!(median <= 6.5, "median {median} ms after {silence_ms} ms");
        assert!(longest <= 9.0, "longest {longest} ms after {silence_ms} ms");
    }
}
