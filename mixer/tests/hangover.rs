//! Streams that go on through the pauses of a conversation, so that receivers keep their buffers.
#![cfg(feature = "opus")]

mod stage;

use mixer::format::{SLOT, TickLength};
use mixer::packet::OutPacket;
use mixer::profile::{Profile, ReceiverLimits, Recipe};
use mixer::room::RoomSettings;
use mixer::units::{ParticipantId, Time};
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
        let mut stage = Stage::new(RoomSettings::default());
        stage.join_exact(2, tone(331.7, 0.3));
        let recipe = Recipe::new(profile, &ReceiverLimits::default(), TickLength::Ms20);
        stage.join_ear_of(EAR.0, recipe);
        let slot_us = SLOT.as_micros() as u64;
        let due_us = (stage.slot * slot_us).next_multiple_of(20_000) + offset_us;
        Call { stage, due_us }
    }

    /// Lets the talker speak, or send nothing, for a while; the packets that the listener is sent, and when.
    fn go_on(&mut self, speaks: bool, ms: u64) -> Vec<(Time, OutPacket)> {
        let end_us = self.due_us + ms * 1_000;
        let talker = self.stage.talkers[0].id;
        let mut sent = Vec::new();
        while self.due_us < end_us {
            self.stage.slot += 1;
            let now = self.stage.now();
            if self.due_us <= now.us() {
                let packet = self.stage.talkers[0].packet();
                if speaks {
                    let arrival = Time::from_us(self.due_us);
                    self.stage.engine.push(talker, &packet, arrival);
                } else {
                    self.stage.talkers[0].unsend();
                }
                self.due_us += 20_000;
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
        // Packets with sound, in order, are the talker's packets from the first one on.
        let waits = spurt
            .iter()
            .filter(|(_, packet)| !packet.sources.ids().is_empty())
            .enumerate()
            .map(|(number, (at, _))| {
                at.us() as f64 / 1e3 - (begins_us as f64 / 1e3 + 20.0 * number as f64)
            });
        let longest = waits.fold(0.0, f64::max);
        assert!(longest <= 9.0, "step {step}: {longest} ms");
        sent.extend(spurt);
        for pair in sent.windows(2) {
            let apart = pair[1].1.time.distance_from(pair[0].1.time);
            assert!(apart >= 960, "step {step}: {apart} samples apart");
        }
    }
}
