//! Tests of the event loop without its thread.

use mixer::RtpTime;
use mixer::packet::{OutPacket, Payload, Sources};
use rustix::event::{EventfdFlags, eventfd};

use super::super::handle::Reason;
use super::*;
use crate::queues::{self, Recipients, ring};

/// Returns an event loop without a thread, the producer of its commands, and the consumer of its
/// events with a ring of size `events`.
fn event_loop(events: usize) -> (EventLoop, Producer<NetworkCommand>, Consumer<RtcEvent>) {
    let (event_loop, commands, events, _) = event_loop_with_bell(events);
    (event_loop, commands, events)
}

/// Returns an event loop without a thread, the producer of its commands, the consumer of its events
/// with a ring of size `events`, and the eventfd that wakes the conference.
fn event_loop_with_bell(
    events: usize,
) -> (
    EventLoop,
    Producer<NetworkCommand>,
    Consumer<RtcEvent>,
    Arc<OwnedFd>,
) {
    let bell = Arc::new(eventfd(0, EventfdFlags::NONBLOCK).expect("a descriptor"));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let wake = eventfd(0, EventfdFlags::NONBLOCK).expect("a descriptor");
    let (commands, to_do) = ring(10_000);
    let (happened, events) = ring(events);
    let metrics = Arc::new(RtcMetrics::default());
    let wake = Arc::new(wake);
    let event_loop = EventLoop {
        transmitter: BatchSender::new(socket.local_addr().expect("bound")),
        writer: SocketWriter::default(),
        peers: Peers::new(metrics.clone()),
        batching: RxBatching::new(Instant::now()),
        next_mixer: 0,
        parts: Parts {
            socket,
            negotiator: Negotiator::start(wake.clone()).expect("a thread"),
            wake,
            commands: to_do,
            stop: Arc::default(),
            mixers: NetworkEnds::default(),
            events: happened,
            bell: bell.clone(),
            metrics,
            candidates: Vec::new(),
            fifo_priority: None,
        },
    };
    (event_loop, commands, events, bell)
}

#[test]
fn event_loop_spreads_a_flood_of_commands_over_several_turns_without_waiting() {
    let (mut event_loop, mut commands, _events) = event_loop(1);
    let everybody: Vec<ParticipantId> = (1..=100).map(ParticipantId).collect();
    let text: Arc<str> = "hello".into();
    for _ in 0..100 {
        let tell = NetworkCommand::Text(everybody.clone(), text.clone());
        assert!(commands.push(tell).is_ok());
    }
    event_loop.parts.stop.store(true, Ordering::Release);
    let mut turns = 0;
    while !event_loop.parts.commands.is_empty() {
        assert!(
            !event_loop.is_stopped(),
            "all that it was told is done first"
        );
        let now = Instant::now();
        assert_eq!(event_loop.patience(now), (Some(Duration::ZERO), false));
        let before = event_loop.parts.commands.slots();
        event_loop.take_commands();
        let taken = before - event_loop.parts.commands.slots();
        assert!(taken <= 10, "a thousand messages");
        turns += 1;
    }
    assert!(turns >= 10);
    assert_eq!(event_loop.patience(Instant::now()), (None, false));
    assert!(event_loop.is_stopped());
}

#[test]
fn event_loop_serves_other_mixers_while_one_mixer_stalls_in_a_send() {
    let (mut event_loop, _commands, _events) = event_loop(1);
    let (ends, mut mixers) = queues::media(2);
    event_loop.parts.mixers = ends;
    let outbound = |time: u32| Outbound {
        to: Recipients::one(ParticipantId(9)),
        packet: OutPacket {
            time: RtpTime(time),
            marker: false,
            sources: Sources::default(),
            payload: Payload::EMPTY,
        },
    };
    let [first, second] = &mut mixers[..] else {
        panic!("two mixers");
    };
    // The first mixer has reserved a place in its ring for a packet and stalls before publishing
    // it.
    let _reserved = first.packets_out.write_chunk_uninit(1).expect("room");
    for time in 0..BATCH as u32 + 1 {
        assert!(second.packets_out.push(outbound(time)).is_ok());
    }
    assert_eq!(event_loop.take_packets(), BATCH);
    assert_eq!(
        event_loop.patience(Instant::now()),
        (Some(Duration::ZERO), false)
    );
    assert_eq!(event_loop.take_packets(), 1);
    assert_eq!(event_loop.take_packets(), 0);
    assert_eq!(event_loop.patience(Instant::now()), (None, false));
    // The event loop takes packets from two sending mixers in turn.
    for time in 0..BATCH as u32 {
        assert!(first.packets_out.push(outbound(time)).is_ok());
        assert!(second.packets_out.push(outbound(time)).is_ok());
    }
    assert_eq!(event_loop.take_packets(), BATCH);
    let left = event_loop.parts.mixers.from_mixers.iter();
    let left: Vec<usize> = left.map(Consumer::slots).collect();
    assert_eq!(left, [BATCH / 2, BATCH / 2]);
}

#[test]
fn event_loop_wakes_the_conference_only_after_passing_on_events() {
    let (mut event_loop, _commands, mut events, bell) = event_loop_with_bell(1);
    let is_rung = || rustix::io::read(&*bell, &mut [0u8; 8]).is_ok();
    event_loop.hand_on_events();
    assert!(!is_rung());
    let connected = RtcEvent::Connected(ParticipantId(7));
    event_loop.peers.out.events.push_back(connected.clone());
    event_loop.peers.out.events.push_back(connected);
    event_loop.hand_on_events();
    assert!(is_rung());
    event_loop.hand_on_events();
    assert!(!is_rung(), "there was no room for more news");
    assert!(events.pop().is_ok());
    event_loop.hand_on_events();
    assert!(is_rung());
}

#[test]
fn event_loop_never_loses_state_events() {
    let (mut event_loop, _commands, mut events) = event_loop(1);
    let id = ParticipantId(7);
    let text = |n: u32| RtcEvent::Text(id, n.to_string());
    let states = [
        RtcEvent::Connected(id),
        RtcEvent::ChannelOpen(id),
        RtcEvent::Disconnected(id),
        RtcEvent::Gone(id, Reason::Closed),
    ];
    event_loop.peers.out.events.push_back(text(1));
    event_loop.peers.out.events.push_back(text(2));
    event_loop.peers.out.events.extend(states.clone());
    let mut told = Vec::new();
    for _ in 0..5 {
        event_loop.hand_on_events();
        told.extend(events.pop());
    }
    assert_eq!(told[0], text(1));
    assert_eq!(told[1..], states);
    assert_eq!(event_loop.parts.metrics.dropped_total(Dropped::Event), 1);
}
