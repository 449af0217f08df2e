//! Several rooms on one or several mixers, in virtual time, whose participants can monitor other
//! rooms.

use std::sync::Arc;

use mixer::codec::opus::OpusEncoder;
use mixer::codec::{Decode, Encode, Encoding, Profile, ReceiverLimits};
use mixer::engine::{Command, Engine, EngineLimits};
use mixer::format::{Layout, SLOT};
use mixer::mix::bus::Base;
use mixer::mix::links::LinkChange;
use mixer::monitor::Feed;
use mixer::monitor::{MonitorChange, MonitorLevel, MonitorMix, MonitoredRoom};
use mixer::room::{Participant, ParticipantConfig, Room, RoomSettings, Shared};
use mixer::units::{Decibels, Gain, ParticipantId, RoomId, Time};

use super::{Collector, Log, Talker, Tap, amplitude_of, db, exact};

/// Rooms on one or several mixers that share one clock.
pub struct Field {
    pub mixers: Vec<Mixer>,
    pub rooms: Vec<Place>,
    pub talkers: Vec<(usize, Talker)>,
    pub log: Log,
    pub slot: u64,
}

pub struct Mixer {
    pub engine: Engine,
    pub sink: Collector,
    /// Number of slots that this mixer lags behind the clock.
    pub late: u64,
    /// The last slot that this mixer ran.
    pub done: u64,
}

#[derive(Clone)]
pub struct Place {
    pub mixer: usize,
    pub id: RoomId,
    pub settings: RoomSettings,
    pub feed: Arc<Feed>,
}

impl Field {
    pub fn new(mixers: usize) -> Field {
        let limits = EngineLimits {
            rooms: 16,
            participants: 256,
        };
        Field {
            mixers: (0..mixers)
                .map(|_| Mixer {
                    engine: Engine::new(limits),
                    sink: Collector::default(),
                    late: 0,
                    done: 800,
                })
                .collect(),
            rooms: Vec::new(),
            talkers: Vec::new(),
            log: Log::default(),
            slot: 800,
        }
    }

    /// Adds a room with a feed and returns its index.
    pub fn room(&mut self, mixer: usize, settings: RoomSettings) -> usize {
        let id = RoomId(self.rooms.len() as u32 + 1);
        let room = Box::new(Room::new(id, settings, 128));
        let feed = Arc::new(Feed::new(settings.layout, settings.tick));
        self.apply(mixer, Command::AddRoom(room));
        self.apply(mixer, Command::SetFeed(id, Some(feed.clone())));
        self.rooms.push(Place {
            mixer,
            id,
            settings,
            feed,
        });
        self.rooms.len() - 1
    }

    pub fn apply(&mut self, mixer: usize, command: Command) {
        let Mixer { engine, sink, .. } = &mut self.mixers[mixer];
        engine.apply(command, sink);
    }

    pub fn encoding(&self, room: usize, tapped: bool) -> Encoding {
        let settings = self.rooms[room].settings;
        let limits = ReceiverLimits {
            stereo: settings.layout == Layout::Stereo,
            ..ReceiverLimits::default()
        };
        let profile = match settings.layout {
            Layout::Mono => Profile::Voice,
            Layout::Stereo => Profile::Music,
        };
        let mut encoding = Encoding::new(profile, &limits, settings.tick).with_hangover(0);
        if tapped {
            encoding.bitrate_bps = 96_000;
        }
        encoding
    }

    /// Adds a participant that is heard losslessly and hears through a tap.
    pub fn join(&mut self, room: usize, id: u32, voice: impl FnMut(u64) -> f32 + Send + 'static) {
        let tap: Box<dyn Encode> = Box::new(Tap(self.log.clone()));
        self.seat(room, id, Some(exact(voice)), tap);
    }

    /// Adds a listen-only participant that hears through Opus.
    pub fn join_ear(&mut self, room: usize, id: u32) {
        let encoder = Box::new(OpusEncoder::new(&self.encoding(room, false)));
        self.seat(room, id, None, encoder);
    }

    /// Adds a participant that talks if there is a decoder, and hears through `encoder`.
    pub fn seat(
        &mut self,
        room: usize,
        id: u32,
        decoder: Option<Box<dyn Decode>>,
        encoder: Box<dyn Encode>,
    ) {
        let listens = self.encoding(room, encoder.as_any().is::<Tap>());
        let talks = decoder.is_some();
        let shared = self.seat_as(room, id, listens, decoder, encoder);
        if talks {
            let talker = Talker::exact(ParticipantId(id), shared);
            self.talkers.push((self.rooms[room].mixer, talker));
        }
    }

    /// Adds a participant whose packets the caller sends, with `listens` as the encoding of its
    /// stream.
    pub fn seat_as(
        &mut self,
        room: usize,
        id: u32,
        listens: Encoding,
        decoder: Option<Box<dyn Decode>>,
        encoder: Box<dyn Encode>,
    ) -> Arc<Shared> {
        let (participant, shared) = self.participant(room, id, listens, decoder, encoder);
        self.add(room, participant);
        shared
    }

    /// Adds a listen-only participant that hears the room's bus of this base through `encoder`.
    pub fn join_base(&mut self, room: usize, id: u32, base: Base, encoder: Box<dyn Encode>) {
        let listens = self.encoding(room, encoder.as_any().is::<Tap>());
        let (participant, _) = self.participant(room, id, listens, None, encoder);
        self.add(room, participant.with_base(base));
    }

    fn participant(
        &self,
        room: usize,
        id: u32,
        listens: Encoding,
        decoder: Option<Box<dyn Decode>>,
        encoder: Box<dyn Encode>,
    ) -> (Participant, Arc<Shared>) {
        let settings = self.rooms[room].settings;
        let shared = Arc::new(Shared::default());
        let config = ParticipantConfig {
            id: ParticipantId(id),
            talks: decoder.is_some(),
            listens: Some(listens),
            layout: settings.layout,
            tick: settings.tick,
        };
        let participant = Participant::with_codec(config, shared.clone(), decoder, Some(encoder));
        (participant, shared)
    }

    fn add(&mut self, room: usize, participant: Participant) {
        let Place { mixer, id, .. } = self.rooms[room];
        let command = Command::AddParticipant {
            room: id,
            participant: Box::new(participant),
        };
        self.apply(mixer, command);
    }

    pub fn monitor_change(
        &self,
        room: usize,
        home: MonitorLevel,
        others: &[(usize, MonitorLevel)],
    ) -> Box<MonitorChange> {
        let settings = self.rooms[room].settings;
        let channels = others.iter().map(|&(other, level)| MonitoredRoom {
            feed: self.rooms[other].feed.clone(),
            level,
        });
        let scan = MonitorMix::new(home, channels, settings.layout, settings.tick);
        Box::new(MonitorChange {
            monitors: (!others.is_empty()).then(|| Box::new(scan)),
            stream: None,
        })
    }

    /// Sets the rooms that participant `id` of `room` monitors.
    pub fn monitor(&mut self, room: usize, id: u32, others: &[(usize, MonitorLevel)]) {
        let monitor_change = self.monitor_change(room, MonitorLevel::default(), others);
        let mixer = self.rooms[room].mixer;
        self.apply(
            mixer,
            Command::SetMonitors(ParticipantId(id), monitor_change),
        );
    }

    /// Links two rooms, so that all members of each hear the other.
    pub fn link(&mut self, one: usize, other: usize) {
        for (to, from) in [(one, other), (other, one)] {
            self.set_links(to, &[from]);
        }
    }

    /// Replaces the rooms that all members of a room hear.
    pub fn set_links(&mut self, room: usize, others: &[usize]) {
        let others: Vec<_> = others
            .iter()
            .map(|it| (*it, MonitorLevel::default()))
            .collect();
        let links = self
            .monitor_change(room, MonitorLevel::default(), &others)
            .monitors;
        let Place { mixer, id, .. } = self.rooms[room];
        let change = Box::new(LinkChange::new(links));
        self.apply(mixer, Command::SetLinks(id, change));
    }

    /// Runs 20 ms, in which every talker sends one packet.
    pub fn turn(&mut self) {
        (0..8).for_each(|_| self.step());
    }

    /// Runs one slot.
    pub fn step(&mut self) {
        self.slot += 1;
        for (at, (mixer, talker)) in self.talkers.iter_mut().enumerate() {
            // Talkers send at different slots, so that their rooms move to different phases.
            if self.slot % 8 == (5 * at as u64) % 8 {
                let now = instant(self.slot);
                let engine = &mut self.mixers[*mixer].engine;
                engine.push(talker.id, &talker.packet(), now);
            }
        }
        for mixer in &mut self.mixers {
            // A late mixer catches up on its slots.
            for slot in mixer.done + 1..=self.slot - mixer.late {
                mixer.engine.run_slot(slot, instant(slot), &mut mixer.sink);
                mixer.done = slot;
            }
        }
    }

    pub fn turns(&mut self, count: usize) {
        (0..count).for_each(|_| self.turn());
    }

    /// All PCM that a tapped participant has heard so far.
    pub fn heard(&self, id: u32) -> Vec<f32> {
        let packets = self.mixers.iter().flat_map(|mixer| &mixer.sink.packets);
        let own = packets.filter(|(to, _)| to.0 == id);
        own.flat_map(|(_, packet)| self.log.pcm(packet)).collect()
    }

    /// The last `ticks` ticks, of 20 ms, that a tapped participant has heard.
    pub fn heard_lately(&self, id: u32, ticks: usize) -> Vec<f32> {
        let heard = self.heard(id);
        heard[heard.len() - ticks * 960..].to_vec()
    }

    /// Contributors named in the last packet to a participant, sorted by id.
    pub fn named(&self, id: u32) -> Vec<u32> {
        let mut packets = self.mixers.iter().flat_map(|mixer| &mixer.sink.packets);
        let last = packets.rfind(|(to, _)| to.0 == id);
        let mut ids = last.map_or(Vec::new(), |(_, packet)| packet.sources.ids().to_vec());
        ids.sort_unstable();
        ids
    }

    pub fn encodes(&self) -> u64 {
        let stats = self.mixers.iter().map(|mixer| mixer.engine.stats());
        stats.map(|stats| stats.encodes_total).sum()
    }

    pub fn refused(&self) -> u64 {
        let stats = self.mixers.iter().map(|mixer| mixer.engine.stats());
        stats.map(|stats| stats.refused_total).sum()
    }
}

pub fn instant(slot: u64) -> Time {
    Time::from_us(slot * SLOT.as_micros() as u64)
}

/// Gain of a monitored room, and its priority for ducking.
pub fn at(gain_db: f32, priority: u8) -> MonitorLevel {
    MonitorLevel {
        gain: Gain::from(Decibels(gain_db)),
        priority,
    }
}

/// Level of a frequency in dB, relative to amplitude [`LOUD`].
pub fn level_db(heard: &[f32], hz: f64) -> f64 {
    db(amplitude_of(heard, hz) / f64::from(LOUD))
}

/// Largest sample difference, relative to that of a sine of the given frequency and amplitude.
pub fn steepest(heard: &[f32], hz: f64, amplitude: f32) -> f32 {
    let own = amplitude * (std::f64::consts::TAU * hz / 48_000.0) as f32;
    let steps = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    steps.fold(0.0, f32::max) / own
}

/// Amplitude of the talkers' tones.
pub const LOUD: f32 = 0.1;

/// Frequencies off any common grid, so that distortion of one tone does not fall on another.
pub const TONES_HZ: [f64; 4] = [317.3, 541.9, 823.7, 1_201.1];
