//! Random permits, mutes, packets and ticks: nobody is heard without a permit, and every voice that
//! may be heard is played.

use proptest::prelude::*;

use super::*;
use crate::codec::Codec;
use crate::ingest::{Reception, UnheardDecoder};
use crate::packet::Payload;
use crate::units::{Level, RtpTime, Seq};

/// A stub decoder: the second byte of a packet is its level in dB below full scale.
struct Told;

fn reading(payload: &[u8]) -> LevelReading {
    let db = Decibels(-f32::from(payload[1]));
    LevelReading {
        level: db,
        onset: db,
        sane: true,
    }
}

impl UnheardDecoder for Told {
    fn decode_roughly(&mut self, payload: &[u8]) -> Option<LevelReading> {
        Some(reading(payload))
    }

    fn warm_up(&mut self, _: &[u8], _: bool) {}
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Order(Permit),
    Mute(bool),
    /// A packet with the level that its sender signals, and its real level in dB below full scale.
    Packet {
        told: Option<u8>,
        db: u8,
    },
    /// A tick that is as loud as the last packet.
    Tick,
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => (0u8..5).prop_map(|number| Step::Order(Permit::from_wire(number))),
        1 => any::<bool>().prop_map(Step::Mute),
        8 => (prop_oneof![Just(None), Just(Some(127)), Just(Some(10))], prop_oneof![Just(10u8), Just(90)])
            .prop_map(|(told, db)| Step::Packet { told, db }),
        8 => Just(Step::Tick),
    ];
    // After a second below the gate, packets are only decoded roughly.
    let quiet_second = [Step::Packet { told: None, db: 90 }, Step::Tick].repeat(60);
    prop_oneof![
        20 => step.prop_map(|step| vec![step]),
        1 => Just(quiet_second),
    ]
}

proptest! {
    #[test]
    fn admission_plays_every_permitted_voice_and_nothing_without_a_permit(
        steps in proptest::collection::vec(any_steps(), 1..200),
    ) {
        let mut reception = Reception::new(Codec::Opus);
        let mut admission = Admission::new(TickLength::Ms20);
        admission.set_gate(Some(Decibels(-50.0)));
        let (mut now_ms, mut number, mut is_audible) = (1_000u64, 0u16, false);
        let mut payload = [0xf8; 40];
        for step in steps.concat() {
            let now = Time::from_us(now_ms * 1_000);
            let mut network = Network { reception: &mut reception, decoder: &mut Told };
            match step {
                Step::Order(permit) => {
                    let change = admission.order(permit, now, is_audible, Some(network));
                    if change == Change::Stop {
                        prop_assert!(!admission.permit().is_open() && !is_audible);
                        reception.skip_all();
                    }
                }
                Step::Mute(muted) => {
                    if admission.set_muted(muted) {
                        reception.keep_last();
                    }
                }
                Step::Packet { told, db } => {
                    payload[1] = db;
                    let packet = Packet {
                        seq: Seq(number),
                        time: RtpTime(u32::from(number) * 960),
                        ssrc: 1,
                        marker: false,
                        level: told.map(Level::from_wire),
                        payload: Payload::copy_from(&payload).unwrap(),
                    };
                    number += 1;
                    let stored = network.reception.len();
                    // The budget may run out on a sender that alternates between quiet and loud
                    // packets.
                    let can_listen = { admission.budget }.spend(4 * 960, now);
                    admission.push(&packet, now, &mut network);
                    let is_open = admission.permit().is_open();
                    let is_played = reception.len() > stored && is_open;
                    let permit = admission.permit().effective();
                    let may_be_heard = is_open && permit != Permit::Draining && !admission.is_muted();
                    let is_voice = db < 50 && told != Some(127) || permit == Permit::Held;
                    if may_be_heard && is_voice && can_listen {
                        prop_assert!(is_played && !admission.is_skipping(), "a voice is played");
                    }
                    now_ms += 20;
                }
                Step::Tick => {
                    let target = reception.target();
                    let change = admission.begin_tick(now, is_audible, target, reception.is_empty());
                    if change == Change::Stop {
                        reception.skip_all();
                    }
                    is_audible = admission.permit().is_open() && !admission.is_muted() && payload[1] < 50;
                    if admission.permit().is_open() {
                        let reading = reading(&payload);
                        let is_silent = admission.is_silent_by_its_own_word(&TickHeard {
                            now,
                            reading,
                            is_played: true,
                            on_the_way: Duration::from_millis(40),
                        });
                        if admission.end_tick(is_silent, &reading, is_audible) {
                            prop_assert!(admission.is_muted() || !admission.permit().is_held());
                            reception.skip_all();
                        }
                    }
                }
            }
            if reception.len() > 100 {
                // Stands for packets played in the meantime.
                reception.keep_last();
            }
            if !admission.permit().is_open() && admission.is_skipping() {
                // No held packet is older than 300 ms, apart from the packet that is being pushed.
                let held = reception.len() as u64 * 20;
                prop_assert!(held <= HELD_MS + 60, "{} ms are held", held);
            }
        }
    }
}
