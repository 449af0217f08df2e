//! Stream hangover: a stream continues through the pauses of a conversation, so that receivers keep
//! their jitter buffers filled.

use crate::stage::{Stage, tone};
use mixer::codec::{Encoding, Profile, ReceiverLimits};
use mixer::format::{SLOT, TickLength};
use mixer::packet::OutPacket;
use mixer::room::RoomSettings;
use mixer::units::{Level, ParticipantId, Time};

const EAR: ParticipantId = ParticipantId(9);

/// A room with one talker and one listener whose stream has the profile's default hangover.
struct Call {
    stage: Stage,
    /// When the talker's next packet is due, in microseconds.
    due_us: u64,
}

impl Call {
    /// Builds a call whose talker's packets arrive `offset_us` after each multiple of 20 ms.
    fn new(profile: Profile, offset_us: u64) -> Call {
        Call::with_voice(profile, offset_us, tone(331.7, 0.3))
    }

    fn with_voice(
        profile: Profile,
        offset_us: u64,
        voice: impl FnMut(u64) -> f32 + Send + 'static,
    ) -> Call {
        let mut stage = Stage::new(RoomSettings::default());
        stage.join_exact(2, voice);
        let encoding = Encoding::new(profile, &ReceiverLimits::default(), TickLength::Ms20);
        stage.join_ear_of(EAR.0, encoding);
        let slot_us = SLOT.as_micros() as u64;
        let due_us = (stage.slot * slot_us).next_multiple_of(20_000) + offset_us;
        Call { stage, due_us }
    }

    /// Lets the talker speak or send nothing for `ms`, and returns the listener's packets with
    /// their send times.
    fn go_on(&mut self, speaks: bool, ms: u64) -> Vec<(Time, OutPacket)> {
        self.send(speaks.then_some(None), ms)
    }

    /// Lets the talker send packets with `level` as hint (`None`: no packets) for `ms`; all other
    /// members are silent.
    fn send(&mut self, level: Option<Option<Level>>, ms: u64) -> Vec<(Time, OutPacket)> {
        let end_us = self.due_us + ms * 1_000;
        let talker = self.stage.talkers[0].id;
        let mut sent = Vec::new();
        while self.due_us < end_us {
            self.stage.slot += 1;
            let now = self.stage.now();
            if self.due_us <= now.us() {
                let mut packet = self.stage.talkers[0].packet();
                if let Some(level) = level {
                    packet.level = level;
                    let arrival = Time::from_us(self.due_us);
                    self.stage.engine.push(talker, &packet, arrival);
                } else {
                    self.stage.talkers[0].unsend();
                }
                self.due_us += 20_000;
            }
            for silent in 1..self.stage.talkers.len() {
                if self.stage.slot.is_multiple_of(8) {
                    let mut packet = self.stage.talkers[silent].packet();
                    packet.level = Some(Level::from_wire(127));
                    let from = self.stage.talkers[silent].id;
                    self.stage.engine.push(from, &packet, now);
                }
            }
            let Stage {
                engine, sink, slot, ..
            } = &mut self.stage;
            engine.run_slot(*slot, now, sink);
            let packets = sink.packets.drain(..).filter(|(to, _)| *to == EAR);
            sent.extend(packets.map(|(_, packet)| (now, packet)));
        }
        sent
    }
}

#[test]
fn stream_continues_through_a_pause_and_stops_after_its_hangover() {
    for (profile, hangover_ms) in [(Profile::Voice, 6_000), (Profile::LowDelay, 6_000)] {
        let mut call = Call::new(profile, 7_300);
        call.go_on(true, 1_000);
        let pause = call.go_on(false, 3_000);
        // A phase move towards the talker's packets may cost one packet.
        assert!(
            (148..=151).contains(&pause.len()),
            "{profile}: {}",
            pause.len()
        );
        let spurt = call.go_on(true, 1_000);
        assert!(
            spurt.iter().all(|(_, packet)| !packet.marker),
            "{profile}: it is one stream"
        );
        let rest = call.go_on(false, 20_000);
        let ms = rest.len() as u64 * 20;
        assert!(
            (hangover_ms..hangover_ms + 600).contains(&ms),
            "{profile}: {ms} ms"
        );
        assert!(call.stage.engine.is_idle(), "{profile}");
    }
}

#[test]
fn stream_of_the_thin_profile_stops_as_soon_as_the_talker_does() {
    let mut call = Call::new(Profile::Thin, 7_300);
    call.go_on(true, 1_000);
    let pause = call.go_on(false, 4_000);
    // What remains is the gate's hangover and the refresh packets.
    assert!(pause.len() < 15, "{}", pause.len());
}

#[test]
fn room_moves_its_phase_in_a_pause_without_overlapping_packets() {
    for step in 0..30 {
        let mut call = Call::new(Profile::Voice, step * 667);
        let mut sent = call.go_on(true, 500);
        sent.extend(call.go_on(false, 700));
        let begins_us = call.due_us;
        let spurt = call.go_on(true, 1_000);
        let longest = longest_wait_ms(&spurt, begins_us);
        assert!(longest <= 10.0, "step {step}: {longest} ms");
        sent.extend(spurt);
        for pair in sent.windows(2) {
            let apart = pair[1].1.time.distance_from(pair[0].1.time);
            assert!(apart >= 960, "step {step}: {apart} samples apart");
        }
    }
}

/// Longest time from a talker's packet to the listener's packet with its sound; the first packet
/// with sound belongs to the talker's packet sent at `begins_us`.
fn longest_wait_ms(spurt: &[(Time, OutPacket)], begins_us: u64) -> f64 {
    let sounds = spurt
        .iter()
        .filter(|(_, packet)| !packet.sources.ids().is_empty());
    let waits = sounds.enumerate().map(|(number, (at, _))| {
        at.us() as f64 / 1e3 - (begins_us as f64 / 1e3 + 20.0 * number as f64)
    });
    waits.fold(0.0, f64::max)
}

/// Longest wait, in milliseconds, of the packets in the first second of a talker that joins a room
/// with silent members and running streams. The talker's packets arrive `step` thirtieths of a tick
/// after those of the members.
fn longest_wait_of_newcomer_ms(silent_members: u32, step: u64) -> f64 {
    let hello = 100 * 960;
    let mut said = tone(331.7, 0.3);
    let voice = move |sample| match sample {
        _ if sample < hello => 0.0,
        _ => said(sample - hello),
    };
    let mut call = Call::with_voice(Profile::Voice, step * 667, voice);
    for silent in 0..silent_members {
        call.stage.join_exact(100 + silent, |_| 0.0);
    }
    call.go_on(false, 1_000);
    call.send(Some(Some(Level::from_wire(127))), 1_000);
    let begins_us = call.due_us;
    let heard = call.go_on(true, 1_000);
    // A stream that had to repeat media time would lag until the next pause.
    let behind = heard.windows(2).find(|pair| {
        let wall_us = pair[1].0.us() - pair[0].0.us();
        let media = pair[1].1.time.distance_from(pair[0].1.time);
        wall_us * 48 / 1_000 != media as u64
    });
    assert!(behind.is_none(), "step {step}: {behind:?}");
    longest_wait_ms(&heard, begins_us)
}

#[test]
fn room_moves_its_phase_to_a_newcomer_before_its_first_word() {
    // With two possible talkers, each waits at most half a tick beyond the minimum of 3 ms and the
    // slot grid.
    for (silent_members, longest_ms) in [(1, 16.5), (4, 10.0)] {
        for step in 0..30 {
            let longest = longest_wait_of_newcomer_ms(silent_members, step);
            assert!(
                longest <= longest_ms,
                "{silent_members}, {step}: {longest} ms"
            );
        }
    }
}
