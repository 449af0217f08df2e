//! Tests the network thread end to end on loopback: real sockets, ICE, DTLS, SRTP and SCTP, with a
//! mixer that echoes.

mod client;
mod control;
mod directions;
mod hostile;
mod restart;

use std::cell::{RefCell, RefMut};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use client::Client;
use crossbeam_channel::{Receiver, bounded};
use mixer::packet::{OutPacket, Sources};
use mixer::{Level, ParticipantId, RtpTime};
use mixminus::queues::{self, Inbound, Outbound, Recipients};
use mixminus::rtc::{
    AcceptOptions, NetworkControl, Reason, Restart, RestartError, RestartResult, Rtc, RtcConfig,
    RtcEvent, RtcHandle, start,
};
use tokio::sync::oneshot;

const SECOND: Duration = Duration::from_secs(1);

/// How often the tests poll a ring that wakes no thread.
const POLL: Duration = Duration::from_micros(500);

/// A server whose mixer returns each packet to its sender, with the sender and another participant
/// as contributors.
struct Server {
    rtc: Rtc,
    handle: RtcHandle,
    control: RefCell<NetworkControl>,
    echoed: Receiver<Inbound>,
}

impl Server {
    fn start(configure: impl FnOnce(&mut RtcConfig)) -> Server {
        let mut config = RtcConfig::new("127.0.0.1:0".parse().expect("address"));
        configure(&mut config);
        let (network_ends, mut mixer_ends) = queues::media(1);
        let mut mixer = mixer_ends.pop().expect("one mixer");
        let (note, echoed) = bounded(1_024);
        let (rtc, control) = start(config, network_ends).expect("started");
        let wake = rtc.wake().expect("descriptor");
        std::thread::spawn(move || {
            while !mixer.packets_in.is_abandoned() {
                let Ok(inbound) = mixer.packets_in.pop() else {
                    std::thread::sleep(POLL);
                    continue;
                };
                let mut sources = Sources::default();
                sources.push(inbound.from, Level::from_wire(20));
                sources.push(ParticipantId(0xabcd), Level::from_wire(40));
                let packet = OutPacket {
                    time: RtpTime(inbound.packet.time.0),
                    marker: true,
                    sources,
                    payload: inbound.packet.payload,
                };
                let _ = mixer.packets_out.push(Outbound {
                    to: Recipients::one(inbound.from),
                    packet,
                });
                let _ = rustix::io::write(&wake, &1u64.to_ne_bytes());
                let _ = note.try_send(inbound);
            }
        });
        let handle = rtc.handle();
        Server {
            rtc,
            handle,
            control: control.into(),
            echoed,
        }
    }

    fn control(&self) -> RefMut<'_, NetworkControl> {
        self.control.borrow_mut()
    }

    /// Requests an ICE restart of participant `id`; the future resolves to its result.
    fn restart(&self, id: u32, restart: Restart) -> impl Future<Output = RestartResult> + use<> {
        let (reply, answer) = oneshot::channel();
        self.control().restart(ParticipantId(id), restart, reply);
        async { answer.await.unwrap_or(Err(RestartError::Unknown)) }
    }

    /// Lets `client` join as participant `id`, with its offer changed by `edit`; returns the
    /// answer.
    fn join(&self, client: &mut Client, id: u32, edit: impl FnOnce(String) -> String) -> String {
        let offer = edit(client.offer());
        let accepted = self
            .handle
            .accept(&offer, ParticipantId(id), AcceptOptions::default())
            .expect("accepted");
        assert!(self.control().start(accepted.peer).is_ok());
        client.answer(&accepted.answer);
        accepted.answer
    }

    fn event(&self, wanted: impl Fn(&RtcEvent) -> bool, limit: Duration) -> Option<RtcEvent> {
        let end = Instant::now() + limit;
        loop {
            match self.control().next_event() {
                Some(event) if wanted(&event) => return Some(event),
                Some(_) => {}
                None if Instant::now() >= end => return None,
                None => std::thread::sleep(POLL),
            }
        }
    }
}

fn same(offer: String) -> String {
    offer
}

#[test]
fn client_and_server_exchange_audio_packets() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1234, true);
    let begin = Instant::now();
    server.join(&mut client, 7, same);
    assert!(client.run(5 * SECOND, |client| client.connected
        && client.channel.is_some()));
    println!("connected after {:?}", begin.elapsed());
    assert_eq!(
        server.event(|event| matches!(event, RtcEvent::Connected(_)), SECOND),
        Some(RtcEvent::Connected(ParticipantId(7)))
    );
    for _ in 0..60 {
        client.send(&[0xfc, 1, 2, 3]);
        client.run(Duration::from_millis(5), |_| false);
    }
    assert!(client.run(2 * SECOND, |client| client.packets.len() == 60));
    let inbound: Vec<Inbound> = server.echoed.try_iter().collect();
    assert_eq!(inbound.len(), 60);
    assert_eq!(inbound[0].packet.level, Some(Level::from_wire(25)));
    assert_eq!(inbound[0].packet.payload.as_slice(), [0xfc, 1, 2, 3]);
    for pair in client.packets.windows(2) {
        assert_eq!(
            pair[1].header.sequence_number,
            pair[0].header.sequence_number.wrapping_add(1)
        );
        assert_eq!(pair[0].header.csrc, [7, 0xabcd]);
        assert_eq!(
            pair[0].header.get_extension(2).as_deref(),
            Some(&[20, 40][..])
        );
    }
    client.send_text("hello");
    assert!(client.run(SECOND, |_| {
        server
            .event(
                |event| *event == RtcEvent::Text(ParticipantId(7), "hello".to_owned()),
                Duration::ZERO,
            )
            .is_some()
    }));
    server
        .control()
        .send_text(vec![ParticipantId(7)], "hi".into());
    assert!(client.run(SECOND, |client| client.texts == ["hi"]));
    server.rtc.stop();
}

#[test]
fn peer_that_never_connects_is_removed() {
    let server = Server::start(|config| config.connect_timeout = Duration::from_millis(300));
    let mut client = Client::new(1, false);
    server.join(&mut client, 5, same);
    let gone = server.event(|event| matches!(event, RtcEvent::Gone(..)), 2 * SECOND);
    assert_eq!(
        gone,
        Some(RtcEvent::Gone(ParticipantId(5), Reason::NeverConnected))
    );
    assert_eq!(server.handle.metrics().peers.load(Ordering::Relaxed), 0);
    server.rtc.stop();
}

#[test]
fn peer_that_falls_silent_is_reported_disconnected_and_then_removed() {
    let server = Server::start(|config| {
        config.disconnected_after = 6 * SECOND;
        config.consent_timeout = 8 * SECOND;
    });
    let mut client = Client::new(1, false);
    server.join(&mut client, 5, same);
    assert!(client.run(5 * SECOND, |client| client.connected));
    client.mute = true;
    let begin = Instant::now();
    let gone = |event: &RtcEvent| matches!(event, RtcEvent::Gone(..) | RtcEvent::Disconnected(_));
    assert_eq!(
        server.event(gone, 10 * SECOND),
        Some(RtcEvent::Disconnected(ParticipantId(5)))
    );
    assert_eq!(
        server.event(gone, 10 * SECOND),
        Some(RtcEvent::Gone(ParticipantId(5), Reason::ConsentLost))
    );
    assert!(begin.elapsed() < 10 * SECOND, "{:?}", begin.elapsed());
    server.rtc.stop();
}

#[test]
fn close_by_the_client_is_noticed_at_once() {
    use rtc::sansio::Protocol;
    let server = Server::start(|_| {});
    for (id, data) in [(1, true), (2, false)] {
        let mut client = Client::new(id, data);
        server.join(&mut client, id, same);
        assert!(client.run(5 * SECOND, |client| client.connected));
        client.pc.close().expect("closed");
        let begin = Instant::now();
        client.turn();
        let gone = server.event(|event| matches!(event, RtcEvent::Gone(..)), SECOND);
        assert_eq!(
            gone,
            Some(RtcEvent::Gone(ParticipantId(id), Reason::Closed))
        );
        assert!(begin.elapsed() < Duration::from_millis(200));
    }
    server.rtc.stop();
}

#[test]
fn close_by_the_server_reaches_the_client() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, true);
    server.join(&mut client, 1, same);
    assert!(client.run(5 * SECOND, |client| client.connected
        && client.channel.is_some()));
    server.control().close(ParticipantId(1));
    assert!(client.run(SECOND, |client| client.closed));
    assert!(
        server
            .event(
                |event| matches!(event, RtcEvent::Gone(..)),
                Duration::from_millis(50)
            )
            .is_none()
    );
    server.rtc.stop();
}
