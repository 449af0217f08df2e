//! Links, monitoring and personal gains: what members hear besides the contributors of their room.
//!
//! The room's feed holds the local bus. All members of a room hear the linked rooms, so the voices
//! of these rooms are on the total bus. Rooms that a single member monitors are added to this
//! member's mix.

use std::sync::Arc;

use super::{Room, RoomSettings};
use crate::mix::gains::GainChange;
use crate::mix::links::LinkChange;
use crate::mix::render::{blend, fade};
use crate::monitor::{Feed, FeedWriter, TickSpan};
use crate::monitor::{MonitorChange, MonitorMix};
use crate::output::OutputStream;
use crate::output::Retired;
use crate::output::Sink;
use crate::packet::Sources;
use crate::room::groups::{Groups, Hearing};
use crate::room::interned::{Interned, Part};
use crate::room::members::{Member, Members, Shares, sources_of};

/// A room's connections to other rooms.
#[derive(Debug, Default)]
pub(super) struct OtherRooms {
    /// Writes the room's own voices to its feed, if other rooms may listen.
    feed_writer: Option<FeedWriter>,
    /// The linked rooms, which every member hears.
    links: Option<Box<MonitorMix>>,
    /// The previously linked rooms, for the cross-fade of the next tick.
    link_change: Option<Box<LinkChange>>,
    /// Who is heard from the linked rooms this tick.
    linked: Option<Sources>,
    /// Whether somebody from another room is heard this tick.
    pub(super) is_heard: bool,
}

/// Links, monitoring and personal gains; each method is real-time safe.
impl Room {
    /// Sets the feed through which other rooms hear this room, or removes it with `None`. Returns
    /// the feed that is not needed: the previous one, or `feed` itself if it does not fit the room.
    pub(crate) fn set_feed(&mut self, feed: Option<Arc<Feed>>) -> Option<Arc<Feed>> {
        let settings = self.settings;
        let feed_writer =
            match feed.map(|feed| FeedWriter::new(feed, settings.layout, settings.tick)) {
                Some(Ok(feed_writer)) => Some(feed_writer),
                Some(Err(feed)) => return Some(feed),
                None => None,
            };
        let before = core::mem::replace(&mut self.other_rooms.feed_writer, feed_writer);
        before.map(FeedWriter::into_feed)
    }

    /// Replaces the linked rooms, which every member hears. Returns the box unless the next tick
    /// needs the previous rooms in it for a cross-fade.
    pub(crate) fn set_links(&mut self, mut change: Box<LinkChange>) -> Option<Box<LinkChange>> {
        if !self.accepts(change.links.as_deref()) {
            return Some(change);
        }
        core::mem::swap(&mut self.other_rooms.links, &mut change.links);
        self.buses.accept_total(&mut change.total);
        if self.other_rooms.link_change.is_some() {
            return Some(change);
        }
        if self.members.is_empty() {
            self.release_total(&mut change);
            return Some(change);
        }
        self.other_rooms.link_change = Some(change);
        None
    }

    /// Gives the total bus back with a change that has removed all links.
    fn release_total(&mut self, change: &mut LinkChange) {
        if self.other_rooms.links.is_none() {
            change.total = self.buses.release_total();
        }
    }

    /// Replaces the rooms that the member at `place` monitors. Returns the box unless the next tick
    /// needs the previous rooms in it for a cross-fade.
    ///
    /// # Errors
    /// Returns the change itself if it was built for another layout or tick, if the member is sent
    /// nothing, or if the member needs a stream of its own and the change brought none.
    pub(crate) fn set_monitors(
        &mut self,
        place: usize,
        monitor_change: Box<MonitorChange>,
    ) -> Result<Option<Box<MonitorChange>>, Box<MonitorChange>> {
        if !self.accepts(monitor_change.monitors.as_deref()) {
            return Err(monitor_change);
        }
        let Members { list, shares, .. } = &mut self.members;
        let Shares {
            groups, monitors, ..
        } = &mut **shares;
        set_part(monitors, groups, list, place, monitor_change, Change::Fades)
    }

    /// Replaces the personal gains of the member at `place`. Returns the box unless the next tick
    /// needs the previous gains in it for a ramp.
    ///
    /// # Errors
    /// Returns the change itself if the member is sent nothing, or if the member needs a stream of
    /// its own and the change brought none.
    pub(crate) fn set_gains(
        &mut self,
        place: usize,
        change: Box<GainChange>,
    ) -> Result<Option<Box<GainChange>>, Box<GainChange>> {
        let Members { list, shares, .. } = &mut self.members;
        let Shares { groups, gains, .. } = &mut **shares;
        let own = list.get(place).map(|it| &it.participant.stream);
        let is_new = own.is_some_and(|own| own.as_deref().is_some_and(OutputStream::is_new));
        let how = if is_new {
            Change::AtOnce
        } else {
            Change::Fades
        };
        set_part(gains, groups, list, place, change, how)
    }

    /// Whether other rooms may hear this room.
    pub(super) fn feeds_others(&self) -> bool {
        self.other_rooms.feed_writer.is_some()
    }

    /// Whether voices of other rooms may have to wake this room.
    pub(crate) fn listens_to_other_rooms(&self) -> bool {
        let has_ears = self.other_rooms.links.is_some() || !self.members.shares.monitors.is_empty();
        has_ears && !self.members.is_empty()
    }

    /// Whether somebody in another room may be heard in the tick at `at`. A sleeping room asks this
    /// instead of ticking.
    pub(crate) fn may_hear_others(&self, at: u64) -> bool {
        #[cfg(any(test, feature = "fault-injection"))]
        self.give_way(crate::room::Weakness::Call);
        let place = self.place(at);
        let list = &self.members.list;
        let mut leaders = self.members.shares.monitors.leaders();
        let links = &self.other_rooms.links;
        links
            .as_ref()
            .is_some_and(|links| links.may_hear_others(place))
            || leaders.any(|leader| {
                let monitors = &list[leader].participant.monitors;
                monitors
                    .as_ref()
                    .is_some_and(|monitors| monitors.may_hear_others(place))
            })
    }

    /// Writes the local bus to the room's feed, sums it with the linked rooms, and sums the rooms
    /// that members monitor.
    ///
    /// - `at`: the tick's first sample on the media clock.
    pub(super) fn hear_other_rooms(&mut self, at: u64) {
        let place = self.place(at);
        if let Some(feed_writer) = &mut self.other_rooms.feed_writer {
            let own = sources_of(&self.members.ranks);
            feed_writer.write_tick(at, self.buses.local().map(|voices| (voices, &own)));
        }
        self.hear_linked(place);
        let linked = self.other_rooms.linked.is_some();
        let monitors_are_heard = self.sum_monitors(place, linked || self.buses.contributors() > 0);
        self.other_rooms.is_heard = linked || monitors_are_heard;
    }

    fn hear_linked(&mut self, place: TickSpan) {
        let OtherRooms {
            links,
            link_change,
            linked,
            ..
        } = &mut self.other_rooms;
        *linked = None;
        if links.is_none() && link_change.is_none() {
            return;
        }
        let before = (link_change.as_mut()).and_then(|change| change.links.as_mut());
        for monitors in [before, links.as_mut()].into_iter().flatten() {
            monitors.sum_tick(place, false);
        }
        let links = links.as_deref();
        let mix = &mut self.mix;
        let sounds = match link_change {
            None => blend(links, false, mix),
            Some(before) => fade(links, before.links.as_deref(), false, mix, &mut self.spare),
        };
        if !sounds {
            return;
        }
        self.buses.add_linked(mix);
        let sources = links
            .and_then(MonitorMix::heard)
            .map(|(_, sources)| *sources);
        *linked = Some(sources.unwrap_or_default());
    }

    /// Sums each distinct list of monitored rooms once. Returns whether anybody is heard in one of
    /// them.
    fn sum_monitors(&mut self, place: TickSpan, home_is_heard: bool) -> bool {
        let Self { members, .. } = self;
        let mut is_heard = false;
        for leader in members.shares.monitors.leaders() {
            if let Some(monitors) = &mut members.list[leader].participant.monitors {
                monitors.sum_tick(place, home_is_heard);
                is_heard |= monitors.heard().is_some();
            }
        }
        if members.shares.monitors.changing > 0 {
            for member in &mut members.list {
                let monitor_change = member.participant.monitor_change.as_mut();
                if let Some(monitors) =
                    monitor_change.and_then(|monitor_change| monitor_change.monitors.as_mut())
                {
                    monitors.sum_tick(place, home_is_heard);
                    is_heard |= monitors.heard().is_some();
                }
            }
        }
        is_heard
    }

    /// Retires the links, monitored rooms and personal gains that this tick has faded out.
    pub(super) fn retire_changes(&mut self, sink: &mut dyn Sink) {
        if let Some(mut change) = self.other_rooms.link_change.take() {
            self.release_total(&mut change);
            sink.retired(Retired::owned(change));
        }
        let Shares {
            monitors, gains, ..
        } = &mut *self.members.shares;
        if core::mem::take(&mut monitors.changing) + core::mem::take(&mut gains.changing) == 0 {
            return;
        }
        for member in &mut self.members.list {
            if let Some(monitor_change) = member.participant.monitor_change.take() {
                sink.retired(Retired::owned(monitor_change));
            }
            if let Some(change) = member.participant.gain_change.take() {
                sink.retired(Retired::owned(change));
            }
        }
    }

    /// Everybody heard on the bus, linked rooms included, loudest first.
    pub(super) fn everyone(&self) -> Sources {
        let own = sources_of(&self.members.ranks);
        match &self.other_rooms.linked {
            Some(linked) => own.with(linked, 0.0),
            None => own,
        }
    }

    /// Who is heard from the linked rooms; `None` if nobody is.
    pub(super) fn linked(&self) -> Option<Sources> {
        self.other_rooms.linked
    }

    fn accepts(&self, monitors: Option<&MonitorMix>) -> bool {
        let RoomSettings { layout, tick, .. } = self.settings;
        monitors.is_none_or(|monitors| monitors.format() == (layout, tick))
    }

    fn place(&self, at: u64) -> TickSpan {
        TickSpan {
            at,
            tick: self.settings.tick,
        }
    }
}

/// How a new list replaces the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// By a cross-fade within the next tick.
    Fades,
    /// Without a cross-fade, since the listener has heard nothing yet.
    AtOnce,
}

/// Gives the member at `place` a new list of one kind, and a stream of its own if it leaves a
/// listener group for that. Returns the box unless the next tick needs the previous list in it.
///
/// # Errors
/// Returns the change itself if the member is sent nothing, or if the member needs a stream of its
/// own and the change brought none.
fn set_part<T: Part>(
    parts: &mut Interned<T>,
    groups: &mut Groups,
    list: &mut [Member],
    place: usize,
    mut change: Box<T::Change>,
    how: Change,
) -> Result<Option<Box<T::Change>>, Box<T::Change>> {
    if list
        .get(place)
        .is_none_or(|it| it.hearing == Hearing::Nothing)
    {
        return Err(change);
    }
    let is_same = match (parts.of(list, place), T::list_of(&change)) {
        (Some(before), Some(now)) => before.is_like(now),
        (before, now) => before.is_none() && now.is_none(),
    };
    if is_same {
        return Ok(Some(change));
    }
    let spare = T::stream_of(&mut change).take();
    match groups.split_with(list, place, spare) {
        Ok(unneeded) => *T::stream_of(&mut change) = unneeded,
        Err(spare) => {
            *T::stream_of(&mut change) = spare;
            return Err(change);
        }
    }
    match how {
        Change::Fades => Ok(parts.change(list, place, change)),
        Change::AtOnce => Ok(Some(parts.replace(list, place, change))),
    }
}
