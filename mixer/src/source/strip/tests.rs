//! A strip under packets, gains and mutes.

use super::*;
use crate::codec::DecodeError;
use crate::packet::Payload;
use crate::units::{Level, RtpTime, Seq};

/// Decodes any payload to 20 ms of a constant that its last byte gives: `(byte - 128) / 128`.
struct Constant;

impl Decode for Constant {
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError> {
        let value = match payload[1] {
            255 => f32::NAN,
            byte => (f32::from(byte) - 128.0) / 128.0,
        };
        pcm[..960].fill(value);
        Ok(960)
    }

    fn recover(&mut self, _: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError> {
        pcm.fill(0.0);
        Ok(())
    }

    fn conceal(&mut self, pcm: &mut [f32]) {
        pcm.fill(0.0);
    }

    fn reset(&mut self) {}
}

struct Talker {
    strip: Strip,
    sent: u16,
    now: Time,
}

impl Talker {
    fn new() -> Talker {
        Talker {
            strip: Strip::new(Layout::Mono, TickLength::Ms20, Box::new(Constant)),
            sent: 0,
            now: Time::from_us(1_000_000),
        }
    }

    /// Sends one packet and runs one tick; returns whether the strip wants to be heard.
    fn say(&mut self, value: u8, level: Option<Level>) -> bool {
        let packet = Packet {
            seq: Seq(self.sent),
            time: RtpTime(u32::from(self.sent) * 960),
            ssrc: 1,
            marker: self.sent == 0,
            level,
            // 0xf8: 20 ms of CELT, one frame.
            payload: Payload::copy_from(&[0xf8, value]).unwrap(),
        };
        self.strip.push(&packet, self.now);
        self.sent += 1;
        self.now = self.now + TickLength::Ms20.duration();
        self.strip.listen(&TickRules {
            now: self.now,
            gate_db: Some(crate::source::gate::DEFAULT_THRESHOLD),
            leeway_samples: 0,
        })
    }
}

fn steepest_step(samples: impl IntoIterator<Item = f32>) -> f32 {
    let samples: Vec<f32> = samples.into_iter().collect();
    samples
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).abs())
        .fold(0.0, f32::max)
}

#[test]
fn strip_ramps_every_change_of_gain() {
    let mut talker = Talker::new();
    let mut heard = Vec::new();
    for tick in 0..40 {
        let gain = [1.0, 0.1, 4.0, 0.5][tick / 5 % 4];
        talker
            .strip
            .set((18..22).contains(&tick), Gain::linear(gain));
        let wants = talker.say(160, None);
        if talker.strip.contribute(wants) {
            heard.extend_from_slice(talker.strip.frame().samples());
        } else {
            heard.extend([0.0; 960]);
        }
    }
    // 0.25 of full scale times the largest change (3.9) over 480 samples; when opening, 0.25 times
    // 4 over 48.
    assert!(steepest_step(heard.iter().copied()) <= 0.25 * 4.0 / 48.0 + 1e-6);
    let after_opening = heard[..960 * 18]
        .iter()
        .skip_while(|&&sample| sample < 0.25);
    assert!(steepest_step(after_opening.copied()) <= 0.25 * 3.9 / 480.0 + 1e-6);
}

#[test]
fn strip_at_unity_gain_is_bit_exact() {
    let mut talker = Talker::new();
    for _ in 0..10 {
        let wants = talker.say(192, None);
        talker.strip.contribute(wants);
    }
    assert!(
        talker
            .strip
            .frame()
            .samples()
            .iter()
            .all(|&sample| sample == 0.5)
    );
}

#[test]
fn muted_strip_fades_for_one_tick_and_then_adds_nothing() {
    let mut talker = Talker::new();
    for _ in 0..10 {
        let wants = talker.say(192, None);
        assert_eq!(talker.strip.contribute(wants), wants);
    }
    talker.strip.set(true, Gain::UNITY);
    assert!(!talker.say(192, None));
    assert!(talker.strip.contribute(false), "the tick of the fade");
    assert_eq!(talker.strip.frame().samples()[959], 0.0);
    assert!(!talker.say(192, None));
    assert!(!talker.strip.contribute(false));
    assert_eq!(talker.strip.level(), Decibels::SILENCE);
}

#[test]
fn strip_skips_packets_that_signal_silence_and_plays_the_next_voice_at_once() {
    let mut talker = Talker::new();
    let loud = (0..10)
        .filter(|_| talker.say(192, Some(Level::from_wire(6))))
        .count();
    assert!(loud >= 8);
    let mut hangs = 0;
    while talker.say(128, Some(Level::SILENCE)) {
        hangs += 1;
        assert!(hangs < 25, "hangover and playout delay are over");
    }
    assert!(talker.strip.is_parked());
    assert!(talker.say(192, None), "back at once");
}

#[test]
fn strip_plays_a_voice_that_is_signalled_as_silence() {
    let mut talker = Talker::new();
    let heard = (0..500)
        .filter(|_| talker.say(192, Some(Level::SILENCE)))
        .count();
    assert!(heard >= 498, "{heard}");
}

#[test]
fn strip_turns_nan_into_silence() {
    let mut talker = Talker::new();
    for _ in 0..10 {
        let wants = talker.say(255, None);
        assert!(!wants);
        talker.strip.contribute(true);
    }
    assert!(
        talker
            .strip
            .frame()
            .samples()
            .iter()
            .all(|&sample| sample == 0.0)
    );
}
