//! Instruments for recordings at 48 kHz.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::f64::consts::TAU;

use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

use crate::common::sound::RATE;

/// How loud a frequency is in a recording, window by window.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// In the median window: what is there all the time.
    pub median_db: f64,
    /// In the loudest window in which it is a tone: 6 dB over all frequencies beside it. A tone that
    /// is there for a moment is found so; what is as loud beside it is noise, of a packet that came
    /// too late for a busy machine, say.
    pub loudest_db: f64,
    /// In the loudest window, be it tone or noise.
    pub noise_db: f64,
}

/// Level of the sine at `hz` in dBFS, in Hann windows of a second that overlap by half: two tones are
/// told apart from 4 Hz on, and one leaks less than -90 dB into what is 30 Hz away.
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

/// How loud a tone is that somebody says, in dBFS: the median of Hann windows of 100 ms.
///
/// Playouts on the way resample by up to half a percent while they follow a clock or use up a wait, which moves a tone by
/// several hertz. The level is that of the tone wherever it is within that.
pub fn said_db(pcm: &[f32], hz: f64) -> f64 {
    percentile(&saying_db(pcm, hz), 0.5)
}

/// The same where it is said without a gap, if that is in a tenth of the windows.
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

/// To either side of where it should be.
const RESAMPLED: [f64; 7] = [0.994, 0.996, 0.998, 1.0, 1.002, 1.004, 1.006];

const NOTHING_DB: f64 = -200.0;

/// Far enough from a tone not to hold any of it.
const BESIDE_HZ: [f64; 6] = [-41.0, -29.0, -17.0, 17.0, 29.0, 41.0];

/// Level of the sine at `hz` in dBFS, under one Hann window. Goertzel's recursion would compute the
/// same single frequency of the Fourier transform.
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

/// Measures one frequency in many windows of one length: the same as [`level_db`], prepared.
pub struct Probe(Vec<Complex<f32>>);

impl Probe {
    /// For windows of `len` samples.
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

    /// Level of the sine in dBFS, under one Hann window.
    pub fn level_db(&self, window: &[f32]) -> f64 {
        assert_eq!(window.len(), self.0.len());
        let pairs = window.iter().zip(&self.0);
        let sum: Complex<f32> = pairs.map(|(sample, point)| point * sample).sum();
        decibels(sum.norm().into())
    }
}

/// Where a known voice stands in a recording and how much of it is there.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// How much later it is heard than it was said, in milliseconds of both recordings.
    pub lag_ms: f64,
    /// The share that the recording holds at that lag: 0 dB as spoken.
    pub level_db: f64,
}

/// Looks for voices at every lag by cross-correlation, within the band where speech has its energy and
/// codecs keep the waveform.
///
/// - One that is not there comes out at about -25 dB when it is looked for as a whole, by chance: the
///   best of many lags.
/// - One that is there comes out at 0 dB, less what playouts change its delay on the way: to find it for
///   certain it is looked for in pieces, each of which has its own lag.
pub struct Finder {
    planner: FftPlanner<f64>,
}

impl Finder {
    pub fn new() -> Finder {
        Finder {
            planner: FftPlanner::new(),
        }
    }

    /// Prepares a voice or a recording.
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
        // What lies above the band is not kept: a voice has many spectra.
        points.truncate((BAND_HZ.end * POINTS as f64 / RATE as f64) as usize);
        for (bin, point) in points.iter_mut().enumerate() {
            if !BAND_HZ.contains(&(bin as f64 * RATE as f64 / POINTS as f64)) {
                *point = Complex::new(0.0, 0.0);
            }
        }
        let energy = points.iter().map(Complex::norm_sqr).sum();
        Spectrum { points, energy }
    }

    /// The voice's best place in the recording.
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
        // The upper half of a circular correlation are the negative lags.
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

/// The pieces of a voice that are looked for each by itself.
pub fn pieces(voice: &[f32]) -> impl Iterator<Item = &[f32]> {
    voice.chunks_exact(PIECE)
}

/// Samples of a piece, 4 s: short against the time between two changes of delay, long enough to be told from what others
/// say.
pub const PIECE: usize = 4 * RATE;

/// The band of a voice or of a recording.
pub struct Spectrum {
    points: Vec<Complex<f64>>,
    energy: f64,
}

const BAND_HZ: std::ops::Range<f64> = 200.0..3_400.0;

/// 87 s: room for a recording and for lags in either direction.
const POINTS: usize = 1 << 22;

/// Lags are told to 83 us: a quarter of a period at the band's upper end, little where speech is loud.
const LAG_POINTS: usize = POINTS / 4;

/// The longest run of samples that 16 bits would hold at full scale: three or more mean clipping.
pub fn longest_full_scale_run(pcm: &[f32]) -> usize {
    let full = |sample: &f32| sample.abs() >= 32_767.0 / 32_768.0;
    pcm.split(|sample| !full(sample))
        .map(<[f32]>::len)
        .max()
        .unwrap_or(0)
}

/// The greatest step from one sample to the next: a wrap is one of nearly 2.
pub fn greatest_step(pcm: &[f32]) -> f32 {
    pcm.windows(2)
        .map(|pair| (pair[1] - pair[0]).abs())
        .fold(0.0, f32::max)
}

/// The greatest magnitude.
pub fn peak(pcm: &[f32]) -> f32 {
    pcm.iter().fold(0.0, |peak, sample| peak.max(sample.abs()))
}

/// Of a factor of amplitude.
pub fn decibels(factor: f64) -> f64 {
    20.0 * factor.max(1e-10).log10()
}

/// The value that `share` of all do not exceed.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(share * (sorted.len() - 1) as f64).round() as usize]
}
