//! Property tests: reading any WAV file, and reading back what the client writes.

use std::io::Cursor;

use hound::{SampleFormat, WavSpec, WavWriter};
use proptest::prelude::*;

use super::super::super::tones::{amplitude, sine};
use super::super::super::{open, read_all};
use super::super::*;
use super::{File, header_of};

fn wav(spec: WavSpec, frames: usize) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut bytes, spec).unwrap();
    for sample in sine(440.0, spec.sample_rate, frames) {
        for _ in 0..spec.channels {
            match spec.sample_format {
                SampleFormat::Float => writer.write_sample(sample).unwrap(),
                SampleFormat::Int => {
                    let full_scale = (1u64 << (spec.bits_per_sample - 1)) as f32;
                    writer.write_sample((sample * full_scale) as i32).unwrap();
                }
            }
        }
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn wav_reading_keeps_length_and_tone_of_any_format(
        rate_hz in prop::sample::select(vec![8_000u32, 16_000, 44_100, 48_000, 96_000]),
        channels in 1u16..=6,
        (bits_per_sample, sample_format) in prop::sample::select(vec![
            (8, SampleFormat::Int), (16, SampleFormat::Int), (24, SampleFormat::Int), (32, SampleFormat::Float),
        ]),
        extra in 0usize..500,
    ) {
        let frames = rate_hz as usize / 2 + extra;
        let spec = WavSpec { channels, sample_rate: rate_hz, bits_per_sample, sample_format };
        let mut source = WavSource::new(Cursor::new(wav(spec, frames))).unwrap();
        for _ in 0..2 {
            let pcm = read_all(&mut source).unwrap();
            prop_assert_eq!(pcm.len() as u64, (frames as u64 * 48_000).div_ceil(u64::from(rate_hz)));
            prop_assert!((amplitude(&pcm[..24_000], 440.0) - 0.5).abs() < 0.02);
            prop_assert!(source.rewind().unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    /// Whatever the header contains, reading causes no panic and yields no more audio than the
    /// bytes hold.
    #[test]
    fn damaged_wav_file_never_plays_more_than_it_holds(
        id in prop::sample::select(vec![b"RIFF", b"RF64"]),
        is_extensible: bool,
        at in 0usize..110,
        bytes in prop::collection::vec(any::<u8>(), 0..5),
        kept in 0usize..1_000,
    ) {
        let file = File { id, channels: 2, rate_hz: 44_100, ..File::pcm(16) };
        let file = if is_extensible { file.extensible() } else { file };
        let mut file = header_of(&file);
        file.extend([0x55; 900]);
        file[at..at + bytes.len()].copy_from_slice(&bytes);
        file.truncate(kept);
        let held_bytes = file.len() as u64;
        if let Ok(mut source) = WavSource::new(Cursor::new(file)) {
            let format = source.header.format;
            let frames = (held_bytes - source.header.start_bytes) / format.frame_bytes() as u64;
            let most = (frames * 48_000).div_ceil(u64::from(format.rate_hz));
            for _ in 0..2 {
                let pcm = read_all(&mut source).unwrap();
                prop_assert!(pcm.len() as u64 <= most, "{} of {most}", pcm.len());
                prop_assert!(pcm.iter().all(|sample| sample.is_finite()));
                prop_assert!(source.rewind().unwrap());
            }
        }
    }
}

#[test]
fn wav_sink_output_is_read_back_by_the_wav_source() {
    let dir = std::env::temp_dir().join(format!("mixminus-wav-{}", std::process::id()));
    let pcm = sine(440.0, 48_000, 48_123);
    let mut sink = Box::new(WavSink::new(std::fs::File::create(&dir).unwrap()).unwrap());
    sink.write(&pcm).unwrap();
    sink.finish().unwrap();
    let mut source = open(&dir);
    // The file is recognised by its first bytes, not by its name.
    let read = read_all(source.as_mut().unwrap().as_mut()).unwrap();
    std::fs::remove_file(&dir).unwrap();
    assert_eq!(read.len(), pcm.len());
    let error = read
        .iter()
        .zip(&pcm)
        .fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(error <= 1.0 / 32_768.0);
}

#[test]
fn truncated_wav_file_plays_to_its_end() {
    let spec = WavSpec {
        channels: 2,
        sample_rate: 48_000,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    let mut bytes = wav(spec, 1_000);
    bytes.truncate(bytes.len() - 401);
    let mut source = WavSource::new(Cursor::new(bytes)).unwrap();
    assert_eq!(read_all(&mut source).unwrap().len(), 899);
}

#[test]
fn wav_samples_are_limited_to_sixteen_bits() {
    assert_eq!(to_s16(1.5), i16::MAX);
    assert_eq!(to_s16(-1.5), i16::MIN);
    assert_eq!(to_s16(f32::NAN), 0);
}
