//! What a room hears of others and lets them hear, and what single members hear otherwise than the room.
//!
//! Linked rooms are heard by everybody in it, so their voices go onto its bus, once its own have been
//! written to its feed. What single members scan is added to what they are sent.

use std::sync::Arc;

use super::{Room, RoomSettings};
use crate::mix::gains::GainChange;
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

/// A room's ways to others and from them.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// Where its own voices go, if anybody listens from another room.
    mouth: Option<Mouth>,
    /// The rooms that everybody in it hears.
    links: Option<Box<Scan>>,
    /// Those that were linked before, to be faded over at the next tick.
    relink: Option<Box<Rescan>>,
    /// Who is heard of the linked rooms this tick.
    linked: Option<Sources>,
    /// Somebody of another room is heard this tick.
    pub(super) is_heard: bool,
}

/// Each of these is real-time safe.
impl Room {
    /// Lets others hear what is said in it, or no longer; gives back what is not needed.
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

    /// Lets everybody in it hear these rooms and no others; gives back what is not needed.
    pub(crate) fn set_links(&mut self, mut links: Box<Rescan>) -> Option<Box<Rescan>> {
        if !self.accepts(&links) {
            return Some(links);
        }
        core::mem::swap(&mut self.elsewhere.links, &mut links.scan);
        if self.elsewhere.relink.is_some() || self.members.is_empty() {
            return Some(links);
        }
        self.elsewhere.relink = Some(links);
        None
    }

    /// Lets the one at `place` hear other rooms than before. What is not needed comes back.
    ///
    /// # Errors
    /// The scan itself, if it was made for another kind of room, or if the one at `place` is sent nothing,
    /// or has no stream to go on with and was given none.
    pub(crate) fn set_scan(
        &mut self,
        place: usize,
        rescan: Box<Rescan>,
    ) -> Result<Option<Box<Rescan>>, Box<Rescan>> {
        if !self.accepts(&rescan) {
            return Err(rescan);
        }
        let Members { list, shares, .. } = &mut self.members;
        let Shares {
            listeners, scans, ..
        } = &mut **shares;
        set_part(scans, listeners, list, place, rescan, Change::Fades)
    }

    /// Lets the one at `place` hear certain talkers louder, quieter or not at all. What is not needed comes back.
    ///
    /// # Errors
    /// The change itself, if the one at `place` is sent nothing, or has no stream to go on with and was given none.
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

    /// Whether other rooms may hear what is said in it.
    pub(super) fn feeds_others(&self) -> bool {
        self.elsewhere.mouth.is_some()
    }

    /// Whether it may have to wake for what is said elsewhere.
    pub(crate) fn listens_elsewhere(&self) -> bool {
        let has_ears = self.elsewhere.links.is_some() || !self.members.shares.scans.is_empty();
        has_ears && !self.members.is_empty()
    }

    /// Whether somebody elsewhere may be heard in a tick at `at`: asked in place of a tick.
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

    /// Writes what is said in it to its feed, adds the linked rooms to the bus and sums what members
    /// scan. Says how many voices are on the bus, all linked rooms counted as one.
    ///
    /// - `at`: the tick's first sample on the media clock.
    pub(super) fn hear_elsewhere(&mut self, at: u64, contributors: usize) -> usize {
        let place = self.place(at);
        if let Some(mouth) = &mut self.elsewhere.mouth {
            let own = sources_of(&self.members.ranks);
            let voices = (contributors > 0).then_some((self.bus.sum(), &own));
            mouth.speak(at, voices);
        }
        self.hear_linked(place, contributors);
        let linked = self.elsewhere.linked.is_some();
        let voices = contributors + usize::from(linked);
        let scanned = self.scan(place, voices > 0);
        self.elsewhere.is_heard = linked || scanned;
        voices
    }

    fn hear_linked(&mut self, place: Place, contributors: usize) {
        let Elsewhere {
            links,
            relink,
            linked,
            ..
        } = &mut self.elsewhere;
        *linked = None;
        if links.is_none() && relink.is_none() {
            return;
        }
        let before = relink.as_mut().and_then(|relink| relink.scan.as_mut());
        for scan in [before, links.as_mut()].into_iter().flatten() {
            scan.turn(place, false);
        }
        let links = links.as_deref();
        let mix = &mut self.mix;
        let sounds = match relink {
            None => blend(links, false, mix),
            Some(relink) => fade(links, relink.scan.as_deref(), false, mix, &mut self.spare),
        };
        if !sounds {
            return;
        }
        if contributors == 0 {
            self.bus.clear();
        }
        self.bus.add(mix);
        let sources = links.and_then(Scan::heard).map(|(_, sources)| *sources);
        *linked = Some(sources.unwrap_or_default());
    }

    /// Sums every scan once; whether anybody is heard in one.
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

    /// Gives back what was heard before the changes of this tick.
    pub(super) fn retire_changes(&mut self, sink: &mut dyn Sink) {
        if let Some(relink) = self.elsewhere.relink.take() {
            sink.retired(Retired::owned(relink));
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

    /// Who is on the bus, loudest first.
    pub(super) fn everyone(&self) -> Sources {
        let own = sources_of(&self.members.ranks);
        match &self.elsewhere.linked {
            Some(linked) => own.with(linked, 0.0),
            None => own,
        }
    }

    /// Who is heard of the linked rooms, if anybody is.
    pub(super) fn linked(&self) -> Option<Sources> {
        self.elsewhere.linked
    }

    fn accepts(&self, rescan: &Rescan) -> bool {
        let RoomSettings { layout, tick, .. } = self.settings;
        let scan = rescan.scan.as_ref();
        scan.is_none_or(|scan| scan.fits(layout, tick))
    }

    fn place(&self, at: u64) -> Place {
        Place {
            at,
            tick: self.settings.tick,
        }
    }
}

/// How a list takes the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Within the next tick.
    Fades,
    /// The listener has heard nothing yet.
    AtOnce,
}

/// Gives the member at `place` another list of one kind, and a stream of its own if its group's does not hear that. What
/// is not needed comes back.
///
/// # Errors
/// The change itself, if the member is sent nothing, or has no stream to go on with and was given none.
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
