//! Benchmarks changes of roles, in a room where another participant talks all the time: the tick in
//! which a listener begins to talk and gets a copy of the group's encoder (a split), the tick in
//! which it returns to the group (a merge), and a tick without a change.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use mixer::codec::Profile;

use crate::scene::Scene;

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("roles");
    group.sample_size(10);
    for people in [3, 20, 200] {
        for (name, turned) in [
            ("nothing happens", Turned::Nothing),
            ("split", Turned::Split),
            ("merge", Turned::Merge),
        ] {
            let mut stage = Stage::new(people);
            group.bench_function(BenchmarkId::new(name, people), |bencher| {
                bencher
                    .iter_custom(|switches| (0..switches).map(|_| stage.switch_once(turned)).sum());
            });
        }
    }
    group.finish();
}

/// Which change of roles the timed tick contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turned {
    Nothing,
    Split,
    Merge,
}

/// A room in which the first participant always talks and the second one at times.
struct Stage {
    scene: Scene,
}

impl Stage {
    fn new(people: u32) -> Stage {
        let mut scene = Scene::new(people, Profile::Voice);
        // Both participants have heard a voice by now, so both have a stream. It lasts as long as a
        // participant talks.
        for (talkers, ticks) in [(1, 150), (2, 10), (1, 150)] {
            (0..ticks).for_each(|_| scene.turn(talkers));
        }
        Stage { scene }
    }

    /// Lets the second participant begin to talk and fall silent again; returns how long the tick
    /// with the change `turned` took.
    fn switch_once(&mut self, turned: Turned) -> Duration {
        let alone = self.encodes(1).0;
        let timed = match turned {
            Turned::Nothing => self.encodes(1).1,
            Turned::Split => self.until(2, |encodes| encodes > alone),
            Turned::Merge => {
                self.until(2, |encodes| encodes > alone);
                self.until(1, |encodes| encodes == alone)
            }
        };
        // Whichever tick was timed, the room returns to one talker.
        self.until(1, |encodes| encodes == alone);
        timed
    }

    /// Runs ticks with `talkers` talkers until the number of encodes in one of them meets the
    /// condition; returns how long that tick took.
    fn until(&mut self, talkers: u32, is_there: impl Fn(u64) -> bool) -> Duration {
        for _ in 0..PATIENCE_TICKS {
            let (encodes, took) = self.encodes(talkers);
            if is_there(encodes) {
                return took;
            }
        }
        panic!("roles did not change within {PATIENCE_TICKS} ticks");
    }

    /// Runs one tick; returns its number of encodes and how long it took.
    fn encodes(&mut self, talkers: u32) -> (u64, Duration) {
        let encoded = self.scene.encodes();
        let start = Instant::now();
        self.scene.turn(talkers);
        (self.scene.encodes() - encoded, start.elapsed())
    }
}

/// The most ticks until roles have changed: several times the hangovers of the gate and of the
/// merge.
const PATIENCE_TICKS: u32 = 500;
