//! Floor invariants under random requests, releases, timeouts, losses, leaves and mode changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

/// A floor that is checked after every input.
pub(super) struct Watched {
    pub(super) floor: Floor,
    now: Instant,
    /// Participants that were told that their requests wait, but not yet whether the requests were
    /// granted or denied.
    waiting: BTreeSet<ParticipantId>,
    /// Bursts that have not ended.
    bursts: BTreeMap<u32, Burst>,
    /// For each waiting request: its precedence, whether it is called, and its number in the order
    /// of arrival.
    places: BTreeMap<ParticipantId, (Precedence, bool, u64)>,
    count: u64,
}

/// The observable state of a burst.
#[derive(Debug, Clone, Copy)]
struct Burst {
    by: ParticipantId,
    precedence: Precedence,
    /// Time of the grant, or of the last packet.
    heard: Instant,
    began: Option<Instant>,
    ending: Option<Instant>,
    draining: bool,
}

const STEP: Duration = Duration::from_millis(20);

impl Watched {
    pub(super) fn new(mode: Mode) -> Watched {
        let settings = Settings {
            mode,
            talk_limit: Some(Duration::from_secs(10)),
            queue_limit: 4,
            ..Settings::default()
        };
        Watched {
            floor: Floor::new(settings),
            now: Instant::now(),
            waiting: BTreeSet::new(),
            bursts: BTreeMap::new(),
            places: BTreeMap::new(),
            count: 0,
        }
    }

    pub(super) fn join(&mut self, id: ParticipantId, talks: bool, priority: u8) {
        if !self.floor.participants.contains_key(&id) {
            self.floor.join(id, talks, priority);
        }
        self.look();
    }

    pub(super) fn leave(&mut self, id: ParticipantId) {
        self.waiting.remove(&id);
        self.floor.leave(id, self.now);
        self.look();
    }

    pub(super) fn request(&mut self, id: ParticipantId, request: Request) -> Answer {
        let waited = self.floor.queue.contains(id);
        let answer = self.floor.request(id, request, self.now);
        match answer {
            Answer::Queued(position) => {
                assert_eq!(self.floor.position(id), position);
                self.waiting.insert(id);
            }
            Answer::Granted(grant) => {
                self.waiting.remove(&id);
                let held = self.floor.standing(id, self.now) == Standing::Granted(grant);
                assert!(held || grant.burst == 0);
            }
            Answer::Denied(_) => {
                assert!(!waited, "a place in the queue is kept");
            }
        }
        self.look();
        answer
    }

    pub(super) fn release(&mut self, id: ParticipantId) {
        self.waiting.remove(&id);
        self.floor.release(id, self.now);
        let standing = self.floor.standing(id, self.now);
        assert_eq!(standing, Standing::None);
        self.look();
    }

    pub(super) fn grant(&mut self, by: ParticipantId, to: ParticipantId) {
        // Whether the grant is possible is the floor's decision.
        let _ = self.floor.grant(by, to, self.now);
        self.look();
    }

    pub(super) fn media(&mut self, id: ParticipantId, voiced: bool) {
        for burst in self.bursts.values_mut().filter(|burst| burst.by == id) {
            burst.heard = self.now;
            burst.began.get_or_insert(self.now);
        }
        self.floor.media(id, voiced, self.now);
        // A talker in a room with an implicit floor may be queued without an answer, because it
        // sent no request message.
        if self.floor.settings.implicit && self.floor.queue.contains(id) {
            self.waiting.insert(id);
        }
        self.look();
    }

    pub(super) fn drained(&mut self, id: ParticipantId) {
        self.floor.drained(id, self.now);
        self.look();
    }

    fn mute(&mut self, id: ParticipantId) {
        self.floor.mute(id, self.now);
        assert_eq!(self.floor.standing(id, self.now), Standing::None);
        self.look();
    }

    fn unmute(&mut self, id: ParticipantId) {
        self.floor.unmute(id);
        self.look();
    }

    fn overhear(&mut self, overheard: bool) {
        self.floor.set_overheard(overheard, self.now);
        self.look();
    }

    pub(super) fn set(&mut self, mode: Mode, implicit: bool) {
        let settings = Settings {
            mode,
            implicit,
            ..*self.floor.settings()
        };
        self.floor.set(settings, self.now);
        self.look();
    }

    pub(super) fn step(&mut self) {
        self.now += STEP;
        self.floor.tick(self.now);
        self.look();
        let settings = *self.floor.settings();
        for burst in self.bursts.values() {
            let since = |at: Instant| self.now - at;
            assert!(
                burst.draining || since(burst.heard) < settings.end_of_media,
                "nobody is kept waiting by one who sends nothing: {burst:?}"
            );
            let limit = settings.talk_limit.expect("it is set");
            let over = burst.began.is_some_and(|began| since(began) > limit);
            assert!(!over || burst.ending.is_some(), "too long: {burst:?}");
            let ended = burst.ending.is_some_and(|at| since(at) > settings.grace);
            assert!(!ended, "past the grace: {burst:?}");
        }
    }

    /// Checks the invariants that must hold at any time.
    fn look(&mut self) {
        let before: BTreeMap<u32, Precedence> = self
            .bursts
            .iter()
            .map(|(number, burst)| (*number, burst.precedence))
            .collect();
        self.note_holders();
        let actions = self.floor.take_actions();
        for action in &actions {
            self.hear(action, &before);
        }
        self.look_at_holders();
        self.look_at_queue();
        self.look_at_permits(&actions);
    }

    fn note_holders(&mut self) {
        let now = self.now;
        let mut bursts = BTreeMap::new();
        for holder in &self.floor.holders {
            let mut burst = self.bursts.get(&holder.burst).copied().unwrap_or(Burst {
                by: holder.participant,
                precedence: holder.precedence,
                heard: now,
                began: None,
                ending: None,
                draining: false,
            });
            burst.precedence = holder.precedence;
            burst.draining = holder.is_draining();
            if holder.is_taken() {
                burst.ending = None;
            } else {
                burst.ending.get_or_insert(now);
            }
            bursts.insert(holder.burst, burst);
        }
        self.bursts = bursts;
    }

    fn hear(&mut self, action: &Action, before: &BTreeMap<u32, Precedence>) {
        match *action {
            Action::Granted(id, _) | Action::Denied(id, _) => {
                self.waiting.remove(&id);
            }
            Action::Revoked {
                burst,
                cause: RevokeCause::MediaBurstPreempted,
                ..
            } if self.floor.settings.mode != Mode::CutIn => {
                let beaten = before.get(&burst).copied().unwrap_or_default();
                let waiting = self.floor.queue.iter().map(|it| it.precedence);
                let holding = self.floor.holders.iter().map(|it| it.precedence);
                let best = waiting.chain(holding).max();
                assert!(best > Some(beaten), "pre-emption only upward");
            }
            _ => {}
        }
    }

    fn look_at_holders(&self) {
        let mode = self.floor.settings.mode;
        let holders = &self.floor.holders;
        assert!(holders.len() <= mode.size(), "{mode}: {holders:?}");
        let who: BTreeSet<ParticipantId> = holders.iter().map(|it| it.participant).collect();
        assert_eq!(who.len(), holders.len(), "nobody twice");
        assert!(
            who.iter()
                .all(|id| self.floor.participants.contains_key(id))
        );
        let is_muted =
            |id: &ParticipantId| self.floor.participants.get(id).is_some_and(|it| it.muted);
        assert!(!who.iter().any(is_muted), "nobody who is muted holds it");
        assert!(!self.floor.queue().any(|id| is_muted(&id)), "or waits");
        let free = holders.len() < mode.size();
        let stuck = free && mode != Mode::Moderated && !self.floor.queue.is_empty();
        assert!(!stuck, "nobody waits for a floor that is free");
    }

    fn look_at_queue(&mut self) {
        let queue: BTreeSet<ParticipantId> = self.floor.queue().collect();
        assert_eq!(queue.len(), self.floor.queue.len(), "nobody twice");
        assert_eq!(queue, self.waiting, "every request is answered");
        self.places.retain(|id, _| queue.contains(id));
        for waiting in self.floor.queue.iter() {
            let taken = (waiting.precedence, waiting.called);
            let place = self.places.get(&waiting.participant);
            if place.is_none_or(|place| (place.0, place.1) != taken) {
                self.count += 1;
                let place = (taken.0, taken.1, self.count);
                self.places.insert(waiting.participant, place);
            }
        }
        let places: Vec<_> = self
            .floor
            .queue()
            .map(|id| self.places[&id])
            .map(|(precedence, called, count)| (!called, std::cmp::Reverse(precedence), count))
            .collect();
        assert!(places.is_sorted(), "priority, then arrival: {places:?}");
    }

    fn look_at_permits(&self, actions: &[Action]) {
        let everybody = actions.contains(&Action::Permits);
        for (id, participant) in &self.floor.participants {
            let permit = self.floor.permit(*id);
            assert_eq!(participant.permit, permit, "the mixer knows");
            let open = self.floor.settings.mode == Mode::Open;
            assert_eq!(permit == Permit::Free, open);
            let last = actions.iter().rev().find_map(|action| match action {
                Action::Permit(to, permit) if to == id => Some(*permit),
                _ => None,
            });
            assert!(everybody || last.is_none_or(|last| last == permit));
        }
    }

    /// Lets all participants fall silent, and checks that in the end no participant waits or holds
    /// the floor.
    pub(super) fn comes_to_rest(&mut self) {
        if self.floor.settings.mode == Mode::Moderated {
            self.set(Mode::Ptt, false);
        }
        let requests = self.floor.queue.len() + self.floor.holders.len();
        // In the longest case each request is granted and its floor not used; a burst is never both
        // revoked and drained.
        for _ in 0..requests * 150 + 200 {
            self.step();
        }
        assert!(self.floor.holders.is_empty(), "{:?}", self.floor.holders);
        assert!(self.floor.queue.is_empty());
        assert!(self.waiting.is_empty());
    }
}

/// One random input.
#[derive(Debug, Clone)]
enum Input {
    Join(ParticipantId, bool, u8),
    Leave(ParticipantId),
    Request(ParticipantId, Request),
    Release(ParticipantId),
    /// Talks for this many ticks.
    Talk(ParticipantId, u16),
    Noise(ParticipantId),
    Drained(ParticipantId),
    Grant(ParticipantId, ParticipantId),
    Set(Mode, bool),
    Overhear(bool),
    Mute(ParticipantId),
    Unmute(ParticipantId),
    /// No participant sends a packet for this many ticks.
    Pass(u16),
}

impl Input {
    fn put_into(self, watched: &mut Watched) {
        match self {
            Input::Join(id, talks, priority) => watched.join(id, talks, priority),
            Input::Leave(id) => watched.leave(id),
            Input::Request(id, request) => {
                watched.request(id, request);
            }
            Input::Release(id) => watched.release(id),
            Input::Talk(id, ticks) => {
                for _ in 0..ticks {
                    watched.media(id, true);
                    watched.step();
                }
            }
            Input::Noise(id) => watched.media(id, false),
            Input::Drained(id) => watched.drained(id),
            Input::Grant(by, to) => watched.grant(by, to),
            Input::Set(mode, implicit) => watched.set(mode, implicit),
            Input::Overhear(overheard) => watched.overhear(overheard),
            Input::Mute(id) => watched.mute(id),
            Input::Unmute(id) => watched.unmute(id),
            Input::Pass(ticks) => (0..ticks).for_each(|_| watched.step()),
        }
    }
}

fn anybody() -> impl Strategy<Value = ParticipantId> {
    (0_u32..8).prop_map(ParticipantId)
}

fn any_mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Open),
        Just(Mode::Ptt),
        (1_u16..4).prop_map(Mode::Multi),
        Just(Mode::CutIn),
        Just(Mode::Broadcast),
        Just(Mode::Moderated),
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    let tier = prop_oneof![
        6 => Just(Tier::Normal),
        1 => Just(Tier::Imminent),
        1 => Just(Tier::Emergency),
    ];
    let priority = prop_oneof![Just(None), (0_u8..4).prop_map(Some)];
    (priority, tier, prop::bool::weighted(0.8)).prop_map(|(priority, tier, queue)| Request {
        priority,
        tier,
        queue,
    })
}

fn any_input() -> impl Strategy<Value = Input> {
    let ticks = prop_oneof![4 => 1_u16..20, 1 => 20_u16..700];
    prop_oneof![
        2 => (anybody(), prop::bool::weighted(0.9), 0_u8..4)
            .prop_map(|(id, talks, priority)| Input::Join(id, talks, priority)),
        1 => anybody().prop_map(Input::Leave),
        8 => (anybody(), any_request()).prop_map(|(id, request)| Input::Request(id, request)),
        4 => anybody().prop_map(Input::Release),
        5 => (anybody(), ticks).prop_map(|(id, ticks)| Input::Talk(id, ticks)),
        1 => anybody().prop_map(Input::Noise),
        2 => anybody().prop_map(Input::Drained),
        2 => (anybody(), anybody()).prop_map(|(by, to)| Input::Grant(by, to)),
        1 => (any_mode(), any::<bool>()).prop_map(|(mode, implicit)| Input::Set(mode, implicit)),
        2 => any::<bool>().prop_map(Input::Overhear),
        1 => anybody().prop_map(Input::Mute),
        2 => anybody().prop_map(Input::Unmute),
        2 => (1_u16..200).prop_map(Input::Pass),
    ]
}

proptest! {
    #[test]
    fn floor_invariants_hold_after_any_sequence_of_inputs(
        mode in any_mode(),
        people in 1_u32..5,
        inputs in prop::collection::vec(any_input(), 1..80),
    ) {
        let mut watched = Watched::new(mode);
        for id in 0..people {
            watched.join(ParticipantId(id), true, id as u8);
        }
        for input in inputs {
            input.put_into(&mut watched);
        }
        watched.comes_to_rest();
    }
}
