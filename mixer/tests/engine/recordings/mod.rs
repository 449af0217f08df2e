//! The voices and traces of `fixtures`.
#![allow(dead_code, reason = "no test uses all of it")]

use std::path::{Path, PathBuf};

/// The path of the file `path` in the folder `fixtures`.
pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(path)
}

/// Reads a mono WAV file of 16 bits, upsampled to 48 kHz if its rate is lower.
pub fn read_wav(path: &Path) -> Vec<f32> {
    let mut wav = hound::WavReader::open(path).expect("it is in the repository");
    let rate_hz = wav.spec().sample_rate;
    let samples = wav
        .samples::<i16>()
        .map(|sample| f32::from(sample.expect("16 bits")) / 32_768.0);
    upsample(&samples.collect::<Vec<f32>>(), (48_000 / rate_hz) as usize)
}

/// Upsamples by a whole factor, with a windowed sinc of 16 samples to either side.
fn upsample(samples: &[f32], factor: usize) -> Vec<f32> {
    const SIDE: isize = 16;
    if factor == 1 {
        return samples.to_vec();
    }
    let at = |at: isize| {
        usize::try_from(at)
            .ok()
            .and_then(|at| samples.get(at))
            .copied()
    };
    let weight = |distance: f64| {
        let x = std::f64::consts::PI * distance;
        let sinc = if distance == 0.0 { 1.0 } else { x.sin() / x };
        sinc * 0.5 * (1.0 + (x / SIDE as f64).cos())
    };
    (0..samples.len() * factor)
        .map(|out| {
            let (whole, part) = (
                (out / factor) as isize,
                (out % factor) as f64 / factor as f64,
            );
            let taps = 1 - SIDE..SIDE;
            let sum: f64 = taps
                .map(|tap| weight(part - tap as f64) * f64::from(at(whole + tap).unwrap_or(0.0)))
                .sum();
            sum as f32
        })
        .collect()
}
