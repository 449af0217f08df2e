//! Test support for rooms with a floor: which talkers send in a tick, and which speech was heard.

use mixer::engine::Command;
use mixer::permit::Permit;
use mixer::room::RoomSettings;
use mixer::units::Level;

use super::Stage;

/// Runs 20 ms in which only the talkers that `sends` selects send; all RTP clocks advance.
pub fn turn(stage: &mut Stage, sends: impl Fn(usize) -> bool) {
    turn_with(stage, sends, |_| false);
}

/// Like [`turn`]; the talkers that `is_silent` selects mark their packets as silent.
pub fn turn_with(
    stage: &mut Stage,
    sends: impl Fn(usize) -> bool,
    is_silent: impl Fn(usize) -> bool,
) {
    let now = stage.now();
    for at in 0..stage.talkers.len() {
        let mut packet = stage.talkers[at].packet();
        packet.level = is_silent(at).then_some(Level::SILENCE);
        if sends(at) {
            stage.engine.push(stage.talkers[at].id, &packet, now);
        } else {
            stage.talkers[at].unsend();
        }
    }
    stage.pass();
}

/// Runs `count` times 20 ms in which every talker sends.
pub fn turns(stage: &mut Stage, count: usize) {
    (0..count).for_each(|_| stage.turn());
}

pub fn permit(stage: &Stage, at: usize, permit: Permit) {
    stage.talkers[at].shared.settings.set_permit(permit);
}

pub fn attend(stage: &mut Stage, at: usize) {
    let command = Command::Attend(stage.talkers[at].id);
    stage.engine.apply(command, &mut stage.sink);
}

/// Number of the oldest packet that a tapped listener heard of a dated voice, each of whose samples
/// is its packet's number divided by 1,000.
pub fn oldest_heard(stage: &Stage, listener: usize) -> f64 {
    let heard = stage.heard(listener);
    // The first milliseconds fade in.
    let sound = heard.iter().position(|sample| sample.abs() > 0.0);
    let first = &heard[sound.expect("it is heard") + 480..];
    f64::from(first.iter().copied().fold(1.0, f32::min)) * 1_000.0
}

/// Builds a room of one talker with a dated voice and one tapped listener, both without a permit.
pub fn with_dated_voice() -> Stage {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_exact(1, |sample| (sample / 960) as f32 / 1_000.0);
    stage.join_tapped(2, |_| 0.0);
    permit(&stage, 0, Permit::Closed);
    permit(&stage, 1, Permit::Closed);
    stage
}
