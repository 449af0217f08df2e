//! What the engine's parts and a whole tick cost, at sizes that show how the cost grows.
//!
//! | file | what |
//! |---|---|
//! | `sums.rs` | the sum and the sum without each, the limiter |
//! | `arrivals.rs` | the jitter buffer and the playout around it |
//! | `roles.rs` | who begins to talk splits off a group's encode, who has fallen silent merges again |
//! | `ticks.rs` | a room's whole tick |
//! | `scene.rs` | a room of any size, for the two above |
//!
//! `mixminus bench tick` measures the same as a user would see it: in percentiles, with speech.

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
