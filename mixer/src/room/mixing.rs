//! Renders the mix of every stream of a room, once per tick.

use super::Room;
use crate::codec::loss_class;
use crate::frame::Frame;
use crate::mix::PlayingTone;
use crate::mix::render::{Ingredients, OwnVoice, Renderer};
use crate::output::{MixedTick, TickInstant, Tuning};
use crate::packet::Sources;
use crate::room::members::{Member, Members, RoomVoices, Shares};
use crate::room::telemetry::TickStats;

impl Room {
    /// Renders the mix of every stream in use: first the group streams, then the private ones.
    /// Records which streams have a packet to encode.
    pub(super) fn mix(&mut self, instant: TickInstant, cap: u8, stats: &mut TickStats) {
        let everyone = self.everyone();
        let linked = self.linked();
        let Members {
            list,
            ranks,
            due,
            shares,
            ..
        } = &mut self.members;
        due.clear();
        shares.groups.tune(list, cap);
        let groups = shares.groups.leaders().map(|leader| (leader, true));
        let singles = (0..list.len()).map(|place| (place, false));
        for (place, leads) in groups.chain(singles) {
            let member = &mut list[place];
            if !leads && !member.has_own_stream() {
                continue;
            }
            let Some(mut stream) = member.participant.stream.take() else {
                // Another thread is still encoding this stream.
                stats.encodes_skipped += u64::from(!leads);
                continue;
            };
            if !leads {
                stream.tune(Tuning {
                    loss_percent: loss_class(member.participant.shared.settings.loss_percent()),
                    complexity_cap: cap,
                });
            }
            let mut private_source = member.tone.take();
            let renderer = Renderer {
                buses: &self.buses,
                frames: RoomVoices { list, ranks },
                on_bus: &shares.on_bus,
                everyone: &everyone,
                linked,
            };
            let ingredients = ingredients(list, place, shares, &mut private_source);
            let heard = renderer.render(ingredients, &mut self.mix, &mut self.spare);
            if stream.gather(instant, mix_of(&heard, &mut self.mix)) {
                due.push(place);
            }
            list[place].tone = private_source;
            list[place].participant.stream = Some(stream);
        }
    }
}

/// Collects what the mix of the member at `place` is made of.
fn ingredients<'a>(
    list: &'a [Member],
    place: usize,
    shares: &Shares,
    private_source: &'a mut Option<PlayingTone>,
) -> Ingredients<'a> {
    let member = &list[place];
    let participant = &*member.participant;
    let strip = participant.strip.as_deref().filter(|_| member.in_mix);
    let (monitor_change, gain_change) = (&participant.monitor_change, &participant.gain_change);
    Ingredients {
        base: member.base,
        own: strip.map(|strip| OwnVoice {
            id: member.id,
            frame: strip.frame(),
        }),
        gains: shares.gains.of(list, place),
        gains_before: gain_change.as_ref().map(|it| it.gains.as_deref()),
        monitors: shares.monitors.of(list, place),
        monitors_before: monitor_change.as_ref().map(|it| it.monitors.as_deref()),
        private_source,
    }
}

fn mix_of<'a>(heard: &'a Option<Sources>, frame: &'a mut Frame) -> MixedTick<'a> {
    match heard {
        None => MixedTick::Silent,
        Some(sources) => MixedTick::Sound { frame, sources },
    }
}
