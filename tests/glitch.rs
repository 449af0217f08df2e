//! A tone for a minute through the server: nothing is cut out, repeated, swapped or faded.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod sound;
    pub mod stand;
    pub mod tools;
}

use std::time::Duration;

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
    tokio::time::sleep(TALK).await;
    println!(
        "{:?}\n{:?}\n{}",
        talker.stats().await,
        listener.stats().await,
        stand.timekeeping().await
    );
    // The listener first, so that the tone lasts to the end of the recording.
    listener.leave().await.unwrap();
    talker.leave().await.unwrap();
    stand.stop().await;

    let file = scratch("glitch").join("heard.wav");
    write(&file, &heard.pcm());
    let found = tools::python("glitch.py", [file.to_str().unwrap(), "--freq=925"]);
    println!("{found}");
    assert!(
        found["analysed_seconds"].as_f64() >= Some(60.0),
        "{found:#}"
    );
    assert_eq!(found["count"], 0, "{found:#}");
}
