//! A simulated user of a radio, who acts at random.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::rtp::{Header, Packet};
use rtc::sansio::Protocol;
use serde_json::{Value, json};

use crate::client::{Client, Kind};
use crate::rng::Rng;
use crate::world::{Person, World, name};
use crate::{ANSWERED, CONNECTED, MODES, PACKET, TALK_LIMIT};

pub struct User {
    /// The index of the user's own room.
    pub home: usize,
    pub room: usize,
    pub person: Arc<Person>,
    /// The talkers whose voices the user has been sent.
    pub heard: BTreeSet<u32>,
    /// RTP datagrams that have arrived.
    pub sounds: u64,
    client: Client,
    session: String,
    rng: Rng,
    tone: &'static [&'static [u8]],
    came: Instant,
    acts: Instant,
    wakes: Instant,
    /// When the user stops talking, and when the next packet is due; `None` while silent.
    talks: Option<(Instant, Instant)>,
    packets: u32,
    seq: u16,
    rtp_time: u32,
    fell_silent: Instant,
    asked: u64,
    /// The requests over the data channel that have not been answered yet.
    unanswered: VecDeque<(u64, Instant)>,
    /// The queue of the user's room, as the server last reported it.
    queue: Vec<String>,
    /// Whether the user releases the floor after talking.
    is_tidy: bool,
}

impl User {
    /// Lets a new user join `room`. The user is connected only after some calls of `turn`.
    pub fn join(
        world: &World,
        home: usize,
        room: usize,
        tone: &'static [&'static [u8]],
        mut rng: Rng,
    ) -> User {
        let mut client = Client::new(1 + rng.below(1 << 30) as u32, true);
        let offer = client.offer();
        let at = format!(
            "/v1/rooms/{}/participants?priority={}",
            name(room),
            rng.below(4)
        );
        let reply = loop {
            let reply = world.host.ask("POST", &at, "application/sdp", &offer);
            if reply.status != 503 {
                break reply;
            }
            world.count("joins that were turned away");
            std::thread::sleep(Duration::from_millis(500));
        };
        assert_eq!(reply.status, 201, "{}", reply.body);
        client.answer(&reply.body);
        world.count("joins");
        let now = Instant::now();
        User {
            home,
            room,
            person: world.meet(reply.header("participant-id")),
            heard: BTreeSet::new(),
            sounds: 0,
            client,
            session: reply.header("location"),
            acts: now + rng.ms(0..2_000),
            tone,
            came: now,
            wakes: now,
            talks: None,
            packets: 0,
            seq: rng.below(1 << 16) as u16,
            rtp_time: rng.below(1 << 32) as u32,
            fell_silent: now,
            asked: 0,
            unanswered: VecDeque::new(),
            queue: Vec::new(),
            is_tidy: true,
            rng,
        }
    }

    pub fn is_in(&self) -> bool {
        self.client.connected && self.client.channel.is_some()
    }

    /// Returns the number of the contributing source that marks the user's voice.
    pub fn number(&self) -> u32 {
        u32::from_str_radix(&self.person.id, 16).expect("eight digits")
    }

    pub fn is_talking(&self) -> bool {
        self.talks.is_some()
    }

    /// Reads and handles what has arrived, and sends what is due.
    pub fn turn(&mut self, world: &World) {
        let now = Instant::now();
        if now >= self.wakes || self.client.socket.peek(&mut [0]).is_ok() {
            self.client.turn();
            let wakes = self.client.pc.poll_timeout();
            let latest = now + Duration::from_millis(50);
            self.wakes = wakes.map_or(latest, |wakes| wakes.min(latest));
            self.read(world, now);
        }
        if let Some((until, due)) = self.talks
            && now >= due
        {
            self.send(world);
            if now >= until {
                self.falls_silent(world);
            } else {
                // Packets that could not be sent in time are skipped.
                self.talks = Some((until, (due + PACKET).max(now)));
            }
        }
        if let Some((id, at)) = self.unanswered.front()
            && at.elapsed() > ANSWERED
        {
            world.fault(format!("{} was not answered {id}", self.person.id));
            self.unanswered.pop_front();
        }
        if !self.is_in() && self.came.elapsed() > CONNECTED {
            world.fault(format!("{} does not connect", self.person.id));
            self.came = now;
        }
    }

    fn read(&mut self, world: &World, now: Instant) {
        for came in self.client.wire.drain(..) {
            self.sounds += u64::from(came.kind == Kind::Rtp);
        }
        let own = self.number();
        for packet in std::mem::take(&mut self.client.packets) {
            if packet.header.csrc.contains(&own) {
                world.fault(format!("{} hears himself", self.person.id));
            }
            self.heard.extend(packet.header.csrc);
        }
        for text in std::mem::take(&mut self.client.texts) {
            let message = serde_json::from_str(&text).expect("the server speaks JSON");
            self.is_told(world, &message, now);
        }
    }

    fn is_told(&mut self, world: &World, message: &Value, now: Instant) {
        if let Some(id) = message["id"].as_u64() {
            self.unanswered.retain(|(asked, _)| *asked != id);
        }
        let of_the_floor = |event: &str| event.starts_with("floor") && event != "floor_queue";
        if message["event"].as_str().is_some_and(of_the_floor) {
            world.note(self.room, format!("{} is told {message}", self.person.id));
        }
        let is_his = message["participant"] == self.person.id.as_str();
        match message["event"].as_str() {
            Some("floor_granted") => {
                if message["id"].is_u64() {
                    world.count("granted at once");
                } else {
                    world.count("granted later");
                }
                // Some users do not notice the grant.
                if self.rng.is_percent(80) {
                    self.talks_on(world, now);
                }
            }
            Some("floor_queued") => world.count("queued"),
            Some("floor_denied") => world.count("denied"),
            Some("floor_revoked") if is_his => {
                world.count(match message["cause"].as_u64() {
                    Some(2) => "revoked: talked too long",
                    Some(3) => "revoked: talked without the floor",
                    Some(4) => "revoked: pre-empted",
                    _ => "revoked: other",
                });
                // Some users ignore the revocation.
                if self.rng.is_percent(50) {
                    self.talks = None;
                }
            }
            Some("floor_queue") if message["room"] == name(self.room) => {
                let queue = message["queue"].as_array().into_iter().flatten();
                let ids = queue.filter_map(|id| id.as_str().map(str::to_owned));
                self.queue = ids.collect();
            }
            Some("error") => world.count("commands refused"),
            _ => {}
        }
    }

    /// Acts at random, if the user's next action is due.
    pub fn act(&mut self, world: &World) {
        let now = Instant::now();
        if now < self.acts || !self.is_in() {
            return;
        }
        self.acts = now + self.rng.ms(300..2_500);
        match self.rng.below(100) {
            0..25 => self.press(world),
            25..33 => self.press_over_http(world),
            33..48 => self.release(world),
            48..56 => self.talks_on(world, now),
            56..66 => self.talks = None,
            66..74 => self.monitor_at_random(world),
            74..88 => self.grant(world),
            88..97 => self.set_mode(world),
            _ => self.link(world),
        }
    }

    pub fn press(&mut self, world: &World) {
        let tier = match self.rng.below(20) {
            0 => "emergency",
            1..4 => "imminent",
            _ => "normal",
        };
        self.asked += 1;
        let request = json!({
            "command": "floor_request",
            "tier": tier,
            "priority": self.rng.below(4),
            "queue": self.rng.is_percent(85),
            "id": self.asked,
        });
        self.unanswered.push_back((self.asked, Instant::now()));
        self.client.send_text(&request.to_string());
        world.count("requests over the data channel");
        // Users often talk before the floor is granted.
        if self.rng.is_percent(40) {
            self.talks_on(world, Instant::now());
        }
    }

    /// Requests the floor of the user's room and talks for as long as the user may.
    pub fn speak_up(&mut self, world: &World) {
        self.press_over_http(world);
        let now = Instant::now();
        self.talks = Some((now + TALK_LIMIT, now));
    }

    /// Talks without requesting the floor.
    pub fn talk_unasked(&mut self, until: Instant) {
        self.is_tidy = false;
        self.talks = Some((until, Instant::now()));
    }

    fn press_over_http(&mut self, world: &World) {
        let reply = world.ask("PUT", &format!("{}/floor", self.session), "{}");
        world.count("requests over HTTP");
        match reply.status {
            200 => {
                world.count("granted at once");
                self.talks_on(world, Instant::now());
            }
            202 => world.count("queued"),
            409 => world.count("denied"),
            status => world.fault(format!("{status} to a request: {}", reply.body)),
        }
    }

    pub fn release(&mut self, world: &World) {
        world.count("releases");
        self.talks = None;
        if self.rng.is_percent(70) && self.is_in() {
            self.client.send_text(r#"{"command":"floor_release"}"#);
            return;
        }
        let reply = world.ask("DELETE", &format!("{}/floor", self.session), "");
        if reply.status != 204 {
            world.fault(format!("{} to a release", reply.status));
        }
    }

    /// Talks for a while, with or without the floor.
    pub fn talks_on(&mut self, world: &World, now: Instant) {
        // Some users exceed the talk limit.
        let time = if self.rng.is_percent(15) {
            self.rng.ms(8_000..12_000)
        } else {
            self.rng.ms(200..5_000)
        };
        if self.talks.is_none() {
            world.note(self.room, format!("{} talks", self.person.id));
            self.talks = Some((now + time, now));
            self.is_tidy = self.rng.is_percent(50);
            // The media clock also advances during silence; it already includes the last packet.
            let since_last = now.saturating_duration_since(self.fell_silent);
            let silent = since_last.saturating_sub(PACKET);
            self.rtp_time = self.rtp_time.wrapping_add(48 * silent.as_millis() as u32);
        }
    }

    /// Stops talking; some users forget to release the floor.
    fn falls_silent(&mut self, world: &World) {
        self.talks = None;
        if self.is_tidy && self.is_in() {
            world.count("releases");
            self.client.send_text(r#"{"command":"floor_release"}"#);
        } else {
            world.count("fell silent without a release");
        }
    }

    pub fn hush(&mut self, world: &World) {
        self.talks = None;
        self.release(world);
    }

    fn monitor_at_random(&mut self, world: &World) {
        let count = self.rng.below(4);
        let mut rooms = BTreeSet::new();
        for _ in 0..count {
            rooms.insert(name(self.rng.below(world.rooms as u64) as usize));
        }
        self.monitor(world, &rooms);
    }

    pub fn monitor(&mut self, world: &World, rooms: &BTreeSet<String>) {
        world.count("lists of monitored rooms");
        let command = json!({ "command": "monitor", "rooms": rooms });
        self.client.send_text(&command.to_string());
    }

    /// Grants the floor, as a moderator, to the first other participant in the queue, if any.
    fn grant(&mut self, world: &World) {
        let other = self.queue.iter().find(|id| **id != self.person.id);
        if let Some(other) = other {
            world.count("moderators' grants");
            let command = json!({ "command": "floor_grant", "participant": other });
            self.client.send_text(&command.to_string());
        }
    }

    fn set_mode(&mut self, world: &World) {
        let mode = *self.rng.one_of(&MODES);
        let implicit = self.rng.is_percent(15);
        world.patch(
            self.room,
            &json!({ "mode": mode, "implicit_floor": implicit }),
        );
        world.count("mode changes");
    }

    /// Links the user's room with another room of its group of five, or unlinks it. If all fifty
    /// rooms were linked, they would be one large room.
    fn link(&mut self, world: &World) {
        let first = self.room - self.room % 5;
        let other = first + self.rng.below(5) as usize;
        let links = if other == self.room || self.rng.is_percent(40) {
            vec![]
        } else {
            vec![name(other)]
        };
        world.patch(self.room, &json!({ "links": links }));
        world.count("links made and unmade");
    }

    /// Moves the user to another room, perhaps while talking.
    pub fn change(&mut self, world: &World, room: usize) {
        if self.talks.is_some() {
            world.count("channel changes while talking");
        } else {
            world.count("other channel changes");
        }
        self.leave(world);
        self.become_another(world, room);
    }

    /// Vanishes without leaving, and joins the user's own room as a new participant.
    pub fn vanish(&mut self, world: &World) {
        if self.talks.is_some() {
            world.count("vanished while talking");
        } else {
            world.count("vanished otherwise");
        }
        self.person.gone.store(true, Relaxed);
        self.become_another(world, self.home);
    }

    fn become_another(&mut self, world: &World, room: usize) {
        let rng = Rng::of(self.rng.below(u64::MAX));
        let talks = self.talks.take();
        *self = User::join(world, self.home, room, self.tone, rng);
        // A user that talks at the moment continues to talk in the new session.
        self.talks = talks;
    }

    /// Leaves, by `DELETE` or by closing the connection.
    pub fn leave(&mut self, world: &World) {
        if self.rng.is_percent(30) && self.is_in() {
            let _ = self.client.pc.close();
            self.client.turn();
            return;
        }
        let reply = world.ask("DELETE", &self.session, "");
        if reply.status != 200 {
            world.fault(format!("{} to who leaves", reply.status));
        }
    }

    fn send(&mut self, world: &World) {
        if !self.client.connected {
            return;
        }
        let mut header = Header {
            version: 2,
            payload_type: self.client.payload_type,
            sequence_number: self.seq,
            timestamp: self.rtp_time,
            ssrc: self.client.ssrc,
            ..Header::default()
        };
        let level_20_db = Bytes::from_static(&[20]);
        header.set_extension(1, level_20_db).expect("negotiated");
        let payload = self.tone[self.packets as usize % self.tone.len()];
        self.client.send_packet(Packet {
            header,
            payload: Bytes::from_static(payload),
        });
        self.packets += 1;
        self.seq = self.seq.wrapping_add(1);
        self.rtp_time = self.rtp_time.wrapping_add(48 * PACKET.as_millis() as u32);
        self.fell_silent = Instant::now();
        self.person.sends(world);
    }
}
