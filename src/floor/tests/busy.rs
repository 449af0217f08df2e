//! Floor tests of busy rooms in virtual time: radios that miss releases and lose their connections.

use super::properties::Watched;
use super::*;

/// Simulates ten minutes of fifty rooms, in virtual time.
#[test]
fn floors_of_fifty_busy_rooms_never_get_stuck() {
    const MODES: [Mode; 6] = [
        Mode::Ptt,
        Mode::Multi(3),
        Mode::CutIn,
        Mode::Moderated,
        Mode::Broadcast,
        Mode::Open,
    ];
    let mut bursts = 0;
    for number in 0..50 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (number + 1));
        let mut room = Busy::new(MODES[dice.of(2) as usize]);
        for _ in 0..10 * 60 * 50 {
            room.step(&mut dice, &MODES);
        }
        bursts += room.watched.floor.bursts;
        room.watched.comes_to_rest();
    }
    // A floor that no participant gets would never be stuck, so the number of bursts is checked as
    // well.
    assert!(bursts > 50 * 100, "only {bursts} bursts");
}

/// A room of participants that press push-to-talk keys; some lose their connection or miss the
/// release of the key.
struct Busy {
    watched: Watched,
    people: Vec<Radio>,
}

#[derive(Default, Clone, Copy)]
struct Radio {
    here: bool,
    /// Ticks for which the push-to-talk key is still held.
    pressed: u32,
    /// Whether all packets of the participant are lost.
    lost: bool,
}

impl Busy {
    fn new(mode: Mode) -> Busy {
        Busy {
            watched: Watched::new(mode),
            people: vec![Radio::default(); 8],
        }
    }

    fn step(&mut self, dice: &mut Dice, modes: &[Mode]) {
        for number in 0..self.people.len() {
            self.live(number, dice);
        }
        if dice.of(3_000) == 0 {
            let mode = modes[dice.of(modes.len() as u64) as usize];
            self.watched.set(mode, dice.of(4) == 0);
        }
        let first = self.watched.floor.queue().next();
        if let Some(to) = first.filter(|_| dice.of(20) == 0) {
            self.watched.grant(ParticipantId(dice.of(8) as u32), to);
        }
        let draining: Vec<ParticipantId> = self.watched.floor.draining().collect();
        for id in draining {
            // Occasionally the mixer does not report that the draining voice has been played.
            if dice.of(10) > 0 {
                self.watched.drained(id);
            }
        }
        self.watched.step();
    }

    fn live(&mut self, number: usize, dice: &mut Dice) {
        let id = ParticipantId(number as u32);
        let radio = &mut self.people[number];
        if !radio.here {
            if dice.of(500) == 0 {
                *radio = Radio {
                    here: true,
                    ..Radio::default()
                };
                self.watched.join(id, dice.of(20) > 0, dice.of(3) as u8);
            }
        } else if dice.of(5_000) == 0 {
            radio.here = false;
            self.watched.leave(id);
        } else if radio.pressed == 0 && dice.of(300) == 0 {
            // Mostly some seconds; occasionally the push-to-talk key is jammed.
            let most = if dice.of(20) == 0 { 1_500 } else { 200 };
            radio.pressed = 1 + dice.of(most) as u32;
            radio.lost = false;
            self.watched.request(id, dice.request());
        } else if radio.pressed > 0 {
            radio.pressed -= 1;
            radio.lost |= dice.of(1_000) == 0;
            if !radio.lost {
                self.watched.media(id, true);
                if radio.pressed == 0 {
                    self.watched.release(id);
                }
            }
        }
    }
}

/// A deterministic pseudo-random generator (xorshift).
struct Dice(u64);

impl Dice {
    fn of(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn request(&mut self) -> Request {
        Request {
            priority: None,
            tier: match self.of(40) {
                0 => Tier::Emergency,
                1 => Tier::Imminent,
                _ => Tier::Normal,
            },
            queue: self.of(5) > 0,
        }
    }
}
