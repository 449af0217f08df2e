//! The mixer thread around the engine: its links, its clock, its priority.
//!
//! The one place where the engine meets channels. The thread wakes at every slot, takes in what the
//! links hold, runs the rooms that are due, and hands out what came of it; its only system calls
//! are its sleep and one eventfd write per slot with output. What the engine is done with is freed
//! by a thread of its own, the reaper. Nobody blocks in a receive on the other end of a link that
//! the mixer sends on: waking a blocked receiver takes a lock.

mod clock;
mod metrics;
mod thread;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use mixer::command::{Command, Event, Retired};
use mixer::engine::{Engine, EngineLimits};
use thiserror::Error;

use crate::links::{COMMANDS, EVENTS, Inbound, Outbound, RETIRED};
use crate::priority;

pub use self::metrics::MixerMetrics;

/// How the mixer runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioConfig {
    /// Ask for SCHED_FIFO; without the permission the mixer runs at normal priority and says so.
    pub fifo: bool,
    /// Most rooms.
    pub max_rooms: usize,
    /// Most participants, of all rooms.
    pub max_participants: usize,
}

impl Default for AudioConfig {
    fn default() -> AudioConfig {
        AudioConfig {
            fifo: true,
            max_rooms: 1_024,
            max_participants: 4_096,
        }
    }
}

/// Why the mixer does not run.
#[derive(Debug, Error)]
pub enum AudioError {
    /// The system gives no thread.
    #[error("the system gives no thread for {name}")]
    Spawn {
        /// What the thread is for.
        name: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended by a panic outside of any room.
    #[error("the mixer thread panicked")]
    Panicked,
}

/// The running mixer. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Audio {
    handle: AudioHandle,
    stop: Arc<AtomicBool>,
    /// The mixer, and the reaper, which ends after it.
    threads: Option<[JoinHandle<()>; 2]>,
}

/// What the rest of the server knows of the mixer.
#[derive(Debug, Clone)]
pub struct AudioHandle {
    commands: Sender<Command>,
    events: Receiver<Event>,
    metrics: Arc<MixerMetrics>,
}

/// Starts the mixer.
///
/// - `to_net`, `from_net`: packets out and in.
/// - `wake`: the network thread's eventfd, written once per slot in which packets went out.
///
/// # Errors
/// [`AudioError::Spawn`] when the system gives no thread. That it gives no real-time priority is no
/// error; it is logged.
pub fn start(
    config: AudioConfig,
    to_net: Sender<Outbound>,
    from_net: Receiver<Inbound>,
    wake: OwnedFd,
) -> Result<Audio, AudioError> {
    let (commands, from_control) = bounded(COMMANDS);
    let (to_control, events) = bounded(EVENTS);
    let (to_reaper, retired) = bounded(RETIRED);
    let metrics = Arc::new(MixerMetrics::default());
    let stop = Arc::new(AtomicBool::new(false));
    let limits = EngineLimits {
        rooms: config.max_rooms,
        participants: config.max_participants,
    };
    let outlets = thread::Outlets::new(to_net, to_control, to_reaper, wake, metrics.clone());
    let mixer = thread::Mixer {
        engine: Engine::new(limits),
        commands: from_control,
        packets: from_net,
        outlets,
        stop: stop.clone(),
    };
    thread::silence_room_panics();

    let reaper = spawn("reaper", move || reap(&retired))?;
    let (say, said) = bounded(1);
    let mixer = spawn("mixer", move || {
        let _ = say.send(config.fifo.then(|| priority::raise(priority::MIXER)));
        mixer.run();
    })?;
    if let Ok(Some(Err(error))) = said.recv() {
        tracing::warn!(
            %error,
            "no real-time priority for the mixer: a busy machine will be heard; \
             allow it with CAP_SYS_NICE or `ulimit -r {}`",
            priority::MIXER
        );
    }
    Ok(Audio {
        handle: AudioHandle {
            commands,
            events,
            metrics,
        },
        stop,
        threads: Some([mixer, reaper]),
    })
}

impl Audio {
    /// What the rest of the server needs.
    pub fn handle(&self) -> AudioHandle {
        self.handle.clone()
    }

    /// Stops the mixer after the slot it is in and waits until everything it held is freed.
    ///
    /// # Errors
    /// [`AudioError::Panicked`] if it had already ended, by a panic outside of any room.
    pub fn stop(mut self) -> Result<(), AudioError> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = self.threads.take().into_iter().flatten();
        // The mixer drops its end of the link as it ends, which is what the reaper ends by.
        let ended: Vec<_> = threads.map(JoinHandle::join).collect();
        match ended.into_iter().collect::<Result<(), _>>() {
            Ok(()) => Ok(()),
            Err(_) => Err(AudioError::Panicked),
        }
    }
}

impl Drop for Audio {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl AudioHandle {
    /// Hands a command to the mixer, which applies it within a slot.
    ///
    /// # Errors
    /// The command itself when the link is full or the mixer has ended.
    pub fn send(&self, command: Command) -> Result<(), Command> {
        self.commands
            .try_send(command)
            .map_err(crossbeam_channel::TrySendError::into_inner)
    }

    /// What the mixer tells. To be polled, not waited on: waking a blocked receiver takes a lock.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// What the mixer counts.
    pub fn metrics(&self) -> &MixerMetrics {
        &self.metrics
    }

    /// Busy time over time, of the last second or so: 0.0 idle, 1.0 cannot do more.
    pub fn load(&self) -> f32 {
        self.metrics.load()
    }
}

fn spawn(
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, AudioError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|source| AudioError::Spawn { name, source })
}

/// Frees what the engine is done with. Polls, so that the mixer never has to wake it.
fn reap(retired: &Receiver<Retired>) {
    loop {
        match retired.try_recv() {
            Ok(retired) => drop(retired),
            Err(TryRecvError::Empty) => std::thread::sleep(REAP_EVERY),
            Err(TryRecvError::Disconnected) => return,
        }
    }
}

/// The link holds far more than is retired in this time.
const REAP_EVERY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use mixer::codec::opus::{OpusDecoder, OpusEncoder};
    use mixer::codec::{Decode, Encode};
    use mixer::command::Shared;
    use mixer::format::{Layout, SLOT, TickLength};
    use mixer::packet::{Packet, Payload};
    use mixer::participant::{Participant, ParticipantConfig};
    use mixer::profile::{Profile, ReceiverLimits, Recipe};
    use mixer::room::{Room, RoomSettings};
    use mixer::{ParticipantId, RoomId, RtpTime, Seq};
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::links::{PACKETS_IN, PACKETS_OUT};

    const ROOM: RoomId = RoomId(7);
    const TONES_HZ: [f64; 2] = [541.9, 823.7];

    struct Network {
        audio: Audio,
        to_mixer: Sender<Inbound>,
        from_mixer: Receiver<Outbound>,
        woken: OwnedFd,
    }

    impl Network {
        fn new() -> Network {
            let (to_mixer, from_net) = bounded(PACKETS_IN);
            let (to_net, from_mixer) = bounded(PACKETS_OUT);
            let woken = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
            let config = AudioConfig {
                fifo: false,
                ..AudioConfig::default()
            };
            let wake = woken.try_clone().unwrap();
            let audio = start(config, to_net, from_net, wake).unwrap();
            Network {
                audio,
                to_mixer,
                from_mixer,
                woken,
            }
        }

        fn send(&self, command: Command) {
            assert!(self.audio.handle().send(command).is_ok());
        }

        fn add_room(&self, id: RoomId) {
            let room = Room::new(id, RoomSettings::default(), 8);
            self.send(Command::AddRoom(Box::new(room)));
        }

        fn join(&self, room: RoomId, id: u32) {
            let limits = ReceiverLimits::default();
            let recipe = Recipe::new(Profile::Voice, &limits, TickLength::Ms20);
            let config = ParticipantConfig {
                id: ParticipantId(id),
                talks: true,
                listens: Some(recipe),
                layout: Layout::Mono,
                tick: TickLength::Ms20,
            };
            let participant = Participant::new(config, Arc::new(Shared::default()));
            self.send(Command::AddParticipant {
                room,
                participant: Box::new(participant),
            });
        }
    }

    struct Voice {
        hz: f64,
        encoder: OpusEncoder,
        sent: u16,
    }

    impl Voice {
        fn new(hz: f64) -> Voice {
            let limits = ReceiverLimits::default();
            let recipe = Recipe::new(Profile::LowDelay, &limits, TickLength::Ms20);
            Voice {
                hz,
                encoder: OpusEncoder::new(&recipe),
                sent: 0,
            }
        }

        fn packet(&mut self) -> Packet {
            let from = u32::from(self.sent) * 960;
            let pcm: Vec<f32> = (from..from + 960)
                .map(|at| {
                    let turns = self.hz * f64::from(at) / 48_000.0;
                    0.3 * (turns * std::f64::consts::TAU).sin() as f32
                })
                .collect();
            let mut payload = Payload::EMPTY;
            self.encoder.encode(&pcm, &mut payload).unwrap();
            self.sent += 1;
            Packet {
                seq: Seq(self.sent),
                time: RtpTime(from),
                ssrc: 1,
                marker: self.sent == 1,
                level: None,
                payload,
            }
        }
    }

    /// Amplitude of one frequency, by projection under a Hann window.
    fn amplitude_of(samples: &[f32], hz: f64) -> f64 {
        let (mut re, mut im, mut weight) = (0.0, 0.0, 0.0);
        for (at, &sample) in samples.iter().enumerate() {
            let x = at as f64 / samples.len() as f64;
            let window = 0.5 - 0.5 * (std::f64::consts::TAU * x).cos();
            let (sin, cos) = (std::f64::consts::TAU * hz * at as f64 / 48_000.0).sin_cos();
            re += f64::from(sample) * window * cos;
            im += f64::from(sample) * window * sin;
            weight += window;
        }
        2.0 * re.hypot(im) / weight
    }

    #[test]
    fn two_people_hear_each_other_on_the_beat() {
        let network = Network::new();
        network.add_room(ROOM);
        network.join(ROOM, 1);
        network.join(ROOM, 2);
        let mut voices = TONES_HZ.map(Voice::new);
        let mut heard: BTreeMap<u32, Vec<Outbound>> = BTreeMap::new();
        let began = Instant::now();
        for turn in 0..60u32 {
            let due = began + Duration::from_millis(20) * turn;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            for (id, voice) in (1..).zip(&mut voices) {
                let inbound = Inbound {
                    from: ParticipantId(id),
                    arrival: crate::clock::now(),
                    packet: voice.packet(),
                };
                assert!(network.to_mixer.try_send(inbound).is_ok());
            }
            for outbound in network.from_mixer.try_iter() {
                let [to] = outbound.to.as_slice() else {
                    panic!("each hears another mix");
                };
                heard.entry(to.0).or_default().push(outbound);
            }
        }
        let mut woken = [0; 8];
        rustix::io::read(&network.woken, &mut woken).unwrap();
        assert!(
            u64::from_ne_bytes(woken) > 30,
            "one wake-up per slot with output"
        );

        for (id, own, other) in [(1, 0, 1), (2, 1, 0)] {
            let packets = &heard[&id];
            assert!(packets.len() > 40, "{} packets", packets.len());
            // On the beat of the media clock; a busy machine may cost a tick, which shows as a gap.
            let off_beat = |pair: &&[Outbound]| {
                pair[1].packet.time.distance_from(pair[0].packet.time) % 960 != 0
            };
            assert_eq!(packets.windows(2).filter(off_beat).count(), 0);

            let mut decoder = OpusDecoder::new(Layout::Mono);
            let mut pcm = [0.0; 960];
            let mut sound = Vec::new();
            for outbound in packets {
                let payload = outbound.packet.payload.as_slice();
                let samples = decoder.decode(payload, &mut pcm).unwrap();
                sound.extend_from_slice(&pcm[..samples]);
            }
            let sound = &sound[sound.len() - 960 * 25..];
            let own = amplitude_of(sound, TONES_HZ[own]);
            let other = amplitude_of(sound, TONES_HZ[other]);
            assert!(other > 0.2, "hears the other at {other}");
            assert!(own < other / 100.0, "hears himself at {own}");
        }
        let handle = network.audio.handle();
        assert!(handle.load() > 0.0 && handle.load() < 1.0);
        let events: Vec<Event> = handle.events().try_iter().collect();
        for participant in [1, 2].map(ParticipantId) {
            let talking = Event::Talking {
                room: ROOM,
                participant,
            };
            assert!(events.contains(&talking));
        }
        network.audio.stop().unwrap();
        assert!(
            handle.send(Command::RemoveRoom(ROOM)).is_err(),
            "the mixer is gone"
        );
    }

    #[test]
    fn what_leaves_is_freed_and_a_stopped_mixer_holds_nothing() {
        let network = Network::new();
        network.add_room(ROOM);
        let shared: Vec<Arc<Shared>> = (1..=4)
            .map(|id| {
                let shared = Arc::new(Shared::default());
                let config = ParticipantConfig {
                    id: ParticipantId(id),
                    talks: true,
                    listens: None,
                    layout: Layout::Mono,
                    tick: TickLength::Ms20,
                };
                let participant = Participant::new(config, shared.clone());
                network.send(Command::AddParticipant {
                    room: ROOM,
                    participant: Box::new(participant),
                });
                shared
            })
            .collect();
        for id in [1, 2] {
            network.send(Command::RemoveParticipant(ParticipantId(id)));
        }
        let patience = Instant::now() + Duration::from_secs(5);
        while shared[..2]
            .iter()
            .any(|shared| Arc::strong_count(shared) > 1)
        {
            assert!(Instant::now() < patience, "freed within seconds");
            std::thread::sleep(SLOT);
        }
        network.audio.stop().unwrap();
        assert!(shared.iter().all(|shared| Arc::strong_count(shared) == 1));
    }

    #[test]
    fn a_fault_is_told_and_costs_one_room() {
        const OTHER: RoomId = RoomId(8);
        let network = Network::new();
        for (room, id) in [(ROOM, 1), (OTHER, 2)] {
            network.add_room(room);
            network.join(room, id);
        }
        network.send(Command::Break(ROOM));
        let handle = network.audio.handle();
        let patience = Instant::now() + Duration::from_secs(5);
        while handle.metrics().faults.load(Ordering::Relaxed) == 0 {
            assert!(Instant::now() < patience, "told within seconds");
            std::thread::sleep(SLOT);
        }
        let ticks = || handle.metrics().room_ticks.load(Ordering::Relaxed);
        let before = ticks();
        while ticks() < before + 5 {
            assert!(Instant::now() < patience, "the other room goes on");
            std::thread::sleep(SLOT);
        }
        let events: Vec<Event> = handle.events().try_iter().collect();
        assert_eq!(events, [Event::RoomFault { room: ROOM }]);
        network.audio.stop().unwrap();
    }
}
