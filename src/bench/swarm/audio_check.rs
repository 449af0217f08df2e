//! Decodes the audio that a client receives, to check that it is valid and which talkers it
//! contains.

use mixer::codec::Decode;
use mixer::format::MAX_PACKET_SAMPLES;

use crate::join::opus::VoiceDecoder;

/// What a client received: packets, levels and the tones of talkers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heard {
    /// Packets decoded.
    pub packets: u64,
    /// Packets that are not valid Opus.
    pub undecodable: u64,
    /// Mean level of the received audio, in dBFS.
    pub level_dbfs: f64,
    /// Mean level of each tone that is looked for, in dBFS.
    pub tones_dbfs: Vec<(u32, f64)>,
    /// The largest number of contributing sources at one time.
    pub sources: u8,
}

/// Decodes the audio that a client receives, and measures it.
pub(super) struct AudioCheck {
    decoder: VoiceDecoder,
    pcm: Vec<f32>,
    window: Vec<f32>,
    tones_hz: Vec<u32>,
    packets: u64,
    undecodable: u64,
    energy: f64,
    samples: u64,
    tone_energy: Vec<f64>,
    windows: u64,
}

impl AudioCheck {
    /// Creates a check that looks for these tones.
    pub(super) fn new(tones_hz: Vec<u32>) -> AudioCheck {
        AudioCheck {
            decoder: VoiceDecoder::new(),
            pcm: vec![0.0; MAX_PACKET_SAMPLES],
            window: Vec::with_capacity(WINDOW),
            tone_energy: vec![0.0; tones_hz.len()],
            tones_hz,
            packets: 0,
            undecodable: 0,
            energy: 0.0,
            samples: 0,
            windows: 0,
        }
    }

    /// Decodes the payload of a packet and adds it to the measurement.
    pub(super) fn take(&mut self, payload: &[u8]) {
        let Ok(samples) = self.decoder.decode(payload, &mut self.pcm) else {
            self.undecodable += 1;
            return;
        };
        self.packets += 1;
        self.samples += samples as u64;
        for &sample in &self.pcm[..samples] {
            self.energy += f64::from(sample * sample);
            self.window.push(sample);
            if self.window.len() == WINDOW {
                for (hz, energy) in self.tones_hz.iter().zip(&mut self.tone_energy) {
                    *energy += power_at(&self.window, *hz);
                }
                self.windows += 1;
                self.window.clear();
            }
        }
    }

    /// Forgets all counts and levels; the decoder keeps its state.
    pub(super) fn restart(&mut self) {
        *self = AudioCheck {
            decoder: std::mem::take(&mut self.decoder),
            ..AudioCheck::new(std::mem::take(&mut self.tones_hz))
        };
    }

    /// Returns the results since the last restart.
    pub(super) fn heard(&self, sources: u8) -> Heard {
        let windows = self.windows.max(1) as f64;
        let tones = self.tones_hz.iter().zip(&self.tone_energy);
        Heard {
            packets: self.packets,
            undecodable: self.undecodable,
            level_dbfs: decibels(self.energy / self.samples.max(1) as f64),
            tones_dbfs: tones
                .map(|(hz, energy)| (*hz, decibels(energy / windows)))
                .collect(),
            sources,
        }
    }
}

/// Returns the power of frequency `hz` in `pcm` (Goertzel's algorithm).
fn power_at(pcm: &[f32], hz: u32) -> f64 {
    let step = f64::from(hz) / 48_000.0 * std::f64::consts::TAU;
    let factor = 2.0 * step.cos();
    let (mut last, mut before) = (0.0f64, 0.0f64);
    for &sample in pcm {
        let now = f64::from(sample) + factor * last - before;
        before = last;
        last = now;
    }
    let magnitude = last * last + before * before - factor * last * before;
    2.0 * magnitude.max(0.0) / (pcm.len() as f64).powi(2)
}

fn decibels(power: f64) -> f64 {
    (10.0 * power.log10()).max(SILENT_DBFS)
}

/// The samples over which tones are measured: 100 ms, which tells tones 10 Hz apart.
const WINDOW: usize = 4_800;

/// The level that stands for complete silence.
pub(super) const SILENT_DBFS: f64 = -120.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_check_distinguishes_tones_of_neighbouring_frequencies() {
        let pcm: Vec<f32> = (0..WINDOW)
            .map(|at| 0.1 * (at as f32 / 48_000.0 * 570.0 * std::f32::consts::TAU).sin())
            .collect();
        assert!((decibels(power_at(&pcm, 570)) + 23.0).abs() < 0.2);
        assert!(decibels(power_at(&pcm, 400)) < -60.0);
        assert_eq!(decibels(0.0), SILENT_DBFS);
    }

    #[test]
    fn audio_check_counts_invalid_packets() {
        let mut ear = AudioCheck::new(vec![400]);
        ear.take(&[]);
        ear.take(&[0xf8, 0xff, 0xfe]);
        let heard = ear.heard(3);
        assert_eq!((heard.packets, heard.undecodable), (1, 1));
        assert_eq!((heard.level_dbfs, heard.sources), (SILENT_DBFS, 3));
        ear.restart();
        assert_eq!(ear.heard(0).packets, 0);
    }
}
