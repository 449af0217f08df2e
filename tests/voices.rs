//! Real voices through the whole system: everybody hears all the others and not themselves, and what
//! is too loud together is held down, not cut off.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod measure;
    pub mod sound;
    pub mod stand;
}

use std::sync::Arc;
use std::time::Duration;

use common::measure::{
    Finder, Place, Spectrum, decibels, greatest_step, longest_full_scale_run, peak,
};
use common::sound::{Heard, Played, RATE, VOICES, voice};
use common::stand::Stand;
use mixminus::join::client::Client;
use mixminus::join::media::MediaOptions;

/// Nobody speaks before everybody is in.
const LEAD_IN: usize = 2 * RATE;

/// The longest voice of `fixtures/`, the lead-in, and what is under way at the end.
const TALK: Duration = Duration::from_secs(28);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_voices_each_hear_the_three_others_and_not_themselves() {
    let stand = Stand::start();
    let voices: Vec<Arc<[f32]>> = VOICES[..4].iter().map(|name| voice(name)).collect();
    let mut clients = Vec::new();
    for (voice, name) in voices.iter().zip(VOICES) {
        clients.push(participant(&stand, name, Some(voice)).await);
    }
    tokio::time::sleep(TALK).await;
    println!("{}", stand.timekeeping().await);
    let recordings = leave(clients).await;
    stand.stop().await;

    let mut finder = Finder::new();
    let voices: Vec<Spectrum> = voices.iter().map(|voice| finder.spectrum(voice)).collect();
    for (listener, recording) in recordings.iter().enumerate() {
        let recording = finder.spectrum(recording);
        let places: Vec<Place> = voices
            .iter()
            .map(|voice| finder.place(voice, &recording))
            .collect();
        println!("{} hears {places:.1?}", VOICES[listener]);
        for (talker, place) in places.iter().enumerate() {
            let (who, whom) = (VOICES[listener], VOICES[talker]);
            if talker == listener {
                assert!(
                    place.level_db < -18.0,
                    "{who} hears itself at {:.1} dB",
                    place.level_db
                );
            } else {
                assert!(
                    place.level_db > -6.0,
                    "{who} hears {whom} at {:.1} dB only",
                    place.level_db
                );
            }
        }
    }
}

/// `mixer/tests/minus_one.rs` shows that the mix stays at or under -1 dBFS on its way into the encoder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_voices_at_full_scale_neither_wrap_nor_clip() {
    let stand = Stand::start();
    let loud = |name: &&str| -> Arc<[f32]> {
        let voice = voice(name);
        let gain = 1.0 / peak(&voice);
        voice.iter().map(|sample| gain * sample).collect()
    };
    let voices: Vec<Arc<[f32]>> = VOICES[..3].iter().map(loud).collect();
    let mut clients = vec![participant(&stand, "listener", None).await];
    for (voice, name) in voices.iter().zip(VOICES) {
        clients.push(participant(&stand, name, Some(voice)).await);
    }
    tokio::time::sleep(TALK).await;
    println!("{}", stand.timekeeping().await);
    let recordings = leave(clients).await;
    stand.stop().await;

    let mut finder = Finder::new();
    let recording = &recordings[0];
    let spectrum = finder.spectrum(recording);
    let mut sum = vec![0.0; recording.len()];
    for (voice, name) in voices.iter().zip(VOICES) {
        let said = finder.spectrum(voice);
        let place = finder.place(&said, &spectrum);
        println!("{name} at full scale is heard: {place:.1?}");
        // The limiter takes off what is too much for all of them together.
        assert!(place.level_db > -12.0, "{name} is not heard");
        let lag = (place.lag_ms * RATE as f64 / 1e3) as usize;
        sum.iter_mut()
            .skip(lag)
            .zip(voice.iter())
            .for_each(|(sum, sample)| *sum += sample);
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
    // What wraps jumps from one end of the scale to the other. These voices end at 8 kHz, where full
    // scale takes three samples for that.
    assert!(step < 1.5, "a step of {step} from one sample to the next");
}

async fn participant(stand: &Stand, name: &str, voice: Option<&Arc<[f32]>>) -> (Client, Heard) {
    let heard = Heard::default();
    let source = voice.map(|voice| [&[0.0; LEAD_IN], &voice[..]].concat().into());
    let media = MediaOptions {
        source: source.and_then(|pcm| Played::boxed(&pcm)),
        sink: heard.sink(),
        ..MediaOptions::default()
    };
    (stand.join("voices", name, media).await, heard)
}

async fn leave(clients: Vec<(Client, Heard)>) -> Vec<Vec<f32>> {
    let mut recordings = Vec::new();
    for (client, heard) in clients {
        println!("{:?}", client.stats().await);
        client.leave().await.unwrap();
        recordings.push(heard.pcm());
    }
    recordings
}
