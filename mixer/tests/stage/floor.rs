//! A room with a floor: who sends when, and what was said when.

use mixer::command::Command;
use mixer::permit::Permit;
use mixer::room::RoomSettings;
use mixer::units::Level;

use super::Stage;

/// 20 ms in which those send whose places are named; a media clock goes on all the same.
pub fn turn(stage: &mut Stage, sends: impl Fn(usize) -> bool) {
    turn_with(stage, sends, |_| false);
}

/// [`turn`], but some of them call their packets silent.
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

/// So many times 20 ms in which everybody speaks.
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

/// What a tapped listener hears of the permits of one voice that tells when it was spoken: every
/// sample of it is its packet's number, in thousandths.
pub fn oldest_heard(stage: &Stage, listener: usize) -> f64 {
    let heard = stage.heard(listener);
    // The first milliseconds fade in.
    let sound = heard.iter().position(|sample| sample.abs() > 0.0);
    let first = &heard[sound.expect("it is heard") + 480..];
    f64::from(first.iter().copied().fold(1.0, f32::min)) * 1_000.0
}

/// One talker with a dated voice and one tapped listener, both without a permit.
pub fn with_dated_voice() -> Stage {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_exact(1, |sample| (sample / 960) as f32 / 1_000.0);
    stage.join_tapped(2, |_| 0.0);
    permit(&stage, 0, Permit::Closed);
    permit(&stage, 1, Permit::Closed);
    stage
}
