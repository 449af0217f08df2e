//! Measures levels, voices and faults in recordings at 48 kHz.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::f64::consts::TAU;

use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

use crate::common::sound::RATE;

/// The level of a frequency in a recording, measured in windows of one second.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// The level in the median window, which is that of a lasting tone.
    pub median_db: f64,
    /// The level in the loudest window in which the frequency is a tone, which means 6 dB above all
    /// frequencies beside it. This finds a short tone. If the frequencies beside it are as loud,
    /// the window holds noise, for instance of a packet that came too late on a busy machine.
    pub loudest_db: f64,
    /// The level in the loudest window, whether it holds a tone or noise.
    pub noise_db: f64,
}

/// Measures the level of the sine at `hz` in dBFS, in Hann windows of one second that overlap by
/// half. Two tones are told apart from a distance of 4 Hz; at a distance of 30 Hz a tone leaks less
/// than -90 dB.
pub fn line(pcm: &[f32], hz: f64) -> Line {
    assert!(pcm.len() >= RATE, "only {} samples to measure", pcm.len());
    let starts = (0..=pcm.len() - RATE).step_by(RATE / 2);
    let (mut levels_db, mut loudest_db) = (Vec::new(), NOTHING_DB);
    for window in starts.map(|at| &pcm[at..at + RATE]) {
        let level = level_db(window, hz);
        let beside = BESIDE_HZ.map(|offset| level_db(window, hz + offset));
        if beside.iter().all(|beside| level > beside + 6.0) {
            loudest_db = level.max(loudest_db);
        }
        levels_db.push(level);
    }
    Line {
        median_db: percentile(&levels_db, 0.5),
        loudest_db,
        noise_db: percentile(&levels_db, 1.0),
    }
}

/// Returns the level of a tone in dBFS: the median over Hann windows of 100 ms.
///
/// Playouts on the path resample by up to half a percent while they follow a clock or shorten a
/// delay, which moves a tone by several hertz. The loudest frequency within that range counts.
pub fn said_db(pcm: &[f32], hz: f64) -> f64 {
    percentile(&saying_db(pcm, hz), 0.5)
}

/// Returns the level of a tone that may have gaps, in dBFS: the level that a tenth of the windows
/// reach.
pub fn gapless_db(pcm: &[f32], hz: f64) -> f64 {
    percentile(&saying_db(pcm, hz), 0.9)
}

fn saying_db(pcm: &[f32], hz: f64) -> Vec<f64> {
    let windows = pcm.chunks_exact(RATE / 10);
    let levels = windows.map(|window| {
        let levels = RESAMPLED.map(|ratio| level_db(window, ratio * hz));
        levels.into_iter().fold(NOTHING_DB, f64::max)
    });
    levels.collect()
}

/// Factors by which a resampling playout may change a frequency.
const RESAMPLED: [f64; 7] = [0.994, 0.996, 0.998, 1.0, 1.002, 1.004, 1.006];

const NOTHING_DB: f64 = -200.0;

/// Offsets from a tone's frequency that are large enough for the window to contain none of the tone
/// there.
const BESIDE_HZ: [f64; 6] = [-41.0, -29.0, -17.0, 17.0, 29.0, 41.0];

/// Returns the level of the sine at `hz` in dBFS, under one Hann window. Goertzel's recursion would
/// compute the same frequency of the Fourier transform.
pub fn level_db(pcm: &[f32], hz: f64) -> f64 {
    let (mut sum, mut weight) = (Complex::new(0.0, 0.0), 0.0);
    for (at, sample) in pcm.iter().enumerate() {
        let window = 0.5 - 0.5 * (TAU * at as f64 / (pcm.len() - 1) as f64).cos();
        let turns = (hz * at as f64 / RATE as f64).fract();
        sum += Complex::from_polar(window * f64::from(*sample), -TAU * turns);
        weight += window;
    }
    decibels(2.0 * sum.norm() / weight)
}

/// Measures one frequency in many windows of one length, as [`level_db`] does, with precomputed
/// factors.
pub struct Probe(Vec<Complex<f32>>);

impl Probe {
    /// Prepares the measurement of windows of `len` samples.
    pub fn new(hz: f64, len: usize) -> Probe {
        let weight = |at: usize| 0.5 - 0.5 * (TAU * at as f64 / (len - 1) as f64).cos();
        let total: f64 = (0..len).map(weight).sum();
        let turned = |at: usize| {
            let turns = (hz * at as f64 / RATE as f64).fract();
            Complex::from_polar(2.0 * weight(at) / total, -TAU * turns)
        };
        let points = (0..len).map(turned);
        Probe(
            points
                .map(|point| Complex::new(point.re as f32, point.im as f32))
                .collect(),
        )
    }

    /// Returns the level of the sine in dBFS, under one Hann window.
    pub fn level_db(&self, window: &[f32]) -> f64 {
        assert_eq!(window.len(), self.0.len());
        let pairs = window.iter().zip(&self.0);
        let sum: Complex<f32> = pairs.map(|(sample, point)| point * sample).sum();
        decibels(sum.norm().into())
    }
}

/// The position of a known voice in a recording, and its level there.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The delay from the voice to the recording, in milliseconds.
    pub lag_ms: f64,
    /// The level at this lag, relative to the original voice: 0 dB is unchanged.
    pub level_db: f64,
}

/// Finds a voice in a recording by cross-correlation at every lag, in the band in which speech has
/// its energy and codecs keep the waveform.
///
/// - A voice that is absent from the recording reaches about -25 dB by chance when the whole of it
///   is looked for, because the best of many lags counts.
/// - A voice that is present reaches 0 dB, less what changes of the playout delay cost. It is
///   therefore looked for in pieces, each with its own lag.
pub struct Finder {
    planner: FftPlanner<f64>,
}

impl Finder {
    pub fn new() -> Finder {
        Finder {
            planner: FftPlanner::new(),
        }
    }

    /// Computes the spectrum of a voice or a recording.
    pub fn spectrum(&mut self, pcm: &[f32]) -> Spectrum {
        assert!(
            pcm.len() <= POINTS / 2,
            "{} samples are more than a lag can be told for",
            pcm.len()
        );
        let mut points = vec![Complex::new(0.0, 0.0); POINTS];
        for (point, sample) in points.iter_mut().zip(pcm) {
            point.re = f64::from(*sample);
        }
        self.planner.plan_fft_forward(POINTS).process(&mut points);
        // The spectrum above the band is dropped to save memory, as a voice has many spectra.
        points.truncate((BAND_HZ.end * POINTS as f64 / RATE as f64) as usize);
        for (bin, point) in points.iter_mut().enumerate() {
            if !BAND_HZ.contains(&(bin as f64 * RATE as f64 / POINTS as f64)) {
                *point = Complex::new(0.0, 0.0);
            }
        }
        let energy = points.iter().map(Complex::norm_sqr).sum();
        Spectrum { points, energy }
    }

    /// Returns the position in the recording at which the voice correlates best.
    pub fn place(&mut self, voice: &Spectrum, recording: &Spectrum) -> Place {
        let mut products = vec![Complex::new(0.0, 0.0); LAG_POINTS];
        for ((product, heard), said) in products
            .iter_mut()
            .zip(&recording.points)
            .zip(&voice.points)
        {
            *product = heard * said.conj();
        }
        self.planner
            .plan_fft_inverse(LAG_POINTS)
            .process(&mut products);
        let best =
            (0..LAG_POINTS).max_by(|a, b| products[*a].re.abs().total_cmp(&products[*b].re.abs()));
        let best = best.expect("there are points");
        // The upper half of a circular correlation holds the negative lags.
        let lag = if best < LAG_POINTS / 2 {
            best as f64
        } else {
            best as f64 - LAG_POINTS as f64
        };
        Place {
            lag_ms: 1e3 * lag * (POINTS / LAG_POINTS) as f64 / RATE as f64,
            level_db: decibels(products[best].re.abs() / voice.energy),
        }
    }
}

/// Returns the pieces of a voice that are looked for separately.
pub fn pieces(voice: &[f32]) -> impl Iterator<Item = &[f32]> {
    voice.chunks_exact(PIECE)
}

/// Samples of a piece, 4 s: short compared with the time between two changes of the delay, and long
/// enough to be told from other voices.
pub const PIECE: usize = 4 * RATE;

/// The spectrum of a voice or a recording within the band.
pub struct Spectrum {
    points: Vec<Complex<f64>>,
    energy: f64,
}

const BAND_HZ: std::ops::Range<f64> = 200.0..3_400.0;

/// The length of the Fourier transform, 87 s: enough for a recording and for lags in either
/// direction.
const POINTS: usize = 1 << 22;

/// The number of lags that are tried. Their resolution is 83 us: a quarter of a period at the upper
/// end of the band, and less of one where speech is loud.
const LAG_POINTS: usize = POINTS / 4;

/// Returns the length of the longest run of full-scale 16-bit samples: three or more mean clipping.
pub fn longest_full_scale_run(pcm: &[f32]) -> usize {
    let full = |sample: &f32| sample.abs() >= 32_767.0 / 32_768.0;
    pcm.split(|sample| !full(sample))
        .map(<[f32]>::len)
        .max()
        .unwrap_or(0)
}

/// Returns the largest step between two consecutive samples: a wrapped sample makes a step of
/// nearly 2.
pub fn greatest_step(pcm: &[f32]) -> f32 {
    pcm.windows(2)
        .map(|pair| (pair[1] - pair[0]).abs())
        .fold(0.0, f32::max)
}

/// Returns the largest magnitude of all samples.
pub fn peak(pcm: &[f32]) -> f32 {
    pcm.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
}

/// Converts a factor of amplitude to decibels.
pub fn decibels(factor: f64) -> f64 {
    20.0 * factor.max(1e-10).log10()
}

/// Returns the least of `values` that a `share` of them do not exceed.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(share * (sorted.len() - 1) as f64).round() as usize]
}
