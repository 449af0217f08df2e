//! Checks the invariants of every room repeatedly, and reports violations.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{World, name};
use crate::{END_OF_MEDIA, GRACE, LONGEST_DRAIN, SLACK, TALK_LIMIT};

/// The most time that a gap between two checks of the rooms adds to the observed time: what lasted
/// through a stall of the machine was not observed.
const LONGEST_GAP: Duration = Duration::from_secs(1);

pub struct InvariantCheck<'a> {
    world: &'a World,
    /// The time for which the rooms have been observed.
    watched: Duration,
    looked: Instant,
    /// When each room was last checked, since the start.
    seen_at: Vec<Duration>,
    /// The states that every check has found since the given time.
    since: HashMap<Sight, Since>,
}

/// A state that a room may be in only for a limited time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Sight {
    Holds {
        room: usize,
        who: String,
        burst: u64,
    },
    HoldsAndSendsNothing {
        room: usize,
        who: String,
        burst: u64,
    },
    WaitsAtAFreeFloor {
        room: usize,
    },
    IsHeardWithoutTheFloor {
        room: usize,
        who: String,
    },
    IsHeardAndSendsNothing {
        room: usize,
        who: String,
    },
    IsNotHeardInAnOpenRoom {
        room: usize,
        who: String,
    },
}

struct Since {
    at: Duration,
    look: u64,
    told: bool,
}

impl Sight {
    fn room(&self) -> usize {
        match self {
            Sight::Holds { room, .. }
            | Sight::HoldsAndSendsNothing { room, .. }
            | Sight::WaitsAtAFreeFloor { room }
            | Sight::IsHeardWithoutTheFloor { room, .. }
            | Sight::IsHeardAndSendsNothing { room, .. }
            | Sight::IsNotHeardInAnOpenRoom { room, .. } => *room,
        }
    }

    fn longest(&self) -> Duration {
        let hangover = Duration::from_secs(1);
        SLACK
            + match self {
                // T2 (the talk limit) starts with the first packet, for which T1 (end of media)
                // waits.
                Sight::Holds { .. } => END_OF_MEDIA + TALK_LIMIT + GRACE + LONGEST_DRAIN,
                Sight::HoldsAndSendsNothing { .. } => END_OF_MEDIA,
                Sight::WaitsAtAFreeFloor { .. } => Duration::ZERO,
                Sight::IsHeardWithoutTheFloor { .. } | Sight::IsHeardAndSendsNothing { .. } => {
                    hangover
                }
                Sight::IsNotHeardInAnOpenRoom { .. } => Duration::ZERO,
            }
    }
}

impl InvariantCheck<'_> {
    pub fn of(world: &World) -> InvariantCheck<'_> {
        InvariantCheck {
            world,
            watched: Duration::ZERO,
            looked: Instant::now(),
            seen_at: vec![world.since_start(); world.rooms],
            since: HashMap::new(),
        }
    }

    /// Checks every room once; `look` is the number of the check.
    pub fn look(&mut self, look: u64) {
        let gap = std::mem::replace(&mut self.looked, Instant::now()).elapsed();
        self.watched += gap.min(LONGEST_GAP);
        if gap > LONGEST_GAP {
            self.world.count("looks that came late");
        }
        for room in 0..self.world.rooms {
            let now = self.world.since_start();
            let state = self.world.room(room);
            let before = std::mem::replace(&mut self.seen_at[room], now);
            self.judge_number(room, &state);
            for sight in sights(self.world, room, &state, before) {
                self.judge(sight, look, &state);
            }
        }
        self.since.retain(|sight, since| {
            if since.told && since.look != look {
                println!("no longer: {sight:?}");
            }
            since.look == look
        });
    }

    /// Reports a room with more holders than its mode allows.
    fn judge_number(&self, room: usize, state: &Value) {
        let holders = list(&state["floor"]["holders"]).len();
        if holders > most_holders(state) {
            self.world.fault(format!("too many hold {room}: {state}"));
        }
        if holders > 1 {
            self.world.count("looks at a floor of several");
        }
        if holders > 0 {
            self.world.count("looks at a floor that is held");
        }
        if !list(&state["floor"]["queue"]).is_empty() {
            self.world.count("looks at a queue");
        }
    }

    fn judge(&mut self, sight: Sight, look: u64, state: &Value) {
        let now = self.watched;
        let since = self.since.entry(sight.clone()).or_insert(Since {
            at: now,
            look,
            told: false,
        });
        since.look = look;
        if now - since.at > sight.longest() && !since.told {
            since.told = true;
            let time = now - since.at;
            self.world
                .fault_in(sight.room(), format!("{sight:?} for {time:.1?}: {state}"));
        }
    }

    /// Describes a room that is not idle; `None` if all rooms are idle. A participant that vanished
    /// may still wait for a moderator's grant.
    pub fn busy(&self) -> Option<String> {
        let is_busy = |state: &Value| {
            let waits = |id: &Value| !is_gone(self.world, id);
            list(&state["participants"])
                .iter()
                .any(|it| it["talking"] == true)
                || !list(&state["floor"]["holders"]).is_empty()
                || list(&state["floor"]["queue"]).iter().any(waits)
        };
        let mut states = (0..self.world.rooms).map(|room| self.world.room(room));
        states.find(is_busy).map(|state| state.to_string())
    }
}

/// Returns the limited states that a room is in. A participant sends nothing if it has not sent
/// since `before`.
fn sights(world: &World, room: usize, state: &Value, before: Duration) -> Vec<Sight> {
    let mut sights = Vec::new();
    let sends = |who: &str| {
        world
            .person(who)
            .is_some_and(|it| it.has_sent_since(before))
    };
    let is_open = state["mode"] == "open";
    let holders = list(&state["floor"]["holders"]);
    for holder in holders {
        let (who, burst) = (text(&holder["participant"]), holder["burst"].as_u64());
        let burst = burst.expect("a burst has a number");
        if !sends(&who) {
            let who = who.clone();
            sights.push(Sight::HoldsAndSendsNothing { room, who, burst });
        }
        sights.push(Sight::Holds { room, who, burst });
    }
    let is_moderated = state["mode"] == "moderated";
    let waits = !list(&state["floor"]["queue"]).is_empty();
    if waits && !is_moderated && holders.len() < most_holders(state) {
        sights.push(Sight::WaitsAtAFreeFloor { room });
    }
    for participant in list(&state["participants"]) {
        let who = text(&participant["id"]);
        let is_heard = participant["talking"] == true;
        if is_heard {
            world.count("looks at somebody who is heard");
        }
        let holds = holders.iter().any(|it| it["participant"] == *who);
        if is_heard && !is_open && !holds {
            let who = who.clone();
            sights.push(Sight::IsHeardWithoutTheFloor { room, who });
        }
        if is_heard && !sends(&who) {
            let who = who.clone();
            sights.push(Sight::IsHeardAndSendsNothing { room, who });
        }
        if is_open && sends(&who) && !is_heard {
            sights.push(Sight::IsNotHeardInAnOpenRoom { room, who });
        }
    }
    sights
}

fn most_holders(state: &Value) -> usize {
    match state["mode"].as_str() {
        Some("open") => 0,
        Some("ptt" | "cut-in" | "broadcast" | "moderated") => 1,
        Some(mode) => {
            let count = mode.strip_prefix("multi:").and_then(|it| it.parse().ok());
            count.expect("a mode that was set")
        }
        None => panic!("{} is not there: {state}", name(0)),
    }
}

fn is_gone(world: &World, id: &Value) -> bool {
    world.person(&text(id)).is_some_and(|it| it.is_gone())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
