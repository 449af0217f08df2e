//! A tone for a minute through the server: nothing is cut out, repeated, swapped or faded.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod scheduler_watch;
    pub mod sound;
    pub mod test_server;
    pub mod tools;
}

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use common::scheduler_watch::{ATTEMPTS, SchedulerWatch};
use common::sound::{Heard, Tone, scratch, write};
use common::test_server::TestServer;
use common::tools;
use mixminus::join::client::Client;
use mixminus::join::media::MediaOptions;
use mixminus::join::tap::Tap;
use serde_json::Value;

/// 1,000 Hz would hide a frame that is repeated: 20 ms are whole periods of it.
const HZ: f64 = 925.0;

/// `tests/tools/README.md` tells why the first 3 s are not judged; half a second is left out at the end, and one is spare.
const NOT_JUDGED: Duration = Duration::from_millis(4_500);

/// How much is to be judged, in several attempts on a machine that stalls.
const MINUTE: Duration = Duration::from_secs(60);

/// The shortest attempt: a stall at its begin leaves something to judge.
const SHORTEST: Duration = Duration::from_secs(15);

/// What a stall does to a playout is over by then: its delay has grown and is back.
const AFTERMATH: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tone_of_a_minute_comes_through_without_a_glitch() {
    let server = TestServer::start();
    let (mut all, mut talked) = (Found::default(), Duration::ZERO);
    while all.judged < MINUTE && talked < ATTEMPTS as u32 * MINUTE {
        let talk = (MINUTE - all.judged).max(SHORTEST);
        let found = listen(&server, talk + NOT_JUDGED).await;
        talked += talk;
        all.judged += found.judged;
        all.seams += found.seams;
        all.guesses += found.guesses;
        let minutes = talked.as_secs_f64() / MINUTE.as_secs_f64();
        let minutes = minutes.ceil() as usize;
        assert!(all.seams <= minutes * MOST_SEAMS, "{all:?} in {talked:?}");
        assert!(
            all.guesses <= minutes * MOST_GUESSES,
            "{all:?} in {talked:?}"
        );
    }
    println!("{}; {all:?} in {talked:?}", server.timekeeping().await);
    server.stop().await;
    assert!(
        all.judged >= MINUTE,
        "this machine stalls too often to judge: {:?} of {MINUTE:?}",
        all.judged
    );
}

/// What was found in a tone: how much was judged, and what is no glitch but was heard.
#[derive(Debug, Default)]
struct Found {
    judged: Duration,
    seams: usize,
    guesses: usize,
}

/// Listens to a tone for so long; no glitch may be found that has no excuse.
async fn listen(server: &TestServer, talk: Duration) -> Found {
    let (heard, ear) = (Heard::default(), Arc::<Ear>::default());
    let watch = SchedulerWatch::start();
    let media = MediaOptions {
        sink: heard.sink(),
        tap: ear.clone(),
        ..MediaOptions::default()
    };
    let listener = server.join("tone", "ear", media).await;
    let media = MediaOptions {
        source: Tone::boxed(HZ),
        ..MediaOptions::default()
    };
    let talker = server.join("tone", "mouth", media).await;
    let guesses = watch_for_guesses(&listener, talk).await;
    println!(
        "{}\n{:?}\n{:?}",
        watch.stalls(),
        talker.stats().await,
        listener.stats().await
    );
    // The listener first, so that the tone lasts to the end of the recording.
    listener.leave().await.unwrap();
    talker.leave().await.unwrap();

    let file = scratch("glitch").join("heard.wav");
    write(&file, &heard.pcm());
    let found = tools::python("glitch.py", [file.to_str().unwrap(), "--freq=925"]);
    let recording = Recording {
        began: *ear.0.get().unwrap(),
        watch,
        guesses,
    };
    recording.judge(&found)
}

/// A recording, and what its glitches may be excused with.
struct Recording {
    began: Instant,
    watch: SchedulerWatch,
    /// When the listener told that it has guessed.
    guesses: Vec<Instant>,
}

/// Why something is no glitch.
#[derive(Debug)]
enum Excuse {
    Seam,
    Stall,
    Guess(Instant),
}

impl Recording {
    fn judge(&self, found: &Value) -> Found {
        let (mut seams, mut guesses) = (0, BTreeSet::new());
        for glitch in found["events"].as_array().unwrap() {
            let excuse = self.excuse(glitch);
            println!("{glitch} {excuse:?}");
            match excuse {
                Some(Excuse::Seam) => seams += 1,
                Some(Excuse::Stall) => {}
                Some(Excuse::Guess(told)) => {
                    guesses.insert(told);
                }
                None => panic!("a glitch while the machine was calm: {glitch:#}"),
            }
        }
        let (from, length) = (
            seconds(&found["from_seconds"]),
            seconds(&found["analysed_seconds"]),
        );
        let step = Duration::from_millis(100);
        let steps = (0..(length.as_millis() / step.as_millis()) as u32)
            .filter(|n| !self.was_disturbed(from + *n * step));
        Found {
            judged: steps.count() as u32 * step,
            seams,
            guesses: guesses.len(),
        }
    }

    fn excuse(&self, glitch: &Value) -> Option<Excuse> {
        let from = seconds(&glitch["at_seconds"]);
        let to = seconds(&glitch["until_seconds"]);
        if is_a_seam(glitch) {
            Some(Excuse::Seam)
        } else if self.was_disturbed(from) {
            Some(Excuse::Stall)
        } else {
            self.guess(from, to).map(Excuse::Guess)
        }
    }

    /// Whether a stall of the machine may be heard at this place.
    fn was_disturbed(&self, at: Duration) -> bool {
        let heard = self.began + at;
        let until = heard + Duration::from_millis(300);
        self.watch.was_disturbed(heard - AFTERMATH, until)
    }

    /// The guess that is heard at this place, if it is one.
    fn guess(&self, from: Duration, to: Duration) -> Option<Instant> {
        let heard = self.began + from;
        // It is told when the packet has come, and asked for every 100 ms.
        let near = heard - Duration::from_millis(50)..heard + Duration::from_millis(200);
        let is_near = |told: &Instant| to - from < LONGEST_GUESS && near.contains(told);
        self.guesses.iter().copied().find(is_near)
    }
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().unwrap())
}

/// Lets the talker talk, and gives the instants at which the listener tells that it has guessed: a packet came after it
/// was to be played.
async fn watch_for_guesses(listener: &Client, talk: Duration) -> Vec<Instant> {
    let ends = Instant::now() + talk;
    let (mut concealed, mut guesses) = (0, Vec::new());
    while Instant::now() < ends {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = listener.stats().await.concealed_samples;
        if now > core::mem::replace(&mut concealed, now) {
            guesses.push(Instant::now());
        }
    }
    guesses
}

/// Two things turn the tone's phase a little, for a few milliseconds and with noise 20 dB below it at
/// most. libopus changes its mode now and then on a tone: on the second leg up to 0.3 rad
/// (`tests/tools/README.md`). A playout that changes its wait puts whole periods in or takes them out,
/// to the nearest sample: 0.08 rad. The least that anything else does, five samples removed, is
/// 0.6 rad.
fn is_a_seam(glitch: &Value) -> bool {
    let within = |key: &str, least: f64, most: f64| {
        let value = glitch[key].as_f64().unwrap();
        (least..=most).contains(&value)
    };
    let lasts = glitch["until_seconds"].as_f64().unwrap() - glitch["at_seconds"].as_f64().unwrap();
    within("phase_rad", -0.35, 0.35)
        && within("amplitude_ratio", 0.9, 1.1)
        && within("residual_db", f64::MIN, -18.0)
        && lasts < 0.016
}

/// In a minute, one packet in a thousand. A stall shorter than [`SchedulerWatch`] tells makes a packet come too late for the listener, where it
/// holds up a tick that has waited already. What a guess does to the tone depends on how long it lasts and on where
/// in its period the tone comes back: up to 1.5 rad.
const MOST_GUESSES: usize = 3;

/// The longest one, of a packet and both its edges.
const LONGEST_GUESS: Duration = Duration::from_millis(40);

/// A wait that becomes a tick longer, and shorter again, is fourteen splices: twice that in a minute
/// is what a machine that stamps packets late now and then brings about.
const MOST_SEAMS: usize = 28;

/// Knows when the recording began.
#[derive(Default)]
struct Ear(OnceLock<Instant>);

impl Tap for Ear {
    fn played(&self, due: Instant, _: &[f32]) {
        // Refused but for the first time.
        let _ = self.0.set(due);
    }
}
