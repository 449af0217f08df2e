//! The cost of the engine's parts and of a whole tick, at sizes that show how the cost grows.
//!
//! | file | what |
//! |---|---|
//! | `sums.rs` | the sum, the sum without each participant, the limiter |
//! | `arrivals.rs` | the jitter buffer and the playout around it |
//! | `roles.rs` | splitting a group's encode when a listener begins to talk, and merging it again |
//! | `ticks.rs` | a room's whole tick |
//! | `scene.rs` | a room of any size, for `roles.rs` and `ticks.rs` |
//!
//! `mixminus bench tick` measures a tick as an operator sees it: in percentiles, with speech.

use criterion::{criterion_group, criterion_main};

mod arrivals;
mod roles;
mod scene;
mod sums;
mod ticks;

criterion_group!(
    benches,
    sums::bench,
    arrivals::bench,
    roles::bench,
    ticks::bench
);
criterion_main!(benches);
