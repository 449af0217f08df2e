//! Level hints (RFC 6464) save decoding without hiding a voice, and no source costs more decoding
//! than the duration of its sound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use mixer::codec::opus::{OpusDecoder, OpusEncoder};
use mixer::codec::{Codec, Decode, DecodeError, Encode, Encoding, Profile};
use mixer::format::{Layout, TickLength};
use mixer::permit::Permit;
use mixer::source::gate::DEFAULT_THRESHOLD;
use mixer::source::{Strip, TickRules};
use mixer::units::Decibels;
use mixer::{Level, Packet, Payload, RtpTime, Seq, Time};

/// Numbers of samples, at 48 kHz, that were decoded fully and that were decoded roughly (sketched).
#[derive(Default)]
struct Work {
    decoded: AtomicU64,
    sketched: AtomicU64,
}

/// An Opus decoder that counts the samples that it decodes fully and roughly.
struct Counted(OpusDecoder, Arc<Work>);

impl Decode for Counted {
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError> {
        let samples = self.0.decode(payload, pcm)?;
        self.1.decoded.fetch_add(samples as u64, Relaxed);
        Ok(samples)
    }

    fn recover(&mut self, next_payload: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError> {
        self.0.recover(next_payload, pcm)
    }

    fn conceal(&mut self, pcm: &mut [f32]) {
        self.0.conceal(pcm);
    }

    fn guess(&mut self, after: usize, pcm: &mut [f32]) -> bool {
        self.0.guess(after, pcm)
    }

    fn miss(&mut self, samples: usize) {
        self.0.miss(samples);
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn sketch(&mut self, payload: &[u8], pcm: &mut [f32]) -> Option<usize> {
        let samples = self.0.sketch(payload, pcm)?;
        self.1.sketched.fetch_add(3 * samples as u64, Relaxed);
        Some(samples)
    }
}

/// A sender of 20 ms packets with the strip that receives its packets.
struct Sender {
    encoder: OpusEncoder,
    strip: Strip,
    work: Arc<Work>,
    gate_db: Option<Decibels>,
    number: u64,
    now: Time,
    random: u32,
}

impl Sender {
    fn new(encoding: &Encoding) -> Sender {
        let work = Arc::new(Work::default());
        let decoder = Counted(OpusDecoder::new(Layout::Mono), work.clone());
        let mut encoder = OpusEncoder::new(encoding);
        encoder.configure(&encoding.settings(if encoding.fec { 20 } else { 0 }));
        Sender {
            encoder,
            strip: Strip::new(Layout::Mono, TickLength::Ms20, Box::new(decoder)),
            work,
            gate_db: Some(DEFAULT_THRESHOLD),
            number: 0,
            now: Time::from_us(1_000_000),
            random: 1,
        }
    }

    /// Encodes the next packet, with `level` as its hint.
    fn packet(&mut self, mut voice: impl FnMut(u64) -> f32, level: Option<u8>) -> Packet {
        let number = self.number;
        self.number += 1;
        let pcm: Vec<f32> = (number * 960..(number + 1) * 960).map(&mut voice).collect();
        let mut payload = Payload::EMPTY;
        self.encoder.encode(&pcm, &mut payload).unwrap();
        Packet {
            seq: Seq(number as u16),
            time: RtpTime((number * 960) as u32),
            ssrc: 1,
            marker: number == 0,
            level: level.map(Level::from_wire),
            payload,
        }
    }

    fn push(&mut self, packet: &Packet) {
        let arrival = self.now;
        self.strip.push(packet, arrival);
    }

    /// Runs one tick and returns the frame added to the mix, if any.
    fn tick(&mut self) -> Option<Vec<f32>> {
        let rules = TickRules {
            now: self.now + Duration::from_millis(4),
            gate_db: self.gate_db,
            leeway_samples: 0,
        };
        self.now = self.now + Duration::from_millis(20);
        let heard = self.strip.listen(&rules);
        let in_mix = self.strip.contribute(heard);
        in_mix.then(|| self.strip.frame().samples().to_vec())
    }

    /// Sends one packet, runs one tick and returns the frame added to the mix, if any.
    fn send(&mut self, voice: impl FnMut(u64) -> f32, level: Option<u8>) -> Option<Vec<f32>> {
        let packet = self.packet(voice, level);
        self.push(&packet);
        self.tick()
    }

    /// A packet of noise at -60 dBFS, 10 dB below the gate.
    fn noise(&mut self) -> Packet {
        let mut random = self.random;
        let packet = self.packet(
            |_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                0.001_7 * ((random >> 8) as f32 / (1 << 23) as f32 - 1.0)
            },
            None,
        );
        self.random = random;
        packet
    }

    /// Seconds of sound decoded fully and roughly so far.
    fn worked_s(&self) -> [f64; 2] {
        let count = |samples: &AtomicU64| samples.load(Relaxed) as f64 / 48_000.0;
        [count(&self.work.decoded), count(&self.work.sketched)]
    }
}

fn encodings() -> Vec<(String, Encoding)> {
    let mut encodings = Vec::new();
    for profile in Profile::ALL {
        for (name, fec) in [("without FEC", false), ("with FEC", true)] {
            let mut encoding = crate::stage::encoding(profile);
            encoding.packet_ms = 20;
            encoding.fec = fec;
            encodings.push((format!("{profile} {name}"), encoding));
        }
    }
    encodings
}

fn level_db(pcm: &[f32]) -> f64 {
    let energy: f64 = pcm.iter().map(|sample| f64::from(sample * sample)).sum();
    crate::stage::db((energy / pcm.len() as f64).sqrt())
}

/// A voice that begins after `silence` packets of silence.
fn voice_after(silence: u64) -> impl FnMut(u64) -> f32 + Clone {
    let mut voice = crate::stage::human("human-en-female");
    move |sample| match sample.checked_sub(silence * 960) {
        Some(at) => voice(at),
        None => 0.0,
    }
}

/// Frames that a voice adds to the mix, one entry per tick.
fn heard(encoding: &Encoding, silence: u64, level: Option<u8>) -> Vec<Option<Vec<f32>>> {
    let mut sender = Sender::new(encoding);
    let voice = voice_after(silence);
    (0..silence + 350)
        .map(|_| sender.send(voice.clone(), level))
        .collect()
}

/// Share of loud ticks heard with a level hint, relative to those heard without a hint.
fn share_heard(with: &[Option<Vec<f32>>], without: &[Option<Vec<f32>>]) -> f64 {
    let is_loud = |pcm: &&Vec<f32>| level_db(pcm) > -45.0;
    let loud = without.iter().flatten().filter(is_loud).count();
    let also = with.iter().flatten().filter(is_loud).count();
    assert!(loud > 150, "{loud} ticks of voice");
    also as f64 / loud as f64
}

#[test]
fn voice_with_a_constant_level_hint_of_127_is_heard_whole() {
    for (name, encoding) in encodings() {
        for (silence, levels) in [(0, &[127][..]), (10, &[127]), (150, &[127, 90])] {
            let without = heard(&encoding, silence, None);
            for &level in levels {
                let with = heard(&encoding, silence, Some(level));
                let share = share_heard(&with, &without);
                let case = format!("{name}, level {level}, {silence} packets of silence before");
                assert!(share > 0.99, "{case}: {share:.3} heard");
                // The first word must not start late either.
                let first = |ticks: &[Option<Vec<f32>>]| {
                    ticks
                        .iter()
                        .position(|pcm| pcm.as_ref().is_some_and(|pcm| level_db(pcm) > -45.0))
                };
                let (told, untold) = (first(&with).unwrap(), first(&without).unwrap());
                assert!(told <= untold + 1, "{case}: tick {told}, not {untold}");
            }
        }
    }
}

/// At a constant bitrate packet sizes do not tell silence from speech; only decoding does.
#[test]
fn false_silence_hint_at_constant_bitrate_hides_half_a_second_of_voice_once() {
    let mut encoding = crate::stage::encoding(Profile::Voice);
    encoding.cbr = true;
    let mut sender = Sender::new(&encoding);
    let mut voice = crate::stage::human("human-en-female");
    let mut loud = [0, 0];
    for loud in &mut loud {
        for _ in 0..200 {
            sender.send(|_| 0.0, Some(127));
        }
        for _ in 0..100 {
            let pcm = sender.send(&mut voice, Some(127));
            *loud += usize::from(pcm.is_some_and(|pcm| level_db(&pcm) > -45.0));
        }
    }
    assert!(loud[0] + 26 >= loud[1] && loud[1] > 50, "{loud:?}");
}

#[test]
fn silent_client_with_level_127_costs_almost_no_decoding() {
    for (name, encoding) in encodings() {
        let mut sender = Sender::new(&encoding);
        (0..100).for_each(|_| assert_eq!(sender.send(|_| 0.0, Some(127)), None, "{name}"));
        assert!(sender.strip.is_parked(), "{name}");
        let before = sender.worked_s();
        (0..500).for_each(|_| assert_eq!(sender.send(|_| 0.0, Some(127)), None, "{name}"));
        let after = sender.worked_s();
        assert_eq!(after[0], before[0], "{name}: decoded");
        // Four packets of 20 ms are decoded roughly every four seconds, over ten seconds.
        let sketched = after[1] - before[1];
        assert!(sketched <= 0.25, "{name}: {sketched} s sketched");
    }
}

#[test]
fn self_muted_client_is_not_decoded_after_500_ms_and_its_hints_stay_trusted() {
    for (name, encoding) in encodings() {
        let mut sender = Sender::new(&encoding);
        let mut voice = crate::stage::human("human-it-male");
        let mut random = 7u32;
        for _ in 0..6 {
            for _ in 0..60 {
                sender.send(&mut voice, Some(20));
            }
            // On a bad network, lost packets are concealed from the preceding voice.
            for packet in 0..60 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let silent = sender.packet(|_| 0.0, Some(127));
                if packet > 10 || random >> 31 == 0 {
                    sender.push(&silent);
                }
                sender.tick();
                assert!(
                    packet < 25 || sender.strip.is_parked(),
                    "{name}, packet {packet}"
                );
            }
        }
        let before = sender.worked_s();
        (0..100).for_each(|_| assert_eq!(sender.send(|_| 0.0, Some(127)), None, "{name}"));
        assert_eq!(sender.worked_s()[0], before[0], "{name}: decoded");
    }
}

#[test]
fn voice_with_a_silence_hint_counts_as_voiced_without_a_permit() {
    for (name, encoding) in encodings() {
        let mut sender = Sender::new(&encoding);
        let mut voice = crate::stage::human("human-en-female");
        let now = sender.now;
        sender.strip.allow(Permit::Closed, now);
        (0..100).for_each(|_| assert_eq!(sender.send(|_| 0.0, Some(127)), None, "{name}"));
        assert_eq!(sender.strip.voiced(), 0, "{name}");
        (0..100).for_each(|_| assert_eq!(sender.send(&mut voice, Some(127)), None, "{name}"));
        let voiced = sender.strip.voiced();
        // Of 86 packets louder than -45 dBFS.
        assert!(voiced > 50, "{name}: {voiced}");
        assert_eq!(sender.worked_s()[0], 0.0, "{name}: decoded");
    }
}

/// A parked source sends ten times as many packets as its elapsed time allows.
#[test]
fn flood_of_quiet_packets_costs_no_more_decoding_than_its_duration() {
    for level in [None, Some(60), Some(127)] {
        let mut encoding = crate::stage::encoding(Profile::Voice);
        encoding.packet_ms = 20;
        let mut sender = Sender::new(&encoding);
        for _ in 0..100 {
            let mut packet = sender.noise();
            packet.level = level.map(Level::from_wire);
            sender.push(&packet);
            sender.tick();
        }
        assert!(sender.strip.is_parked(), "{level:?}");
        let before = sender.worked_s();
        for _ in 0..100 {
            for _ in 0..10 {
                let mut packet = sender.noise();
                packet.level = level.map(Level::from_wire);
                sender.push(&packet);
            }
            sender.tick();
        }
        let after = sender.worked_s();
        let worked = after[0] + after[1] - before[0] - before[1];
        // 2 s, plus the burst that is allowed after a stall.
        assert!(worked <= 2.3, "{level:?}: {worked} s");
    }
}

/// Packets that alternately open and park the strip make it decode unplayed packets for warm-up.
#[test]
fn source_that_toggles_its_level_costs_at_most_its_duration_in_decoding() {
    let mut encoding = crate::stage::encoding(Profile::Thin);
    encoding.packet_ms = 60;
    let mut encoder = OpusEncoder::new(&encoding);
    let mut sender = Sender::new(&encoding);
    let mut payload = Payload::EMPTY;
    encoder.encode(&[0.0; 2_880], &mut payload).unwrap();
    let before = sender.worked_s();
    for number in 0..3_000u64 {
        // Three packets of 60 ms in each tick of 20 ms.
        let packet = Packet {
            seq: Seq(number as u16),
            time: RtpTime((number * 2_880) as u32),
            ssrc: 1,
            marker: false,
            level: Some(Level::from_wire(if number % 9 < 2 { 10 } else { 127 })),
            payload,
        };
        sender.push(&packet);
        if number % 3 == 2 {
            sender.tick();
        }
    }
    let after = sender.worked_s();
    let worked = after[0] + after[1] - before[0] - before[1];
    // Each tick decodes at most its own length, and arrivals may cost as much again.
    assert!(worked <= 2.0 * 20.0 + 0.5, "{worked} s in 20");
}

#[test]
fn quiet_source_that_turns_loud_is_heard_at_once_even_in_bursts_of_packets() {
    for profile in [Profile::Voice, Profile::LowDelay, Profile::Music] {
        let mut encoding = crate::stage::encoding(profile);
        encoding.packet_ms = 20;
        let mut sender = Sender::new(&encoding);
        let mut voice = crate::stage::tone(441.7, 0.3);
        let mut loud = 0;
        for fives in 0..60 {
            let held: Vec<Packet> = (0..5)
                .map(|_| match fives < 30 {
                    true => sender.noise(),
                    false => sender.packet(&mut voice, None),
                })
                .collect();
            for packet in &held {
                sender.push(packet);
            }
            for _ in 0..5 {
                let pcm = sender.tick();
                loud += usize::from(pcm.is_some_and(|pcm| level_db(&pcm) > -20.0));
            }
            assert_eq!(
                sender.strip.is_parked(),
                (15..30).contains(&fives) || fives < 15 && sender.strip.is_parked(),
                "{profile}"
            );
        }
        // Packets still queued at the end are not counted.
        assert!(loud >= 150 - 10, "{profile}: {loud} of 150 ticks");
        assert_eq!(sender.strip.stats().lost, 0, "{profile}");
    }
}

#[test]
fn g711_silence_hints_do_not_hide_a_voice() {
    use mixer::codec::g711::{G711Decoder, G711Encoder, Law};
    let decoder = Box::new(G711Decoder::new(Law::Mu, Layout::Mono));
    assert_eq!(decoder.codec(), Codec::Pcmu);
    let mut strip = Strip::new(Layout::Mono, TickLength::Ms20, decoder);
    let mut encoder = G711Encoder::new(Law::Mu);
    let mut voice = voice_after(200);
    let mut loud = 0;
    for number in 0..400u64 {
        let pcm: Vec<f32> = (number * 960..(number + 1) * 960).map(&mut voice).collect();
        let mut payload = Payload::EMPTY;
        encoder.encode(&pcm, &mut payload).unwrap();
        let packet = Packet {
            seq: Seq(number as u16),
            time: RtpTime((number * 960) as u32),
            ssrc: 1,
            marker: number == 0,
            level: Some(Level::SILENCE),
            payload,
        };
        let arrival = Time::from_us(1_000_000 + number * 20_000);
        strip.push(&packet, arrival);
        let rules = TickRules {
            now: arrival + Duration::from_millis(4),
            gate_db: Some(DEFAULT_THRESHOLD),
            leeway_samples: 0,
        };
        let heard = strip.listen(&rules);
        if strip.contribute(heard) {
            loud += usize::from(level_db(strip.frame().samples()) > -45.0);
        }
    }
    assert!(loud > 80, "{loud}");
}
