//! A tone for a minute through the server: nothing is cut out, repeated, swapped or faded.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod calm;
    pub mod sound;
    pub mod stand;
    pub mod tools;
}

use std::time::Duration;

use common::calm::{ATTEMPTS, Watch};
use common::sound::{Heard, Tone, scratch, write};
use common::stand::Stand;
use common::tools;
use mixminus::join::media::MediaOptions;

/// 1,000 Hz would hide a frame that is repeated: 20 ms are whole periods of it.
const HZ: f64 = 925.0;

/// `tests/tools/README.md` tells why the first 3 s are not judged; half a second is left out at the end.
const TALK: Duration = Duration::from_millis(64_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tone_of_a_minute_comes_through_without_a_glitch() {
    let stand = Stand::start();
    for attempt in 1.. {
        let (heard, calm) = a_minute(&stand).await;
        let file = scratch("glitch").join("heard.wav");
        write(&file, &heard);
        let found = tools::python("glitch.py", [file.to_str().unwrap(), "--freq=925"]);
        println!("{found}");
        assert!(
            found["analysed_seconds"].as_f64() >= Some(60.0),
            "{found:#}"
        );
        if found["count"] == 0 {
            break;
        }
        assert!(!calm && attempt < ATTEMPTS, "{found:#}");
    }
    println!("{}", stand.timekeeping().await);
    stand.stop().await;
}

/// What is heard, and whether the machine was calm all the time.
async fn a_minute(stand: &Stand) -> (Vec<f32>, bool) {
    let heard = Heard::default();
    let media = MediaOptions {
        sink: heard.sink(),
        ..MediaOptions::default()
    };
    let listener = stand.join("tone", "ear", media).await;
    let media = MediaOptions {
        source: Tone::boxed(HZ),
        ..MediaOptions::default()
    };
    let talker = stand.join("tone", "mouth", media).await;
    let watch = Watch::start();
    tokio::time::sleep(TALK).await;
    println!(
        "the machine stalled for up to {:?}; {:?}; {:?}",
        watch.longest_stall(),
        talker.stats().await,
        listener.stats().await
    );
    // The listener first, so that the tone lasts to the end of the recording.
    listener.leave().await.unwrap();
    talker.leave().await.unwrap();
    (heard.pcm(), watch.was_calm())
}
