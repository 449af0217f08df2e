//! Sources and sinks for clients of the tests: tones, the voices of `fixtures/`, recordings in
//! memory.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use mixminus::join::pcm::{self, FileKind, PcmError, Sink, Source};

/// Samples per second in all tests.
pub const RATE: usize = 48_000;

/// Tones for the talkers. None is a multiple of 50 Hz or of another tone. An artefact of a codec
/// repeats with its frames, 50 times a second. On a tone that is a multiple of 50 Hz it would
/// gather in spectral lines that look like another talker's tone.
pub const TONES_HZ: [f64; 3] = [613.7, 925.3, 1_471.9];

/// An endless sine at -12 dBFS.
pub struct Tone {
    hz: f64,
    at: u64,
}

impl Tone {
    /// Returns the tone as a source for a headless client.
    pub fn boxed(hz: f64) -> Option<Box<dyn Source>> {
        Some(Box::new(Tone { hz, at: 0 }))
    }
}

impl Source for Tone {
    fn read(&mut self, pcm: &mut [f32]) -> Result<usize, PcmError> {
        for sample in pcm.iter_mut() {
            *sample = tone_at(self.hz, self.at);
            self.at += 1;
        }
        Ok(pcm.len())
    }
}

/// Writes a tone to a file, for clients in processes of their own.
pub fn write_tone(path: &Path, hz: f64, seconds: usize) {
    let pcm: Vec<f32> = (0..(seconds * RATE) as u64)
        .map(|at| tone_at(hz, at))
        .collect();
    write(path, &pcm);
}

fn tone_at(hz: f64, at: u64) -> f32 {
    // Whole periods are removed first, because large phases lose precision.
    let turns = (hz * at as f64 / RATE as f64).fract();
    (0.25 * (std::f64::consts::TAU * turns).sin()) as f32
}

/// Lets several sources start at the same time, once all participants have joined. Until then the
/// sources are silent.
#[derive(Clone, Default)]
pub struct Cue(Arc<AtomicBool>);

impl Cue {
    /// Starts all sources.
    pub fn give(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A source that plays PCM once its cue is given.
pub struct Played {
    pcm: Arc<[f32]>,
    at: usize,
    cue: Cue,
}

impl Played {
    /// Returns the PCM as a source for a headless client.
    pub fn boxed(pcm: &Arc<[f32]>, cue: &Cue) -> Option<Box<dyn Source>> {
        Some(Box::new(Played {
            pcm: Arc::clone(pcm),
            at: 0,
            cue: cue.clone(),
        }))
    }
}

impl Source for Played {
    fn read(&mut self, pcm: &mut [f32]) -> Result<usize, PcmError> {
        if !self.cue.0.load(Ordering::Relaxed) {
            pcm.fill(0.0);
            return Ok(pcm.len());
        }
        let rest = &self.pcm[self.at..];
        let samples = rest.len().min(pcm.len());
        pcm[..samples].copy_from_slice(&rest[..samples]);
        self.at += samples;
        Ok(samples)
    }
}

/// A recording in memory of what a client decoded.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<f32>>>);

impl Heard {
    /// Returns the recording as a sink for a headless client.
    pub fn sink(&self) -> Option<Box<dyn Sink>> {
        Some(Box::new(self.clone()))
    }

    /// Returns what has been recorded so far.
    pub fn pcm(&self) -> Vec<f32> {
        self.0.lock().expect("no panic while held").clone()
    }
}

impl Sink for Heard {
    fn write(&mut self, pcm: &[f32]) -> Result<(), PcmError> {
        self.0
            .lock()
            .expect("no panic while held")
            .extend_from_slice(pcm);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), PcmError> {
        Ok(())
    }
}

/// The five voices of `fixtures/voices`, three of them human.
pub const VOICES: [&str; 5] = [
    "human-en-female",
    "human-fr-female",
    "human-it-male",
    "synthetic-de-male",
    "synthetic-en-female",
];

/// Returns the path of a voice.
pub fn voice_file(name: &str) -> PathBuf {
    let voices = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/voices");
    voices.join(name).with_extension("wav")
}

/// Returns a voice at 48 kHz.
pub fn voice(name: &str) -> Arc<[f32]> {
    read(&voice_file(name)).into()
}

/// Reads a sound file, resampled to 48 kHz.
pub fn read(path: &Path) -> Vec<f32> {
    let mut source = pcm::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut all, mut part) = (Vec::new(), [0.0; 960]);
    while let samples @ 1.. = source.read(&mut part).expect("the file is whole") {
        all.extend_from_slice(&part[..samples]);
    }
    all
}

/// Writes a 16-bit WAV file.
pub fn write(path: &Path, pcm: &[f32]) {
    let mut sink = FileKind::Wav
        .create(path)
        .expect("the target folder can be written to");
    sink.write(pcm).expect("there is room on the disk");
    sink.finish().expect("there is room on the disk");
}

/// Returns a folder of the test's own under `target`, whose files can be inspected after a failure.
pub fn scratch(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&folder).expect("the target folder can be written to");
    folder
}
