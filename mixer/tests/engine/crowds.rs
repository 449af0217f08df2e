//! A crowd that joins while somebody talks adds a bounded number of encodes per tick.

use std::collections::BTreeSet;

use crate::stage::{Stage, amplitude_of, db, tone};
use mixer::ParticipantId;
use mixer::codec::opus::OpusDecoder;
use mixer::codec::{Decode, Encoding, Profile};
use mixer::engine::Command;
use mixer::format::{Layout, TickLength};
use mixer::output::OutputStream;
use mixer::room::RoomSettings;

const CROWD: u32 = 100;

/// Participant id of the crowd's first member.
const FIRST: u32 = 1_000;

/// Number of newcomers that may have streams of their own at once.
const PRIVATE: u64 = 16;

/// Builds a room of `talkers`, with three listeners of the crowd's encoding if `listens` is set.
fn room(encoding: Encoding, talkers: u32, amplitude: f32, listens: bool) -> Stage {
    let mut stage = Stage::for_many(256, RoomSettings::default());
    for id in 1..=talkers {
        stage.join_clear(id, tone(331.7 + 110.0 * f64::from(id), amplitude));
    }
    if listens {
        (500..503).for_each(|id| drop(stage.join_ear_of(id, encoding)));
    }
    (0..60).for_each(|_| stage.turn());
    stage
}

/// Runs one tick and returns its number of encodes.
fn encodes(stage: &mut Stage) -> u64 {
    let before = stage.engine.stats().encodes_total;
    stage.turn();
    stage.engine.stats().encodes_total - before
}

fn crowd_joins(stage: &mut Stage, encoding: Encoding) {
    (FIRST..FIRST + CROWD).for_each(|id| drop(stage.join_ear_of(id, encoding)));
}

/// Largest number of encodes per tick over nine ticks in which nothing changes.
fn usual(stage: &mut Stage) -> u64 {
    (0..9).map(|_| encodes(stage)).max().unwrap()
}

/// Runs `join` and returns the largest number of encodes per tick within the next second.
fn most_encodes(stage: &mut Stage, join: impl FnOnce(&mut Stage)) -> u64 {
    let before = stage.sink.packets.len();
    join(stage);
    let soon = (0..4).map(|_| encodes(stage)).max().unwrap();
    let packets = stage.sink.packets[before..].iter();
    let served = packets.map(|(to, _)| to.0).filter(|id| *id >= FIRST);
    let served = served.collect::<BTreeSet<u32>>().len();
    assert_eq!(served, CROWD as usize, "sent something within 80 ms");
    soon.max((0..46).map(|_| encodes(stage)).max().unwrap())
}

/// Asserts that all members of the crowd finally receive one shared stream in which the talkers are
/// heard.
fn assert_heard(stage: &mut Stage, encoding: &Encoding, case: &str) {
    let before = stage.sink.packets.len();
    (0..60).for_each(|_| stage.turn());
    let mut last: Vec<(u32, Vec<u8>)> = Vec::new();
    for (to, packet) in stage.sink.packets[before..].iter().rev() {
        if to.0 >= FIRST && !last.iter().any(|(id, _)| *id == to.0) {
            last.push((to.0, packet.payload.as_slice().to_vec()));
        }
    }
    assert_eq!(last.len(), CROWD as usize, "{case}");
    let first = last[0].1.clone();
    assert!(
        last.iter().all(|(_, bytes)| *bytes == first),
        "{case}: all share one stream"
    );
    // The last member of the crowd never had a stream of its own; it hears the talkers and nothing
    // else.
    let mut decoder = OpusDecoder::new(Layout::Mono);
    let mut pcm = vec![0.0; encoding.packet_ms as usize * 48];
    let mut heard = Vec::new();
    for (to, packet) in &stage.sink.packets {
        if to.0 == FIRST + CROWD - 1 {
            let samples = decoder.decode(packet.payload.as_slice(), &mut pcm).unwrap();
            heard.extend_from_slice(&pcm[..samples]);
        }
    }
    let settled = &heard[heard.len() - 36_000..];
    let level = amplitude_of(settled, 441.7);
    let rest_db = db(amplitude_of(settled, 1_400.3) / level);
    assert!(
        level > 0.05 && rest_db < -30.0,
        "{case}: {level}, {rest_db:.1} dB"
    );
}

#[test]
fn hundred_newcomers_with_60_ms_packets_cost_few_encodes_at_any_phase() {
    let encoding = crate::stage::encoding(Profile::Thin);
    assert_eq!(encoding.packet_ms, 60);
    for listens in [true, false] {
        for later in 0..3 {
            let mut stage = room(encoding, 1, 0.3, listens);
            (0..later).for_each(|_| stage.turn());
            let usual = usual(&mut stage);
            let most = most_encodes(&mut stage, |stage| crowd_joins(stage, encoding));
            let case = format!("others listen: {listens}, {later} ticks later");
            assert!(
                most <= usual + PRIVATE + 1,
                "{case}: {most}, usually {usual}"
            );
            assert_heard(&mut stage, &encoding, &case);
        }
    }
}

#[test]
fn hundred_newcomers_cost_few_encodes_while_the_limiter_is_active() {
    for profile in [Profile::Voice, Profile::Thin] {
        let encoding = crate::stage::encoding(profile);
        for talkers in [2, 3] {
            let mut stage = room(encoding, talkers, 0.7, true);
            let usual = usual(&mut stage);
            let most = most_encodes(&mut stage, |stage| crowd_joins(stage, encoding));
            let case = format!("{profile}, {talkers} talk");
            assert!(most <= usual + PRIVATE, "{case}: {most}, usually {usual}");
            assert_heard(&mut stage, &encoding, &case);
        }
    }
}

/// Newcomers join one per tick, in a room whose loudest moment has just passed.
#[test]
fn newcomers_join_a_listener_group_in_time_after_the_limiter_was_active() {
    let encoding = crate::stage::encoding(Profile::Voice);
    let mut stage = Stage::for_many(256, RoomSettings::default());
    // In each second the talkers together exceed the limiter's ceiling for 250 ms.
    for id in 1..=4 {
        let mut voice = tone(331.7 + 110.0 * f64::from(id), 1.0);
        stage.join_clear(id, move |sample| {
            let gain = if sample % 48_000 < 12_000 { 1.4 } else { 0.15 };
            gain * voice(sample)
        });
    }
    (500..503).for_each(|id| drop(stage.join_ear_of(id, encoding)));
    (0..60).for_each(|_| stage.turn());
    let usual = usual(&mut stage);
    let mut most = 0;
    for id in FIRST..FIRST + CROWD {
        stage.join_ear_of(id, encoding);
        most = most.max(encodes(&mut stage));
    }
    // Each newcomer has a private stream for about ten ticks.
    assert!(most <= usual + 11, "{most}, usually {usual}");
}

/// Replaces the streams of the whole crowd at once, as when all receivers report loss at the same
/// time.
#[test]
fn hundred_replaced_streams_cost_few_encodes() {
    for profile in [Profile::Voice, Profile::Thin] {
        let encoding = crate::stage::encoding(profile);
        let mut stage = room(encoding, 1, 0.3, true);
        crowd_joins(&mut stage, encoding);
        (0..50).for_each(|_| stage.turn());
        let usual = usual(&mut stage);
        let most = most_encodes(&mut stage, |stage| {
            for id in FIRST..FIRST + CROWD {
                let listener = Box::new(OutputStream::new(encoding, TickLength::Ms20));
                let command = Command::SetStream(ParticipantId(id), listener);
                stage.engine.apply(command, &mut stage.sink);
            }
        });
        assert!(
            most <= usual + PRIVATE + 1,
            "{profile}: {most}, usually {usual}"
        );
        assert_heard(&mut stage, &encoding, profile.name());
    }
}
