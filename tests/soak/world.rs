//! What all simulated users of the soak test share: the server, the participants, the counters and
//! the faults found.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::call::{Host, Reply};

pub struct World {
    pub host: Host,
    pub rooms: usize,
    began: Instant,
    people: Mutex<HashMap<String, Arc<Person>>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    faults: Mutex<Vec<String>>,
    /// The latest notes about events, each with its time and room.
    journal: Mutex<VecDeque<(Duration, usize, String)>>,
}

/// One participant, as the invariant checks see it.
pub struct Person {
    /// The public id.
    pub id: String,
    /// When the participant sent its last packet, or joined.
    sent_ms: AtomicU64,
    /// Whether the participant vanished without leaving.
    pub gone: AtomicBool,
}

impl World {
    pub fn new(host: Host, rooms: usize) -> World {
        World {
            host,
            rooms,
            began: Instant::now(),
            people: Mutex::default(),
            counts: Mutex::default(),
            faults: Mutex::default(),
            journal: Mutex::default(),
        }
    }

    pub fn since_start(&self) -> Duration {
        self.began.elapsed()
    }

    /// Registers a participant that has joined.
    pub fn meet(&self, id: String) -> Arc<Person> {
        let person = Arc::new(Person {
            id: id.clone(),
            sent_ms: AtomicU64::new(0),
            gone: AtomicBool::new(false),
        });
        person.sends(self);
        let mut people = self.people.lock().expect("no panic while held");
        people.insert(id, person.clone());
        person
    }

    pub fn person(&self, id: &str) -> Option<Arc<Person>> {
        let people = self.people.lock().expect("no panic while held");
        people.get(id).cloned()
    }

    pub fn count(&self, what: &'static str) {
        let mut counts = self.counts.lock().expect("no panic while held");
        *counts.entry(what).or_default() += 1;
    }

    pub fn counted(&self, what: &str) -> u64 {
        let counts = self.counts.lock().expect("no panic while held");
        counts.get(what).copied().unwrap_or(0)
    }

    /// Prints the counters.
    pub fn tell_counts(&self) {
        for (what, count) in &*self.counts.lock().expect("no panic while held") {
            println!("{what},{count}");
        }
    }

    /// Notes an event in a room; the notes are printed with a later fault of the room.
    pub fn note(&self, room: usize, what: String) {
        let mut journal = self.journal.lock().expect("no panic while held");
        journal.push_back((self.since_start(), room, what));
        if journal.len() > JOURNAL {
            journal.pop_front();
        }
    }

    /// Records a fault in a room, and prints the room's notes before it.
    pub fn fault_in(&self, room: usize, what: String) {
        let journal = self.journal.lock().expect("no panic while held");
        for (at, of, noted) in &*journal {
            if *of == room {
                println!("  {at:.2?}: {noted}");
            }
        }
        drop(journal);
        self.fault(what);
    }

    /// Records a violated invariant.
    pub fn fault(&self, what: String) {
        println!("at {:.1?}: {what}", self.since_start());
        self.faults.lock().expect("no panic while held").push(what);
    }

    pub fn assert_faultless(&self) {
        let faults = self.faults.lock().expect("no panic while held");
        assert!(
            faults.is_empty(),
            "{} faults, the first: {}",
            faults.len(),
            faults[0]
        );
    }

    pub fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        self.host.ask(method, path, "application/json", body)
    }

    /// Returns the current state of a room.
    pub fn room(&self, room: usize) -> Value {
        let reply = self.ask("GET", &path(room), "");
        serde_json::from_str(&reply.body).expect("the server speaks JSON")
    }

    /// Changes some settings of a room.
    pub fn patch(&self, room: usize, change: &Value) {
        let reply = self.ask("PATCH", &path(room), &change.to_string());
        self.note(room, change.to_string());
        if reply.status != 200 {
            self.fault(format!("{change}: {} {}", reply.status, reply.body));
        }
    }
}

impl Person {
    pub fn sends(&self, world: &World) {
        let now_ms = world.since_start().as_millis() as u64;
        self.sent_ms.store(now_ms, Relaxed);
    }

    pub fn has_sent_since(&self, at: Duration) -> bool {
        u128::from(self.sent_ms.load(Relaxed)) >= at.as_millis()
    }

    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }
}

/// The number of notes kept: those of about ten seconds.
const JOURNAL: usize = 4_000;

pub fn name(room: usize) -> String {
    format!("channel-{room}")
}

pub fn path(room: usize) -> String {
    format!("/v1/rooms/{}", name(room))
}
