//! Streams that go on through the pauses of a conversation, so that receivers keep their buffers.
#![cfg(feature = "opus")]

mod stage;

use mixer::format::{SLOT, TickLength};
use mixer::packet::OutPacket;
use mixer::profile::{Profile, ReceiverLimits, Recipe};
use mixer::room::RoomSettings;
use mixer::units::{Level, ParticipantId, Time};
use stage::{Stage, tone};

const EAR: ParticipantId = ParticipantId(9);

/// A room with one talker and one listener whose stream has the profile's own hangover.
struct Call {
    stage: Stage,
    /// When the talker's next packet is due.
    due_us: u64,
}

impl Call {
    /// The talker's packets come `offset_us` after a multiple of 20 ms.
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
        let recipe = Recipe::new(profile, &ReceiverLimits::default(), TickLength::Ms20);
        stage.join_ear_of(EAR.0, recipe);
        let slot_us = SLOT.as_micros() as u64;
        let due_us = (stage.slot * slot_us).next_multiple_of(20_000) + offset_us;
        Call { stage, due_us }
    }

    /// Lets the talker speak, or send nothing, for a while; the packets that the listener is sent, and when.
    fn go_on(&mut self, speaks: bool, ms: u64) -> Vec<(Time, OutPacket)> {
        self.send(speaks.then_some(None), ms)
    }

    /// Lets the talker send packets that tell this level, or none; everybody else is silent.
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
fn stream_continues_through_a_pause_and_stops_when_the_room_rests() {
    for (profile, hangover_ms) in [(Profile::Voice, 6_000), (Profile::LowDelay, 6_000)] {
        let mut call = Call::new(profile, 7_300);
        call.go_on(true, 1_000);
        let pause = call.go_on(false, 3_000);
        // A move to the beat of the talker may cost one packet.
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
fn thin_stream_stops_with_the_sound() {
    let mut call = Call::new(Profile::Thin, 7_300);
    call.go_on(true, 1_000);
    let pause = call.go_on(false, 4_000);
    // The gate's hangover, and refreshes.
    assert!(pause.len() < 15, "{}", pause.len());
}

#[test]
fn room_moves_to_the_talker_in_a_pause_and_no_packets_overlap() {
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

/// The longest that a packet with sound comes after what the talker has sent: the first of them is the
/// talker's first, sent at `begins_us`.
fn longest_wait_ms(spurt: &[(Time, OutPacket)], begins_us: u64) -> f64 {
    let sounds = spurt
        .iter()
        .filter(|(_, packet)| !packet.sources.ids().is_empty());
    let waits = sounds.enumerate().map(|(number, (at, _))| {
        at.us() as f64 / 1e3 - (begins_us as f64 / 1e3 + 20.0 * number as f64)
    });
    waits.fold(0.0, f64::max)
}

/// Members who are silent are there first, and the listeners' streams run. Then the talker comes in, `step` thirtieths of a
/// tick later than they send: the longest that a packet of the talker's first second waits.
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
    // A stream that had to send something over again would stay behind until the next pause.
    let behind = heard.windows(2).find(|pair| {
        let wall_us = pair[1].0.us() - pair[0].0.us();
        let media = pair[1].1.time.distance_from(pair[0].1.time);
        wall_us * 48 / 1_000 != media as u64
    });
    assert!(behind.is_none(), "step {step}: {behind:?}");
    longest_wait_ms(&heard, begins_us)
}

#[test]
fn room_has_moved_to_who_comes_in_before_the_first_word() {
    // Of two who might talk, neither waits for more than half a tick beyond the least wait, 3 ms, and the grid of slots.
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
