//! A call between libwebrtc clients: what is heard is what their jitter buffers play.

use std::time::{Duration, Instant};

use mixer::format::SAMPLE_RATE_HZ;

use super::LatencyError;
use super::analysis::judge;
use super::call::Findings;
use super::stimulus::Stimulus;
use super::taps::{Heard, Spoken};
use crate::bench::libwebrtc::{Client, ClientReport, LibwebrtcError, Part};
use crate::bench::target::Target;
use crate::bench::target::child::Directory;
use crate::join::pcm::{self, FileKind, PcmError};

/// Connects one talker and one listener without a server.
pub(super) async fn direct(time: Duration) -> Result<Findings, LatencyError> {
    let files = Files::new(time)?;
    let (mouth, ear) = Client::pair(files.mouth(time), files.ear(time)).await?;
    let (spoken, heard) = (mouth.finish().await?, ear.finish().await?);
    files.judge("direct", &spoken, &heard).await
}

/// Lets one talker and one listener join a room of their own.
pub(super) async fn through(
    target: &Target,
    room: &str,
    time: Duration,
) -> Result<Findings, LatencyError> {
    let files = Files::new(time)?;
    let ear = Client::join(target, room, "ear", files.ear(time + JOINING)).await?;
    let mouth = Client::join(target, room, "mouth", files.mouth(time)).await?;
    let (spoken, heard) = (mouth.finish().await?, ear.finish().await?);
    files.judge(target.name(), &spoken, &heard).await
}

/// The stimulus that the talker plays and the listener's recording, as files in one directory.
struct Files {
    directory: Directory,
    stimulus: Stimulus,
    samples: u64,
}

impl Files {
    /// Writes a stimulus of length `time` to a file in a new directory.
    fn new(time: Duration) -> Result<Files, LatencyError> {
        let directory = Directory::new().map_err(LibwebrtcError::from)?;
        let stimulus = Stimulus::new(0);
        let samples = time.as_secs() * u64::from(SAMPLE_RATE_HZ);
        let mut pcm = vec![0.0; samples as usize];
        stimulus.source().read(&mut pcm)?;
        let mut sink = FileKind::Wav.create(&directory.path().join(SAID))?;
        sink.write(&pcm)?;
        sink.finish()?;
        Ok(Files {
            directory,
            stimulus,
            samples,
        })
    }

    fn mouth(&self, time: Duration) -> Part {
        Part {
            play: Some(self.directory.path().join(SAID)),
            record: None,
            time,
        }
    }

    fn ear(&self, time: Duration) -> Part {
        Part {
            play: None,
            record: Some(self.directory.path().join(HEARD)),
            time,
        }
    }

    async fn judge(
        self,
        who: &str,
        mouth: &ClientReport,
        ear: &ClientReport,
    ) -> Result<Findings, LatencyError> {
        let silent = || LatencyError::Silent {
            who: who.to_owned(),
        };
        let spoken_at = mouth.spoken().ok_or_else(silent)?;
        let heard_at = ear.heard().ok_or_else(silent)?;
        let receiver = ear.inbound;
        let judged = move || self.verdict(spoken_at, heard_at);
        let judged = tokio::task::spawn_blocking(judged).await;
        let verdict = judged.unwrap_or_else(|error| {
            // A panic of the analysis must not be taken for silence.
            std::panic::resume_unwind(error.into_panic())
        })?;
        Ok(Findings {
            verdict,
            receiver,
            ..Findings::default()
        })
    }

    fn verdict(
        &self,
        spoken_at: Instant,
        heard_at: Instant,
    ) -> Result<super::analysis::Verdict, PcmError> {
        let heard = pcm::read_all(&mut *pcm::open(&self.directory.path().join(HEARD))?)?;
        let spoken = Spoken::at_once(self.samples, spoken_at);
        let heard = Heard::at_once(heard, heard_at);
        Ok(judge(&self.stimulus, &spoken, None, &heard))
    }
}

const SAID: &str = "said.wav";
const HEARD: &str = "heard.wav";

/// How long before the talker the listener joins. It stays until the talker has finished.
const JOINING: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_of_recordings_is_measured_from_the_instants_of_their_first_samples() {
        let files = Files::new(Duration::from_secs(6)).expect("it can be written");
        let said = files.directory.path().join(SAID);
        let pcm = pcm::read_all(&mut *pcm::open(&said).expect("a WAV file")).expect("whole");
        // The listener's recording starts one second before the talker does, with a delay of 50 ms.
        let mut sink = FileKind::Wav
            .create(&files.directory.path().join(HEARD))
            .expect("writable");
        sink.write(&vec![0.0; 48_000 + 2_400]).expect("writable");
        sink.write(&pcm).expect("writable");
        sink.write(&[0.0; 48_000]).expect("writable");
        sink.finish().expect("writable");
        let spoken_at = Instant::now();
        let heard_at = spoken_at - Duration::from_secs(1);
        let verdict = files.verdict(spoken_at, heard_at).expect("judged");
        let all = verdict.all_ms();
        assert!(all.len() >= 6, "{all:?}");
        assert!(all.iter().all(|ms| (ms - 50.0).abs() < 0.5), "{all:?}");
        assert_eq!((verdict.missed, verdict.damaged), (0, 0));
        assert!(verdict.hops > 50, "{}", verdict.hops);
    }
}
