//! `mixminus bench`: what a mixing server does to its clients and to its machine.

pub mod swarm;
pub mod target;
