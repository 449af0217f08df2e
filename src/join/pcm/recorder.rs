//! Downlink -> sink: a thread writes the recording, fed through a bounded queue, so that a slow
//! disk leaves silence but no gap in time.
//!
//! Each frame carries its position. Frames that the queue drops because the sink stalls, and times
//! that were never recorded, are written as silence, so that one second of recording is one second.

use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tracing::warn;

use super::{PcmError, Sink};

/// The end of a recording to which the downlink hands its frames.
pub struct Recorder {
    frames: Sender<Take>,
    at_samples: u64,
    dropped_frames_total: u64,
    outcome: Receiver<Result<(), PcmError>>,
}

/// PCM with its position in the recording.
struct Take {
    at_samples: u64,
    pcm: Vec<f32>,
}

impl Recorder {
    /// Starts a recording into `sink`.
    ///
    /// - `limit_samples`: the exact length at which the recording is cut off; `None` if there is no
    ///   limit.
    ///
    /// # Errors
    /// The system's error if it starts no thread.
    pub fn start(sink: Box<dyn Sink>, limit_samples: Option<u64>) -> std::io::Result<Recorder> {
        let (frames, taken) = bounded(LINK_FRAMES);
        let (outcome_in, outcome) = bounded(1);
        thread::Builder::new()
            .name("join-sink".to_owned())
            .spawn(move || {
                let written = write(sink, taken, limit_samples);
                // Sending the outcome fails only if the recording was abandoned.
                let _ = outcome_in.send(written);
            })?;
        Ok(Recorder {
            frames,
            at_samples: 0,
            dropped_frames_total: 0,
            outcome,
        })
    }

    /// Appends a frame; if the sink is too slow the frame becomes silence.
    pub fn frame(&mut self, pcm: &[f32]) {
        let take = Take {
            at_samples: self.at_samples,
            pcm: pcm.to_vec(),
        };
        self.at_samples += pcm.len() as u64;
        if let Err(TrySendError::Full(_)) = self.frames.try_send(take) {
            let is_due = self.dropped_frames_total.is_multiple_of(500);
            self.dropped_frames_total += 1;
            if is_due {
                warn!(
                    dropped_frames_total = self.dropped_frames_total,
                    "the recording is written too slowly; frames are replaced by silence"
                );
            }
        }
    }

    /// Appends `samples` samples of silence.
    pub fn silence(&mut self, samples: u64) {
        self.at_samples += samples;
    }

    /// Whether writing has stopped early; [`Recorder::finish`] returns the reason.
    pub fn has_failed(&self) -> bool {
        !self.outcome.is_empty()
    }

    /// Waits, for a limited time, until all frames are written and the file is complete.
    ///
    /// # Errors
    /// [`PcmError`] when any of it could not be written.
    pub fn finish(self) -> Result<(), PcmError> {
        // An empty frame at the end causes the silence before it to be written.
        let end = Take {
            at_samples: self.at_samples,
            pcm: Vec::new(),
        };
        // Sending the end fails only if the writer has stopped or hangs; the outcome tells which.
        let _ = self.frames.send_timeout(end, FINISH_TIMEOUT);
        drop(self.frames);
        self.outcome
            .recv_timeout(FINISH_TIMEOUT)
            .unwrap_or(Err(PcmError::Stalled))
    }
}

fn write(
    mut sink: Box<dyn Sink>,
    takes: Receiver<Take>,
    limit_samples: Option<u64>,
) -> Result<(), PcmError> {
    let limit_samples = limit_samples.unwrap_or(u64::MAX);
    let mut written_samples = 0;
    for take in takes {
        let from = take.at_samples.min(limit_samples);
        while written_samples < from {
            let samples = (from - written_samples).min(SILENCE.len() as u64);
            sink.write(&SILENCE[..samples as usize])?;
            written_samples += samples;
        }
        let samples = (limit_samples - from).min(take.pcm.len() as u64);
        if samples > 0 {
            sink.write(&take.pcm[..samples as usize])?;
            written_samples += samples;
        }
    }
    sink.finish()
}

/// The bound of the queue to the writing thread, two seconds: a disk may stall that long, and a
/// reader of standard output that is further behind has stopped reading.
const LINK_FRAMES: usize = 100;

/// The longest wait for a slow disk, or for a reader of standard output that has stopped.
const FINISH_TIMEOUT: Duration = Duration::from_secs(3);

static SILENCE: [f32; 960] = [0.0; 960];

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    struct Memory(Arc<Mutex<Vec<f32>>>, bool);

    impl Sink for Memory {
        fn write(&mut self, pcm: &[f32]) -> Result<(), PcmError> {
            if self.1 {
                return Err(std::io::Error::other("full").into());
            }
            self.0.lock().unwrap().extend_from_slice(pcm);
            Ok(())
        }
        fn finish(self: Box<Self>) -> Result<(), PcmError> {
            Ok(())
        }
    }

    #[test]
    fn recorder_writes_silence_in_its_place_and_stops_at_the_exact_limit() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Box::new(Memory(Arc::clone(&written), false));
        let mut recorder = Recorder::start(sink, Some(3_000)).unwrap();
        recorder.frame(&[0.5; 960]);
        recorder.silence(1_000);
        recorder.frame(&[0.25; 960]);
        recorder.frame(&[0.25; 960]);
        recorder.finish().unwrap();
        let written = written.lock().unwrap();
        assert_eq!(written.len(), 3_000);
        assert!(written[..960].iter().all(|s| *s == 0.5));
        assert!(written[960..1_960].iter().all(|s| *s == 0.0));
        assert!(written[1_960..].iter().all(|s| *s == 0.25));
    }

    #[test]
    fn recorder_reports_a_full_disk_at_the_end_without_blocking() {
        let sink = Box::new(Memory(Arc::default(), true));
        let mut recorder = Recorder::start(sink, None).unwrap();
        for _ in 0..1_000 {
            recorder.frame(&[0.5; 960]);
        }
        assert!(recorder.finish().is_err());
    }
}
