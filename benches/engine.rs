//! What the engine's parts and a whole tick cost.
fn main() {}
