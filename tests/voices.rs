//! Sends real voices through the whole system: each participant hears all the others but not
//! itself, and voices that are too loud together are limited, not clipped.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod measure;
    pub mod sound;
    pub mod test_server;
}

use std::sync::Arc;
use std::time::Duration;

use common::measure::{
    Finder, PIECE, Spectrum, decibels, greatest_step, longest_full_scale_run, peak, percentile,
    pieces,
};
use common::sound::{Cue, Heard, Played, RATE, VOICES, voice};
use common::test_server::TestServer;
use mixminus::join::client::Client;
use mixminus::join::media::MediaOptions;
use mixminus::join::pcm::Source;

/// How long the participants talk: the length of the longest voice of `fixtures/`, and a margin for
/// the delay.
const TALK: Duration = Duration::from_secs(26);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participants_with_voices_hear_the_three_others_but_not_themselves() {
    let server = TestServer::start();
    let cue = Cue::default();
    let voices: Vec<Arc<[f32]>> = VOICES[..4].iter().map(|name| voice(name)).collect();
    let mut clients = Vec::new();
    for (voice, name) in voices.iter().zip(VOICES) {
        clients.push(participant(&server, name, Played::boxed(voice, &cue)).await);
    }
    cue.give();
    tokio::time::sleep(TALK).await;
    println!("{}", server.timekeeping().await);
    let recordings = leave(clients).await;
    server.stop().await;

    let mut finder = Finder::new();
    let said: Vec<Said> = voices.iter().map(|it| Said::of(it, &mut finder)).collect();
    for (who, recording) in VOICES.iter().zip(recordings) {
        let recording = finder.spectrum(&recording);
        for ((whom, voice), said) in VOICES.iter().zip(&voices).zip(&said) {
            if who == whom {
                let said = finder.spectrum(voice);
                let whole_db = finder.place(&said, &recording).level_db;
                println!("{who} hears itself at {whole_db:.1} dB, by chance");
                assert!(whole_db < -18.0, "{who} hears itself at {whole_db:.1} dB");
            } else {
                let found = said.find(&mut finder, &recording);
                println!(
                    "{who} hears {whom} at {:.1} dB, {} ms late",
                    found.level_db, found.lags_ms
                );
                assert!(
                    found.level_db > -9.0,
                    "{who} hears {whom} at {:.1} dB only",
                    found.level_db
                );
            }
        }
    }
}

/// Checks what is heard after the codec; `mixer/tests/engine/minus_one.rs` shows that the mix stays
/// at or below -1 dBFS before the encoder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mix_of_three_voices_at_full_scale_neither_wraps_nor_clips() {
    let server = TestServer::start();
    let cue = Cue::default();
    let loud = |name: &&str| -> Arc<[f32]> {
        let voice = voice(name);
        let gain = 1.0 / peak(&voice);
        voice.iter().map(|sample| gain * sample).collect()
    };
    let voices: Vec<Arc<[f32]>> = VOICES[..3].iter().map(loud).collect();
    let mut clients = vec![participant(&server, "listener", None).await];
    for (voice, name) in voices.iter().zip(VOICES) {
        clients.push(participant(&server, name, Played::boxed(voice, &cue)).await);
    }
    cue.give();
    tokio::time::sleep(TALK).await;
    println!("{}", server.timekeeping().await);
    let recordings = leave(clients).await;
    server.stop().await;

    let mut finder = Finder::new();
    let recording = &recordings[0];
    let spectrum = finder.spectrum(recording);
    let mut sum = vec![0.0; recording.len()];
    for (voice, name) in voices.iter().zip(VOICES) {
        let found = Said::of(voice, &mut finder).find(&mut finder, &spectrum);
        println!(
            "{name} at full scale is heard at {:.1} dB, {} ms late",
            found.level_db, found.lags_ms
        );
        // The limiter lowers all voices together when they are too loud.
        assert!(found.level_db > -12.0, "{name} is not heard");
        for (place, piece) in found.starts.iter().zip(pieces(voice)) {
            let there = sum.iter_mut().skip(*place);
            there.zip(piece).for_each(|(sum, sample)| *sum += sample);
        }
    }
    let (plain, held) = (
        decibels(peak(&sum).into()),
        decibels(peak(recording).into()),
    );
    let (run, step) = (longest_full_scale_run(recording), greatest_step(recording));
    println!(
        "the plain sum would reach {plain:.1} dBFS; heard: peak {held:.1} dBFS, {run} samples at full scale in a row, \
         greatest step {step:.2}"
    );
    assert!(plain > 2.0, "the voices never were too loud together");
    assert!(held > -6.0, "what is heard is no louder than one voice");
    assert!(run < 3, "{run} samples in a row are at full scale");
    // A sample that wraps jumps from one end of the scale to the other. These voices contain
    // nothing above 8 kHz, so that without wrapping such a change takes three samples.
    assert!(step < 1.5, "a step of {step} from one sample to the next");
}

async fn participant(
    server: &TestServer,
    name: &str,
    source: Option<Box<dyn Source>>,
) -> (Client, Heard) {
    let heard = Heard::default();
    let media = MediaOptions {
        source,
        sink: heard.sink(),
        ..MediaOptions::default()
    };
    (server.join("voices", name, media).await, heard)
}

async fn leave(clients: Vec<(Client, Heard)>) -> Vec<Vec<f32>> {
    let mut recordings = Vec::new();
    for (client, heard) in clients {
        let stats = client.stats().await;
        println!(
            "concealed by a client: {} ms of {} s",
            stats.concealed_ms, stats.time_s
        );
        client.leave().await.unwrap();
        recordings.push(heard.pcm());
    }
    recordings
}

/// Where a voice was found in a recording, and how loud.
struct Found {
    /// The median level of the voice's pieces.
    level_db: f64,
    /// The smallest and the largest delay, to be printed.
    lags_ms: String,
    /// The start of each piece in the recording, in samples.
    starts: Vec<usize>,
}

/// The spectra of the pieces of a voice.
struct Said(Vec<Spectrum>);

impl Said {
    fn of(voice: &[f32], finder: &mut Finder) -> Said {
        Said(pieces(voice).map(|piece| finder.spectrum(piece)).collect())
    }

    /// Looks for each piece of the voice in a recording.
    fn find(&self, finder: &mut Finder, recording: &Spectrum) -> Found {
        let (mut levels_db, mut lags_ms, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        for (number, said) in self.0.iter().enumerate() {
            let place = finder.place(said, recording);
            let start = (place.lag_ms * RATE as f64 / 1e3).max(0.0) as usize;
            levels_db.push(place.level_db);
            lags_ms.push(place.lag_ms - 1e3 * (number * PIECE) as f64 / RATE as f64);
            starts.push(start);
        }
        Found {
            level_db: percentile(&levels_db, 0.5),
            lags_ms: format!(
                "{:.0} to {:.0}",
                percentile(&lags_ms, 0.0),
                percentile(&lags_ms, 1.0)
            ),
            starts,
        }
    }
}
