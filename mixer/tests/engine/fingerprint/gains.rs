//! The scene with personal gains.

use mixer::room::RoomSettings;

use super::{end, show};
use crate::world::World;

/// One room whose participants hear each other louder, quieter or not at all.
#[test]
#[ignore = "prints numbers to be compared with those of another build"]
fn i_personal_gains() {
    let mut world = World::new(1, 9);
    let room = world.lone_room(RoomSettings::default());
    for _ in 0..12 {
        world.join_any(room);
    }
    for _ in 0..200 {
        let at = world.pick(world.people.len());
        match world.pick(6) {
            0 if world.people.len() < 14 => drop(world.join_any(room)),
            1 if world.people.len() > 10 => world.leave(at),
            _ => world.set_any_gains(at),
        }
        let ms = world.pick(600) as u64;
        world.pass_ms(ms);
    }
    end(&mut world);
    show("I personal gains", &world.finish());
}
