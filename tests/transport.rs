//! The network thread end to end on loopback: real sockets, real ICE, DTLS, SRTP and SCTP, a mixer that echoes.

#[path = "transport/client.rs"]
mod client;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use client::Client;
use crossbeam_channel::{Receiver, bounded};
use mixer::packet::{OutPacket, Sources};
use mixer::{Level, ParticipantId, RtpTime};
use mixminus::links::{Inbound, Outbound, PACKETS_IN, PACKETS_OUT};
use mixminus::rtc::{AcceptOptions, Dropped, OfferError, Reason, Rtc, RtcConfig, RtcEvent, RtcHandle, start};

const SECOND: Duration = Duration::from_secs(1);

/// A server whose mixer sends each packet back to its sender, and names the sender and another in it.
struct Server {
    rtc: Rtc,
    handle: RtcHandle,
    echoed: Receiver<Inbound>,
}

impl Server {
    fn start(configure: impl FnOnce(&mut RtcConfig)) -> Server {
        let mut config = RtcConfig::new("127.0.0.1:0".parse().expect("address"));
        configure(&mut config);
        let (to_mixer, from_net) = bounded::<Inbound>(PACKETS_IN);
        let (to_net, from_mixer) = bounded(PACKETS_OUT);
        let (note, echoed) = bounded(1_024);
        let rtc = start(config, to_mixer, from_mixer).expect("started");
        let wake = rtc.wake().expect("descriptor");
        std::thread::spawn(move || {
            for inbound in from_net {
                let mut sources = Sources::default();
                sources.push(inbound.from, Level::from_wire(20));
                sources.push(ParticipantId(0xabcd), Level::from_wire(40));
                let packet = OutPacket {
                    time: RtpTime(inbound.packet.time.0),
                    marker: true,
                    sources,
                    payload: inbound.packet.payload,
                };
                let _ = to_net.try_send(Outbound { to: inbound.from, packet });
                let _ = rustix::io::write(&wake, &1u64.to_ne_bytes());
                let _ = note.try_send(inbound);
            }
        });
        let handle = rtc.handle();
        Server { rtc, handle, echoed }
    }

    /// Joins `client` with its offer changed by `edit`.
    fn join(&self, client: &mut Client, id: u32, edit: impl FnOnce(String) -> String) -> String {
        let offer = edit(client.offer());
        let accepted = self
            .handle
            .accept(&offer, ParticipantId(id), AcceptOptions::default())
            .expect("accepted");
        assert!(self.handle.start(accepted.peer).is_ok());
        client.answer(&accepted.answer);
        accepted.answer
    }

    fn event(&self, wanted: impl Fn(&RtcEvent) -> bool, limit: Duration) -> Option<RtcEvent> {
        let end = Instant::now() + limit;
        while let Ok(event) = self.handle.events().recv_deadline(end) {
            if wanted(&event) {
                return Some(event);
            }
        }
        None
    }
}

fn same(offer: String) -> String {
    offer
}

#[test]
fn a_client_is_heard_and_hears() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1234, true);
    let begin = Instant::now();
    server.join(&mut client, 7, same);
    assert!(client.run(5 * SECOND, |client| client.connected && client.channel.is_some()));
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
        assert_eq!(pair[1].header.sequence_number, pair[0].header.sequence_number.wrapping_add(1));
        assert_eq!(pair[0].header.csrc, [7, 0xabcd]);
        assert_eq!(pair[0].header.get_extension(2).as_deref(), Some(&[20, 40][..]));
    }
    client.send_text("hello");
    assert!(client.run(SECOND, |_| {
        server.event(|event| *event == RtcEvent::Text(ParticipantId(7), "hello".to_owned()), Duration::ZERO).is_some()
    }));
    server.handle.send_text(ParticipantId(7), "hi".to_owned());
    assert!(client.run(SECOND, |client| client.texts == ["hi"]));
    server.rtc.stop();
}
