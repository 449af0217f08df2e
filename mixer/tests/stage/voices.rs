//! Voices computed sample by sample, and the level of a frequency in PCM.

/// A human voice of the fixtures at about -20 dBFS, repeated endlessly.
pub fn human(name: &str) -> impl FnMut(u64) -> f32 + Clone + Send + 'static {
    let path = format!(
        "{}/../fixtures/voices/{name}.wav",
        env!("CARGO_MANIFEST_DIR")
    );
    let mut file = hound::WavReader::open(path).expect("it is in the repository");
    let samples: Vec<f32> = file
        .samples::<i16>()
        .map(|sample| f32::from(sample.expect("a whole file")) / 32_768.0)
        .collect();
    move |sample| samples[sample as usize % samples.len()]
}

/// A sine whose phase stays exact over any length.
pub fn tone(hz: f64, amplitude: f32) -> impl FnMut(u64) -> f32 + Send + 'static {
    move |sample| {
        let turns = (hz * sample as f64 / 48_000.0).fract();
        amplitude * (turns * std::f64::consts::TAU).sin() as f32
    }
}

/// Amplitude of one frequency in `samples` at 48 kHz: Goertzel with a Blackman-Harris window, whose
/// side lobes at -92 dB do not mask a level of -90 dB.
pub fn amplitude_of(samples: &[f32], hz: f64) -> f64 {
    let n = samples.len() as f64;
    let step = std::f64::consts::TAU * hz / 48_000.0;
    let (mut re, mut im, mut weight) = (0.0, 0.0, 0.0);
    for (at, &sample) in samples.iter().enumerate() {
        let x = std::f64::consts::TAU * at as f64 / n;
        let window =
            0.35875 - 0.48829 * x.cos() + 0.14128 * (2.0 * x).cos() - 0.01168 * (3.0 * x).cos();
        re += f64::from(sample) * window * (step * at as f64).cos();
        im += f64::from(sample) * window * (step * at as f64).sin();
        weight += window;
    }
    2.0 * re.hypot(im) / weight
}

pub fn db(ratio: f64) -> f64 {
    20.0 * ratio.max(1e-12).log10()
}
