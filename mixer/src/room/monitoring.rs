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
use crate::monitor::{Feed, Mouth, Place};
use crate::monitor::{Rescan, Scan};
use crate::output::Listener;
use crate::output::Retired;
use crate::output::Sink;
use crate::packet::Sources;
use crate::room::groups::{Hearing, Listeners};
use crate::room::interned::{Interned, Part};
use crate::room::members::{Member, Members, Shares, sources_of};

/// A room's connections to other rooms.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// Writes the room's own voices to its feed, if other rooms may listen.
    mouth: Option<Mouth>,
    /// The linked rooms, which every member hears.
    links: Option<Box<Scan>>,
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
        let mouth = match feed.map(|feed| Mouth::new(feed, settings.layout, settings.tick)) {
            Some(Ok(mouth)) => Some(mouth),
            Some(Err(feed)) => return Some(feed),
            None => None,
        };
        let before = core::mem::replace(&mut self.elsewhere.mouth, mouth);
        before.map(Mouth::into_feed)
    }

    /// Replaces the linked rooms, which every member hears. Returns the box unless the next tick
    /// needs the previous rooms in it for a cross-fade.
    pub(crate) fn set_links(&mut self, mut change: Box<LinkChange>) -> Option<Box<LinkChange>> {
        if !self.accepts(change.links.as_deref()) {
            return Some(change);
        }
        core::mem::swap(&mut self.elsewhere.links, &mut change.links);
        self.buses.accept_total(&mut change.total);
        if self.elsewhere.link_change.is_some() {
            return Some(change);
        }
        if self.members.is_empty() {
            self.release_total(&mut change);
            return Some(change);
        }
        self.elsewhere.link_change = Some(change);
        None
    }

    /// Gives the total bus back with a change that has removed all links.
    fn release_total(&mut self, change: &mut LinkChange) {
        if self.elsewhere.links.is_none() {
            change.total = self.buses.release_total();
        }
    }

    /// Replaces the rooms that the member at `place` monitors. Returns the box unless the next tick
    /// needs the previous scan in it for a cross-fade.
    ///
    /// # Errors
    /// Returns the change itself if it was built for another layout or tick, if the member is sent
    /// nothing, or if the member needs a stream of its own and the change brought none.
    pub(crate) fn set_scan(
        &mut self,
        place: usize,
        rescan: Box<Rescan>,
    ) -> Result<Option<Box<Rescan>>, Box<Rescan>> {
        if !self.accepts(rescan.scan.as_deref()) {
            return Err(rescan);
        }
        let Members { list, shares, .. } = &mut self.members;
        let Shares {
            listeners, scans, ..
        } = &mut **shares;
        set_part(scans, listeners, list, place, rescan, Change::Fades)
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
        let Shares {
            listeners, gains, ..
        } = &mut **shares;
        let own = list.get(place).map(|it| &it.participant.listener);
        let is_new = own.is_some_and(|own| own.as_deref().is_some_and(Listener::is_new));
        let how = if is_new {
            Change::AtOnce
        } else {
            Change::Fades
        };
        set_part(gains, listeners, list, place, change, how)
    }

    /// Whether other rooms may hear this room.
    pub(super) fn feeds_others(&self) -> bool {
        self.elsewhere.mouth.is_some()
    }

    /// Whether voices of other rooms may have to wake this room.
    pub(crate) fn listens_elsewhere(&self) -> bool {
        let has_ears = self.elsewhere.links.is_some() || !self.members.shares.scans.is_empty();
        has_ears && !self.members.is_empty()
    }

    /// Whether somebody in another room may be heard in the tick at `at`; a sleeping room asks this
    /// instead of ticking.
    pub(crate) fn is_called(&self, at: u64) -> bool {
        #[cfg(any(test, feature = "fault-injection"))]
        self.give_way(crate::room::Weakness::Call);
        let place = self.place(at);
        let list = &self.members.list;
        let mut leaders = self.members.shares.scans.leaders();
        let links = &self.elsewhere.links;
        links.as_ref().is_some_and(|links| links.is_called(place))
            || leaders.any(|leader| {
                let scan = &list[leader].participant.scan;
                scan.as_ref().is_some_and(|scan| scan.is_called(place))
            })
    }

    /// Writes the local bus to the room's feed, sums it with the linked rooms, and sums the rooms
    /// that members monitor.
    ///
    /// - `at`: the tick's first sample on the media clock.
    pub(super) fn hear_elsewhere(&mut self, at: u64) {
        let place = self.place(at);
        if let Some(mouth) = &mut self.elsewhere.mouth {
            let own = sources_of(&self.members.ranks);
            mouth.speak(at, self.buses.local().map(|voices| (voices, &own)));
        }
        self.hear_linked(place);
        let linked = self.elsewhere.linked.is_some();
        let scanned = self.scan(place, linked || self.buses.contributors() > 0);
        self.elsewhere.is_heard = linked || scanned;
    }

    fn hear_linked(&mut self, place: Place) {
        let Elsewhere {
            links,
            link_change,
            linked,
            ..
        } = &mut self.elsewhere;
        *linked = None;
        if links.is_none() && link_change.is_none() {
            return;
        }
        let before = (link_change.as_mut()).and_then(|change| change.links.as_mut());
        for scan in [before, links.as_mut()].into_iter().flatten() {
            scan.turn(place, false);
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
        let sources = links.and_then(Scan::heard).map(|(_, sources)| *sources);
        *linked = Some(sources.unwrap_or_default());
    }

    /// Sums the monitored rooms of each distinct scan once; returns whether anybody is heard there.
    fn scan(&mut self, place: Place, home_is_heard: bool) -> bool {
        let Self { members, .. } = self;
        let mut is_heard = false;
        for leader in members.shares.scans.leaders() {
            if let Some(scan) = &mut members.list[leader].participant.scan {
                scan.turn(place, home_is_heard);
                is_heard |= scan.heard().is_some();
            }
        }
        if members.shares.scans.changing > 0 {
            for member in &mut members.list {
                let rescan = member.participant.rescan.as_mut();
                if let Some(scan) = rescan.and_then(|rescan| rescan.scan.as_mut()) {
                    scan.turn(place, home_is_heard);
                    is_heard |= scan.heard().is_some();
                }
            }
        }
        is_heard
    }

    /// Retires the links, scans and gains that this tick has faded out.
    pub(super) fn retire_changes(&mut self, sink: &mut dyn Sink) {
        if let Some(mut change) = self.elsewhere.link_change.take() {
            self.release_total(&mut change);
            sink.retired(Retired::owned(change));
        }
        let Shares { scans, gains, .. } = &mut *self.members.shares;
        if core::mem::take(&mut scans.changing) + core::mem::take(&mut gains.changing) == 0 {
            return;
        }
        for member in &mut self.members.list {
            if let Some(rescan) = member.participant.rescan.take() {
                sink.retired(Retired::owned(rescan));
            }
            if let Some(change) = member.participant.gain_change.take() {
                sink.retired(Retired::owned(change));
            }
        }
    }

    /// Everybody heard on the bus, linked rooms included, loudest first.
    pub(super) fn everyone(&self) -> Sources {
        let own = sources_of(&self.members.ranks);
        match &self.elsewhere.linked {
            Some(linked) => own.with(linked, 0.0),
            None => own,
        }
    }

    /// Who is heard from the linked rooms; `None` if nobody is.
    pub(super) fn linked(&self) -> Option<Sources> {
        self.elsewhere.linked
    }

    fn accepts(&self, scan: Option<&Scan>) -> bool {
        let RoomSettings { layout, tick, .. } = self.settings;
        scan.is_none_or(|scan| scan.format() == (layout, tick))
    }

    fn place(&self, at: u64) -> Place {
        Place {
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
    groups: &mut Listeners,
    list: &mut [Member],
    place: usize,
    mut change: Box<T::Change>,
    how: Change,
) -> Result<Option<Box<T::Change>>, Box<T::Change>> {
    if list.get(place).is_none_or(|it| it.hearing == Hearing::Deaf) {
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
