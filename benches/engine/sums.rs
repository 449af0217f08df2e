//! Benchmarks operations on PCM: the sum of all talkers, the sum without one of them, and the
//! limiter.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use mixer::Frame;
use mixer::format::Layout;
use mixer::mix::bus::Bus;
use mixer::output::limiter::Limiter;

use crate::scene::{TICK, tone};

pub fn bench(criterion: &mut Criterion) {
    sums(criterion);
    limits(criterion);
}

fn sums(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bus");
    for talkers in [2u32, 10, 50, 200] {
        let frames: Vec<Frame> = (0..talkers)
            .map(|talker| frame(300.0 + 37.0 * f64::from(talker), 0.2))
            .collect();
        let mut bus = Bus::new(Layout::Mono, TICK);
        let mut mix = Frame::new(Layout::Mono, TICK);
        group.throughput(Throughput::Elements(u64::from(talkers)));
        group.bench_function(BenchmarkId::new("sum", talkers), |bencher| {
            bencher.iter(|| {
                bus.clear();
                frames.iter().for_each(|frame| bus.add(frame));
                black_box(bus.sum());
            });
        });
        group.bench_function(BenchmarkId::new("minus each", talkers), |bencher| {
            bencher.iter(|| {
                for own in &frames {
                    bus.minus_into(own, &mut mix);
                    black_box(&mix);
                }
            });
        });
    }
    group.finish();
}

fn limits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("limiter");
    for (name, amplitude) in [("at rest", 0.5), ("at work", 4.0)] {
        let mix = frame(441.7, amplitude);
        let mut limiter = Limiter::new();
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || mix.clone(),
                |mix| limiter.limit(black_box(mix)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn frame(hz: f64, amplitude: f32) -> Frame {
    let mut frame = Frame::new(Layout::Mono, TICK);
    let samples = tone(hz, amplitude, 0, TICK.samples());
    frame.samples_mut().copy_from_slice(&samples);
    frame
}
