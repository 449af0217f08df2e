//! Benchmarks a room's whole tick: jitter buffers, decoders, mixes and encoders.

use criterion::{BenchmarkId, Criterion};
use mixer::codec::Profile;

use crate::scene::Scene;

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tick");
    group.sample_size(20);
    for (people, talkers, profile) in [
        (3, 0, Profile::Voice),
        (200, 0, Profile::Voice),
        (3, 1, Profile::Voice),
        (3, 1, Profile::LowDelay),
        (10, 3, Profile::Voice),
        (200, 3, Profile::Voice),
        (2_000, 3, Profile::Voice),
        (50, 50, Profile::LowDelay),
    ] {
        let mut scene = Scene::new(people, profile);
        // The scene is run past the refreshes of the initial silence, into the middle of the
        // talk-spurt.
        (0..150).for_each(|_| scene.turn(talkers));
        let name = BenchmarkId::new(profile.name(), format!("{people} people, {talkers} talk"));
        group.bench_function(name, |bencher| bencher.iter(|| scene.turn(talkers)));
    }
    group.finish();
}
