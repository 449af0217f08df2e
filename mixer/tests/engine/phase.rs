//! Room phase: how long a lone talker's packets wait for the room's tick.

use crate::stage::{Stage, encoding, nth_packet, tone};
use mixer::codec::opus::OpusEncoder;
use mixer::codec::{Encode, Encoding, Profile};
use mixer::engine::Command;
use mixer::format::{SLOT, TickLength};
use mixer::output::OutputStream;
use mixer::packet::Payload;
use mixer::room::RoomSettings;
use mixer::units::{RtpTime, Time};

/// Waits, in milliseconds, from packet arrival to mix, in the second half of a two-second
/// talk-spurt that begins `offset_us` within a tick, after `silence_ms` of silence.
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
            // On a clean network packets are played whole and in order.
            if !packet.sources.ids().is_empty() {
                let arrived_us = first_us + waits.len() as u64 * 20_000;
                waits.push((now.us() - arrived_us) as f64 / 1_000.0);
            }
        }
    }
    waits.split_off(50)
}

#[test]
fn lone_talkers_packets_wait_a_few_milliseconds_at_any_phase() {
    for silence_ms in [0, 300, 5_000] {
        let mut waits: Vec<f64> = (0..30)
            .flat_map(|step| waits_ms(silence_ms, step * 667))
            .collect();
        waits.sort_unstable_by(f64::total_cmp);
        let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
        assert!(median <= 7.5, "median {median} ms after {silence_ms} ms");
        assert!(
            longest <= 10.0,
            "longest {longest} ms after {silence_ms} ms"
        );
    }
}

/// Waits, in milliseconds, from packet arrival to mix, in the first half second of speech of the
/// remaining talker. That talker speaks one second after the other left, and until then sends
/// silence, `offset_us` later within each tick than the other talker did.
fn waits_of_who_is_left_ms(offset_us: u64) -> Vec<f64> {
    const TURNS: u64 = 50;
    let mut stage = Stage::new(RoomSettings::default());
    stage.join(1, |_| 0.0, None);
    stage.join_exact(2, tone(331.7, 0.3));
    let mut voice = tone(443.1, 0.3);
    let begins = 2 * TURNS * 960;
    let quietly = move |at| voice(at) * if at < begins { 0.000_1 } else { 1.0 };
    stage.join(3, quietly, None);
    let first_us = stage.now().us();
    let (mut sent, mut left, mut waits) = ([0u64; 2], false, Vec::new());
    while waits.len() < 25 {
        stage.slot += 1;
        let now = stage.now();
        for (number, late_us) in [(0, 0), (1, offset_us)] {
            let due_us = first_us + sent[number] * 20_000 + late_us;
            if due_us <= now.us() && !(left && number == 0) {
                let talker = &mut stage.talkers[1 + number];
                let packet = talker.packet();
                let from = talker.id;
                stage.engine.push(from, &packet, Time::from_us(due_us));
                sent[number] += 1;
            }
        }
        if sent[0] == TURNS && !left {
            let leaver = stage.talkers[1].id;
            let command = Command::RemoveParticipant(leaver);
            stage.engine.apply(command, &mut stage.sink);
            left = true;
        }
        stage.engine.run_slot(stage.slot, now, &mut stage.sink);
        let listener = stage.talkers[0].id;
        for (to, packet) in stage.sink.packets.drain(..) {
            if to == listener && packet.sources.ids() == [3] {
                let arrived_us = first_us + (2 * TURNS + waits.len() as u64) * 20_000 + offset_us;
                waits.push((now.us() - arrived_us) as f64 / 1_000.0);
            }
        }
    }
    waits
}

#[test]
fn room_moves_its_phase_to_the_remaining_talker_after_another_left() {
    for offset_us in (0..20_000).step_by(667) {
        let waits = waits_of_who_is_left_ms(offset_us);
        let longest = waits.iter().copied().fold(0.0, f64::max);
        assert!(
            longest <= 10.0,
            "longest {longest} ms, {offset_us} us later than the one who left"
        );
    }
}

#[test]
fn packets_do_not_overlap_in_media_time_after_a_phase_move() {
    for step in 0..60 {
        let mut stage = Stage::new(RoomSettings::default());
        stage.join(1, |_| 0.0, None);
        stage.join_exact(2, tone(331.7, 0.3));
        let encoding = Encoding {
            packet_ms: 60,
            ..encoding(Profile::Voice)
        };
        let listener = OutputStream::new(encoding, TickLength::Ms20);
        let to = stage.talkers[0].id;
        let command = Command::SetStream(to, Box::new(listener));
        stage.engine.apply(command, &mut stage.sink);
        // Half a second of speech, a pause that includes a refresh, and speech again.
        let talker = stage.talkers[1].id;
        let mut due_us = stage.now().us();
        let pause_us = 600_000 + step * 4_300;
        for spoken in 0..40 {
            while due_us > stage.now().us() {
                stage.slot += 1;
                let now = stage.now();
                stage.engine.run_slot(stage.slot, now, &mut stage.sink);
            }
            let mut packet = stage.talkers[1].packet();
            if spoken > 24 {
                packet.time = packet.time.plus(pause_us as u32 * 48 / 1_000);
            }
            stage.engine.push(talker, &packet, Time::from_us(due_us));
            due_us += if spoken == 24 { pause_us } else { 20_000 };
        }
        let sent = stage.sink.packets.iter().filter(|sent| sent.0 == to);
        let times: Vec<RtpTime> = sent.map(|(_, packet)| packet.time).collect();
        for pair in times.windows(2) {
            let apart = pair[1].distance_from(pair[0]);
            assert!(apart >= 2_880, "{apart} samples after {pause_us} us");
        }
    }
}

/// Ticks run during 1.5 s of quiet packets, after one second of speech, with packets of `samples`
/// samples sent at `pace` times their proper rate while quiet.
fn ticks_while_quiet(samples: usize, pace: usize, offset_us: u64) -> u64 {
    const TALK_US: u64 = 1_000_000;
    const QUIET_US: u64 = 1_500_000;
    let mut stage = Stage::new(RoomSettings::default());
    stage.join(1, |_| 0.0, None);
    stage.join(2, |_| 0.0, None);
    let talker = stage.talkers[1].id;
    let mut encoder = OpusEncoder::new(&encoding(Profile::LowDelay));
    let mut voice = tone(331.7, 1.0);
    let first_us = stage.now().us() + offset_us;
    let packet_us = samples as u64 * 1_000 / 48;
    let (mut sent, mut due_us) = (0u64, first_us);
    let mut ticks_before = 0;
    while stage.now().us() < first_us + TALK_US + QUIET_US {
        stage.slot += 1;
        let now = stage.now();
        while due_us <= now.us() {
            let talks = due_us < first_us + TALK_US;
            let gain = if talks { 0.3 } else { 0.000_1 };
            let from = sent * samples as u64;
            let pcm: Vec<f32> = (from..from + samples as u64)
                .map(|at| gain * voice(at))
                .collect();
            let mut payload = Payload::EMPTY;
            encoder.encode(&pcm, &mut payload).expect("an Opus length");
            let packet = nth_packet(sent, samples, payload);
            stage.engine.push(talker, &packet, Time::from_us(due_us));
            sent += 1;
            due_us += match talks {
                true => packet_us,
                false => packet_us / pace as u64,
            };
        }
        if now.us() < first_us + TALK_US {
            ticks_before = stage.engine.stats().ticks_total;
        }
        stage.engine.run_slot(stage.slot, now, &mut stage.sink);
    }
    stage.engine.stats().ticks_total - ticks_before
}

#[test]
fn quiet_room_keeps_its_tick_rate_at_any_packet_length() {
    for samples in [120, 240, 480, 960] {
        for offset_us in [0, 700, 2_400] {
            let ticks = ticks_while_quiet(samples, 1, offset_us);
            assert!(
                (73..=77).contains(&ticks),
                "{ticks} ticks in 1.5 s, packets of {samples} samples from {offset_us} us"
            );
        }
    }
}

#[test]
fn excess_packets_neither_stop_nor_speed_up_a_quiet_room() {
    for pace in [2, 3, 8] {
        let ticks = ticks_while_quiet(960, pace, 700);
        assert!(
            (64..=86).contains(&ticks),
            "{ticks} ticks in 1.5 s for {pace} times the packets"
        );
    }
}

/// What a participant sends while not talking.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Quiet {
    /// Packets of quiet sound at the usual rate.
    Sends,
    /// A packet without sound every 400 ms (RFC 6716, section 2.1.9).
    Refreshes,
}

/// A conversation by turns, each 0.4 s without sound and 0.6 s with sound.
#[derive(Debug, Clone, Copy)]
struct Talk {
    talkers: u64,
    /// Number of listen-only members, at least one.
    listeners: u32,
    /// Offset, in microseconds, between the packets of successive talkers within each tick.
    apart_us: u64,
    quiet: Quiet,
}

impl Talk {
    const TURN: u64 = 50;
    const PAUSE: u64 = 20;
    const TURNS: u64 = 7;

    /// Media time modulo the tick, in samples, of all packets that a listener got, by turn.
    fn phases(self) -> Vec<Vec<u32>> {
        let mut stage = Stage::new(RoomSettings::default());
        for listener in 1..=self.listeners {
            stage.join(listener, |_| 0.0, None);
        }
        let is_word = move |number: u64, packet: u64| {
            let (turn, place) = (packet / Talk::TURN, packet % Talk::TURN);
            turn % self.talkers == number && place >= Talk::PAUSE
        };
        for number in 0..self.talkers {
            let mut voice = tone(331.7 + 100.0 * number as f64, 0.3);
            let says = move |at| {
                voice(at)
                    * if is_word(number, at / 960) {
                        1.0
                    } else {
                        0.000_1
                    }
            };
            stage.join(100 + number as u32, says, None);
        }
        let (first_us, listener) = (stage.now().us(), stage.talkers[0].id);
        let mut sent = vec![0u64; self.talkers as usize];
        let mut phases = vec![Vec::new(); Talk::TURNS as usize];
        while sent[0] < Talk::TURN * Talk::TURNS {
            stage.slot += 1;
            let now = stage.now();
            for (number, sent) in sent.iter_mut().enumerate() {
                let due_us = first_us + *sent * 20_000 + number as u64 * self.apart_us;
                if due_us > now.us() {
                    continue;
                }
                let talker = &mut stage.talkers[self.listeners as usize + number];
                let (mut packet, from) = (talker.packet(), talker.id);
                let sends = self.quiet == Quiet::Sends || is_word(number as u64, *sent);
                if !sends {
                    let toc = packet.payload.as_slice()[0];
                    packet.payload = Payload::copy_from(&[toc]).expect("one byte");
                }
                if sends || *sent % 20 == 0 {
                    stage.engine.push(from, &packet, Time::from_us(due_us));
                }
                *sent += 1;
            }
            stage.engine.run_slot(stage.slot, now, &mut stage.sink);
            for (to, packet) in stage.sink.packets.drain(..) {
                if to == listener {
                    let turn = ((sent[0] - 1) / Talk::TURN) as usize;
                    phases[turn].push(packet.time.0 % 960);
                }
            }
        }
        phases
    }
}

/// Runs the conversation for all talker offsets and calls `check` on the phases of each.
fn for_all_distances(talkers: u64, listeners: u32, check: impl Fn(&[Vec<u32>], Talk)) {
    for apart_us in (0..20_000).step_by(1_250) {
        for quiet in [Quiet::Sends, Quiet::Refreshes] {
            let talk = Talk {
                talkers,
                listeners,
                apart_us,
                quiet,
            };
            let phases = talk.phases();
            assert!(
                phases
                    .iter()
                    .all(|turn| turn.len() as u64 >= Talk::TURN - Talk::PAUSE - 1),
                "every turn is heard: {talk:?}"
            );
            check(&phases, talk);
        }
    }
}

/// Whether all packets from the first word of turn `first` on have one phase.
fn stays_from(first: usize, phases: &[Vec<u32>]) -> bool {
    let words = phases[first].iter().skip(Talk::PAUSE as usize);
    let mut all = words.chain(phases[first + 1..].iter().flatten());
    let place = all.next();
    all.all(|phase| Some(phase) == place)
}

#[test]
fn small_room_keeps_its_phase_from_the_first_word_on() {
    for_all_distances(2, 1, |phases, talk| {
        assert!(stays_from(0, phases), "{talk:?}: {phases:?}");
    });
}

#[test]
fn crowd_keeps_its_phase_once_all_talkers_have_talked() {
    for talkers in [2, 3] {
        for_all_distances(talkers, 5, |phases, talk| {
            assert!(stays_from(talkers as usize, phases), "{talk:?}: {phases:?}");
        });
    }
}
