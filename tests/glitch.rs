//! Sends a tone of a minute through the server: nothing of it may be cut out, repeated, swapped or
//! faded.

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

/// The frequency of the tone. At 1,000 Hz a repeated frame would go unnoticed, because 20 ms hold
/// whole periods of it.
const HZ: f64 = 925.0;

/// The part of a recording that is not judged: the first 3 s and the last half second
/// (`tests/tools/README.md` gives the reason), and one second as a margin.
const NOT_JUDGED: Duration = Duration::from_millis(4_500);

/// How much sound is judged in all, over several attempts if the machine stalls.
const MINUTE: Duration = Duration::from_secs(60);

/// The length of the shortest attempt: even after a stall at its start, some sound is left to
/// judge.
const SHORTEST: Duration = Duration::from_secs(15);

/// How long a stall affects a playout: until its delay has grown and is back to normal.
const AFTERMATH: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_passes_a_minute_of_tone_without_a_glitch() {
    let server = TestServer::start();
    let (mut all, mut talked) = (Found::default(), Duration::ZERO);
    while all.judged < MINUTE && talked < ATTEMPTS as u32 * MINUTE {
        let talk = (MINUTE - all.judged).max(SHORTEST);
        let found = listen(&server, talk + NOT_JUDGED).await;
        talked += talk;
        all.judged += found.judged;
        all.seams += found.seams;
        all.concealments += found.concealments;
        let minutes = talked.as_secs_f64() / MINUTE.as_secs_f64();
        let minutes = minutes.ceil() as usize;
        assert!(all.seams <= minutes * MAX_SEAMS, "{all:?} in {talked:?}");
        assert!(
            all.concealments <= minutes * MAX_CONCEALMENTS,
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

/// The findings in a tone: how much of it was judged, and the number of excused deviations of each
/// kind.
#[derive(Debug, Default)]
struct Found {
    judged: Duration,
    seams: usize,
    concealments: usize,
}

/// Sends a tone for `talk` and judges what a listener heard; panics if a glitch has no excuse.
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
    let concealments = watch_for_concealments(&listener, talk).await;
    println!(
        "{}\n{:?}\n{:?}",
        watch.stalls(),
        talker.stats().await,
        listener.stats().await
    );
    // The listener leaves first, so that the tone lasts to the end of the recording.
    listener.leave().await.unwrap();
    talker.leave().await.unwrap();

    let file = scratch("glitch").join("heard.wav");
    write(&file, &heard.pcm());
    let found = tools::python("glitch.py", [file.to_str().unwrap(), "--freq=925"]);
    let recording = Recording {
        began: *ear.0.get().unwrap(),
        watch,
        concealments,
    };
    recording.judge(&found)
}

/// A recording, and what may excuse its glitches.
struct Recording {
    began: Instant,
    watch: SchedulerWatch,
    /// The instants at which the listener reported a concealment.
    concealments: Vec<Instant>,
}

/// Why a deviation is not counted as a glitch.
#[derive(Debug)]
enum Excuse {
    Seam,
    Stall,
    Concealment(Instant),
}

impl Recording {
    fn judge(&self, found: &Value) -> Found {
        let (mut seams, mut concealments) = (0, BTreeSet::new());
        for glitch in found["events"].as_array().unwrap() {
            let excuse = self.excuse(glitch);
            println!("{glitch} {excuse:?}");
            match excuse {
                Some(Excuse::Seam) => seams += 1,
                Some(Excuse::Stall) => {}
                Some(Excuse::Concealment(told)) => {
                    concealments.insert(told);
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
            concealments: concealments.len(),
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
            self.concealment(from, to).map(Excuse::Concealment)
        }
    }

    /// Whether a stall of the machine may be audible at position `at` of the recording.
    fn was_disturbed(&self, at: Duration) -> bool {
        let heard = self.began + at;
        let until = heard + Duration::from_millis(300);
        self.watch.was_disturbed(heard - AFTERMATH, until)
    }

    /// The instant of the concealment that is heard at this place of the recording, if any.
    fn concealment(&self, from: Duration, to: Duration) -> Option<Instant> {
        let heard = self.began + from;
        // The listener counts a concealment when the late packet arrives, and its counter is read
        // every 100 ms.
        let near = heard - Duration::from_millis(50)..heard + Duration::from_millis(200);
        let is_near = |told: &Instant| to - from < LONGEST_CONCEALMENT && near.contains(told);
        self.concealments.iter().copied().find(is_near)
    }
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().unwrap())
}

/// Lets the talker talk; returns the instants at which the listener reported a concealment, which
/// means that a packet arrived after its playout time.
async fn watch_for_concealments(listener: &Client, talk: Duration) -> Vec<Instant> {
    let ends = Instant::now() + talk;
    let (mut concealed, mut concealments) = (0, Vec::new());
    while Instant::now() < ends {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = listener.stats().await.concealed_samples;
        if now > core::mem::replace(&mut concealed, now) {
            concealments.push(Instant::now());
        }
    }
    concealments
}

/// Whether a deviation is one of two known seams. Both turn the phase of the tone slightly, for a
/// few milliseconds and with noise at least 20 dB below it. libopus at times changes its mode on a
/// tone: on the second leg that is up to 0.3 rad (`tests/tools/README.md`). A playout that changes
/// its delay inserts or removes whole periods, to the nearest sample: 0.08 rad. The smallest real
/// glitch, five removed samples, is 0.6 rad.
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

/// The number of concealments allowed in a minute: one packet in a thousand. A stall too short for
/// [`SchedulerWatch`] makes a packet late for the listener if it delays a tick that already waited.
/// How much a concealment disturbs the tone depends on its length and on the phase at which the
/// tone returns: up to 1.5 rad.
const MAX_CONCEALMENTS: usize = 3;

/// The longest concealment: one packet and both its edges.
const LONGEST_CONCEALMENT: Duration = Duration::from_millis(40);

/// The number of seams allowed in a minute: twice fourteen. A playout delay that grows by a tick
/// and shrinks again makes fourteen splices, and a machine that now and then stamps packets late
/// causes two such changes a minute.
const MAX_SEAMS: usize = 28;

/// Records when the recording began.
#[derive(Default)]
struct Ear(OnceLock<Instant>);

impl Tap for Ear {
    fn played(&self, due: Instant, _: &[f32]) {
        // `set` fails on every call but the first.
        let _ = self.0.set(due);
    }
}
