//! Calls of constrained clients: low bitrates, slow processors, small buffers, changing addresses,
//! no Opus.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

#[path = "common/call.rs"]
#[allow(dead_code, reason = "each test uses its own part")]
mod call;
#[path = "transport/client.rs"]
mod client;
mod common {
    pub mod sound;
}

use std::time::{Duration, Instant};

use call::Host;
use client::{Client, Kind};
use common::sound::voice;
use mixer::codec::g711::Law;
use mixer::codec::opus::{OpusDecoder, OpusEncoder};
use mixer::codec::{Codec, Decode, Encode, Encoding, Profile, ReceiverLimits};
use mixer::format::{Layout, TickLength};
use mixer::packet::Payload;

const SECOND: Duration = Duration::from_secs(1);
const FRAME: Duration = Duration::from_millis(20);

/// The size of the IPv4 and UDP headers of a datagram.
const HEADERS_BYTES: usize = 20 + 8;

/// Runs several clients side by side, each for about a millisecond in turn, until `each` returns
/// true; returns false if the limit is reached first.
fn run(
    clients: &mut [Client],
    limit: Duration,
    mut each: impl FnMut(&mut [Client]) -> bool,
) -> bool {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        clients.iter_mut().for_each(Client::turn);
        if each(clients) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// Lets the first client send a packet every 20 ms, until there are no more packets or the limit is
/// reached.
fn talk(clients: &mut [Client], limit: Duration, packets: impl IntoIterator<Item = &'static [u8]>) {
    let (mut packets, mut due) = (packets.into_iter(), Instant::now());
    run(clients, limit, |clients| {
        while due <= Instant::now() {
            let Some(packet) = packets.next() else {
                return true;
            };
            clients[0].send(packet);
            due += FRAME;
        }
        false
    });
}

/// Posts a client's offer, changed by `edit`, and applies the answer; returns the path of the
/// session. A query may follow the room's name.
fn join(
    host: &Host,
    client: &mut Client,
    room: &str,
    edit: impl FnOnce(String) -> String,
) -> String {
    let (session, answer) = host.post(room, &edit(client.offer()));
    client.answer(&answer);
    session
}

fn same(offer: String) -> String {
    offer
}

/// Changes an offer to what the smallest clients ask for: 8 kHz at 6 kbit/s in packets of 60 ms,
/// without header extensions.
fn little(offer: String) -> String {
    let lines = offer.lines().filter(|line| !line.starts_with("a=extmap"));
    let lines = lines.map(|line| match line.strip_prefix("a=fmtp:111 ") {
        Some(_) => {
            "a=fmtp:111 maxplaybackrate=8000;maxaveragebitrate=6000\r\na=ptime:60\r\n".to_owned()
        }
        None => format!("{line}\r\n"),
    });
    lines.collect()
}

/// Returns this many seconds of a voice as Opus packets of 20 ms.
fn speech(seconds: usize) -> Vec<&'static [u8]> {
    let encoding = Encoding::new(Profile::Voice, &ReceiverLimits::default(), TickLength::Ms20);
    let mut encoder = OpusEncoder::new(&encoding);
    let pcm = voice("human-en-female");
    let frames = pcm.chunks_exact(960).cycle().take(50 * seconds);
    frames
        .map(|frame| {
            let mut payload = Payload::EMPTY;
            encoder.encode(frame, &mut payload).unwrap();
            &*payload.as_slice().to_vec().leak()
        })
        .collect()
}

/// Returns the bits per second that a client received between two instants, IP and UDP headers
/// included.
fn bps(client: &Client, from: Instant, until: Instant) -> f64 {
    let came = client
        .wire
        .iter()
        .filter(|came| (from..until).contains(&came.at));
    let bytes: usize = came.map(|came| came.bytes + HEADERS_BYTES).sum();
    bytes as f64 * 8.0 / (until - from).as_secs_f64()
}

/// Returns the number of datagrams of each kind that a client received between two instants.
fn kinds(client: &Client, from: Instant, until: Instant) -> Vec<(Kind, usize)> {
    [Kind::Stun, Kind::Dtls, Kind::Rtp, Kind::Rtcp]
        .map(|kind| {
            let came = client.wire.iter();
            let came = came.filter(|came| (from..until).contains(&came.at) && came.kind == kind);
            (kind, came.count())
        })
        .into()
}

/// The bitrates include IP, UDP, RTP and SRTP, reports and consent checks.
#[test]
fn stream_of_6_kbps_takes_at_most_14_kbps_on_the_wire_and_at_most_800_bps_in_silence() {
    let host = Host::start();
    let mut clients = [Client::new(1, false), Client::sparse(2)];
    join(&host, &mut clients[0], "channel", same);
    join(&host, &mut clients[1], "channel", little);
    assert!(run(&mut clients, 10 * SECOND, |clients| clients
        .iter()
        .all(|it| it.connected)));

    talk(&mut clients, 20 * SECOND, speech(2));
    let began = Instant::now();
    talk(&mut clients, 30 * SECOND, speech(12));
    let ended = Instant::now();
    let talking_bps = bps(&clients[1], began, ended);
    println!(
        "somebody talks: {talking_bps:.0} bit/s, {:?}",
        kinds(&clients[1], began, ended)
    );

    run(&mut clients, 5 * SECOND, |_| false);
    let quiet = Instant::now();
    run(&mut clients, 20 * SECOND, |_| false);
    let silent = Instant::now();
    let silent_bps = bps(&clients[1], quiet, silent);
    let came = kinds(&clients[1], quiet, silent);
    println!("nobody has for 5 s: {silent_bps:.0} bit/s, {came:?}");

    // 16.7 packets per second, less those of the pauses in the voice.
    let packets = clients[1].packets.len();
    assert!((150..=260).contains(&packets), "{packets} packets of 60 ms");
    assert!(
        talking_bps > 8_000.0 && talking_bps <= 14_000.0,
        "{talking_bps:.0}"
    );
    assert!(silent_bps > 50.0 && silent_bps <= 800.0, "{silent_bps:.0}");
    assert_eq!(
        (came[1].1, came[2].1),
        (0, 0),
        "nothing but consent and reports"
    );
    host.stop();
}

/// A room's tick is 20 ms. A receiver that takes at most 10 ms per packet is sent two packets per
/// tick.
#[test]
fn server_sends_no_packet_longer_than_the_receivers_maxptime() {
    let host = Host::start();
    let mut clients = [Client::new(1, false), Client::new(2, false)];
    join(&host, &mut clients[0], "channel", same);
    let short = |offer: String| offer.replace("a=fmtp:111 ", "a=maxptime:10\r\na=fmtp:111 ");
    join(&host, &mut clients[1], "channel", short);
    assert!(run(&mut clients, 10 * SECOND, |clients| clients
        .iter()
        .all(|it| it.connected)));
    talk(&mut clients, 20 * SECOND, speech(3));
    let packets = &clients[1].packets;
    assert!(packets.len() > 200, "{} packets", packets.len());
    for packet in packets {
        let samples = Codec::Opus.samples(&packet.payload);
        assert_eq!(samples, Some(480), "10 ms");
    }
    let steps = packets.windows(2).map(|pair| {
        let (before, after) = (&pair[0].header, &pair[1].header);
        let numbers = after.sequence_number.wrapping_sub(before.sequence_number);
        (numbers, after.timestamp.wrapping_sub(before.timestamp))
    });
    let in_step = steps.filter(|step| *step == (1, 480)).count();
    // The room may adjust its tick once to the talker's packets, and a stalled machine skips a
    // tick.
    assert!(
        in_step + 10 > packets.len(),
        "{in_step} of {}",
        packets.len()
    );
    host.stop();
}

/// The server answers a DTLS flight in a millisecond. A microcontroller needs seconds for each
/// flight of its own.
#[test]
fn server_waits_for_a_slow_dtls_handshake_in_both_roles() {
    let host = Host::start();
    let mut clients = [Client::new(1, true), Client::new(2, true)];
    for (client, setup) in clients.iter_mut().zip(["active", "passive"]) {
        client.dtls_delay = Duration::from_millis(4_500);
        let asks = |offer: String| offer.replace("a=setup:actpass", &format!("a=setup:{setup}"));
        join(&host, client, "slow", asks);
    }
    let began = Instant::now();
    let mut took = [Duration::ZERO; 2];
    run(&mut clients, 29 * SECOND, |clients| {
        for (client, took) in clients.iter().zip(&mut took) {
            if client.connected && took.is_zero() {
                *took = began.elapsed();
            }
        }
        took.iter().all(|took| !took.is_zero())
    });
    println!("connected after {took:?}");
    for took in took {
        assert!((8 * SECOND..20 * SECOND).contains(&took), "{took:?}");
    }
    assert!(run(&mut clients, 5 * SECOND, |clients| {
        clients.iter().all(|client| client.channel.is_some())
    }));
    host.stop();
}

/// libpeer has a buffer of 4,096 bytes for the whole response to its `POST`.
#[test]
fn sdp_answer_to_every_offer_fits_into_4096_bytes() {
    let host = Host::start();
    for entry in std::fs::read_dir("tests/offers").unwrap() {
        let path = entry.unwrap().path();
        let offer = std::fs::read_to_string(&path).unwrap();
        for query in ["", "?profile=thin&name=a-name-of-some-length"] {
            let target = format!("/v1/rooms/room-of-some-length/participants{query}");
            let reply = host.ask("POST", &target, "application/sdp", &offer);
            let bytes = reply.head.len() + 4 + reply.body.len();
            println!("{} {query}: {bytes} bytes", path.display());
            assert_eq!(reply.status, 201, "{}: {}", path.display(), reply.body);
            assert!(bytes < 4_096, "{}: {bytes}", path.display());
            assert!(reply.body.starts_with("v=0\r\n") && reply.body.contains("a=candidate:"));
            assert!(
                !reply.body.contains("rtcp-fb"),
                "no feedback that nobody asked for"
            );
            let is_opus = reply.body.contains("opus/48000");
            let little = reply.body.contains("maxaveragebitrate=16000");
            // The offer of the web player (`whep.sdp`) asks for low rates by itself.
            let is_little = is_opus && (!query.is_empty() || path.ends_with("whep.sdp"));
            assert_eq!(little, is_little, "{}", path.display());
            assert_eq!(reply.body.contains("useinbandfec"), is_opus && !little);
        }
    }
    host.stop();
}

/// The client's address changes, as behind a NAT, without the client noticing.
#[test]
fn server_follows_a_client_to_the_new_address_of_its_connectivity_checks() {
    let host = Host::start();
    let mut clients = [Client::new(1, false), Client::new(2, true)];
    join(&host, &mut clients[0], "train", same);
    let session = join(&host, &mut clients[1], "train", same);
    assert!(run(&mut clients, 10 * SECOND, |clients| clients
        .iter()
        .all(|it| it.connected)));
    let tone = || call::tone().into_iter().cycle();
    talk(&mut clients, 2 * SECOND, tone());
    assert!(clients[1].packets.len() > 50);

    clients[1].is_moved();
    let moved = Instant::now();
    talk(&mut clients, 16 * SECOND, tone());
    let found = clients[1]
        .wire
        .iter()
        .find(|came| came.at > moved && came.kind == Kind::Rtp);
    let gap = found.expect("media goes to the new address").at - moved;
    println!("found after {gap:?}");
    assert!(gap < 12 * SECOND, "{gap:?}");
    let heard = clients[1].packets.len();
    talk(&mut clients, SECOND, tone());
    assert!(clients[1].packets.len() > heard + 40, "and it goes on");
    // The server also sends everything else to the new address and accepts what comes from there:
    // data channel messages and consent checks.
    clients[1].texts.clear();
    clients[1].send_text("{\"command\":\"nonsense\",\"id\":7}");
    assert!(run(&mut clients, 3 * SECOND, |clients| !clients[1]
        .texts
        .is_empty()));
    run(&mut clients, 12 * SECOND, |_| false);
    // If the checks from the new address did not count as consent, the session would have ended by
    // now. The client still has the session that it joined.
    assert!(clients[1].connected);
    host.leave(&session);
    host.stop();
}

/// Returns one second of 440.5 Hz at -20 dBFS as mu-law packets of 20 ms.
fn telephone_tone() -> Vec<&'static [u8]> {
    let sample = |at| 0.1 * (std::f32::consts::TAU * 440.5 * at as f32 / 8_000.0).sin();
    let bytes: Vec<u8> = (0..8_000).map(|at| Law::Mu.compress(sample(at))).collect();
    bytes.leak().chunks(160).collect()
}

/// Returns the amplitude of 440.5 Hz and that of everything else, in the median window of 100 ms:
/// the tone restarts at the end of each second, which disturbs a few windows.
fn tone_and_rest(pcm: &[f32], rate: usize) -> (f64, f64) {
    let windows = pcm.chunks_exact(rate / 10);
    let mut measured: Vec<(f64, f64)> = windows.map(|it| tone_and_rest_in(it, rate)).collect();
    measured.sort_by(|a, b| a.0.total_cmp(&b.0));
    let tone = measured[measured.len() / 2].0;
    measured.sort_by(|a, b| a.1.total_cmp(&b.1));
    (tone, measured[measured.len() / 2].1)
}

fn tone_and_rest_in(pcm: &[f32], rate: usize) -> (f64, f64) {
    let (mut cos, mut sin, mut energy) = (0.0, 0.0, 0.0);
    for (at, &sample) in pcm.iter().enumerate() {
        let turns = std::f64::consts::TAU * (440.5 * at as f64 / rate as f64).fract();
        cos += f64::from(sample) * turns.cos();
        sin += f64::from(sample) * turns.sin();
        energy += f64::from(sample * sample);
    }
    let samples = pcm.len() as f64;
    let amplitude = 2.0 * cos.hypot(sin) / samples;
    let rest = 2.0 * energy / samples - amplitude * amplitude;
    (amplitude, rest.max(0.0).sqrt())
}

/// A client without Opus hears clients with Opus and clients without it, and is heard by both.
#[test]
fn g711_client_hears_and_is_heard_by_opus_and_g711_clients() {
    let host = Host::start();
    let mut clients = [
        Client::telephone(1),
        Client::telephone(2),
        Client::new(3, false),
    ];
    for client in &mut clients {
        join(&host, client, "desk", same);
    }
    assert!(run(&mut clients, 10 * SECOND, |clients| clients
        .iter()
        .all(|it| it.connected)));
    talk(
        &mut clients,
        5 * SECOND,
        [telephone_tone(), telephone_tone(), telephone_tone()].concat(),
    );

    let phone = &clients[1].packets;
    for pair in phone.windows(2).take(100) {
        let (from, to) = (&pair[0].header, &pair[1].header);
        assert_eq!((to.payload_type, pair[1].payload.len()), (0, 160));
        assert_eq!(to.timestamp.wrapping_sub(from.timestamp), 160);
        assert_eq!(to.csrc.len(), 1, "who is heard is named");
    }
    let heard: Vec<f32> = phone
        .iter()
        .flat_map(|packet| packet.payload.iter().map(|byte| Law::Mu.expand(*byte)))
        .collect();
    assert!(heard.len() > 16_000, "{} samples", heard.len());
    let (tone, rest) = tone_and_rest(&heard[4_000..], 8_000);
    println!("by telephone: {tone:.4}, and {rest:.4} that is not the tone");
    assert!((0.09..0.11).contains(&tone) && rest < 0.01, "{tone} {rest}");

    let mut decoder = OpusDecoder::new(Layout::Mono);
    let mut pcm = Vec::new();
    for packet in &clients[2].packets {
        let mut frame = [0.0; 960];
        let samples = decoder.decode(&packet.payload, &mut frame);
        assert_eq!(samples, Ok(960));
        pcm.extend(frame);
    }
    let (tone, rest) = tone_and_rest(&pcm[24_000..], 48_000);
    println!("by Opus: {tone:.4}, and {rest:.4}");
    assert!((0.09..0.11).contains(&tone) && rest < 0.02, "{tone} {rest}");

    // The same in the other direction.
    let before = clients[0].packets.len();
    clients.swap(0, 2);
    talk(&mut clients, 5 * SECOND, call::tone().repeat(2));
    let heard: Vec<f32> = clients[2].packets[before..]
        .iter()
        .flat_map(|packet| packet.payload.iter().map(|byte| Law::Mu.expand(*byte)))
        .collect();
    let (tone, rest) = tone_and_rest(&heard[4_000..], 8_000);
    println!("from Opus: {tone:.4}, and {rest:.4}");
    assert!((0.09..0.11).contains(&tone) && rest < 0.01, "{tone} {rest}");
    host.stop();
}

/// Asserts that a room with one talker and `listeners` listeners falls silent: two seconds after
/// the last word, only consent checks and reports are sent.
fn a_crowd_falls_silent(listeners: usize) {
    let host = Host::start();
    let room = format!("{{\"max_participants\":{}}}", listeners + 1);
    let made_room = host.ask("PUT", "/v1/rooms/crowd", "application/json", &room);
    assert!(made_room.status < 300, "{}", made_room.body);
    let made = (0..=listeners).map(|id| Client::sparse(id as u32 + 1));
    let mut clients: Vec<Client> = made.collect();
    for at in 0..clients.len() {
        let client = &mut clients[at];
        join(&host, client, "crowd", if at == 0 { same } else { little });
        // Handshakes are cheapest when a few clients make them at a time.
        run(&mut clients[at / 8 * 8..=at], 200 * FRAME, |some| {
            at % 8 < 7 || some.iter().all(|it| it.connected)
        });
    }
    assert!(run(&mut clients, 60 * SECOND, |all| all
        .iter()
        .all(|it| it.connected)));
    talk(&mut clients, 60 * SECOND, speech(6));
    let talked = Instant::now();
    run(&mut clients, 2 * SECOND, |_| false);
    let quiet = Instant::now();
    run(&mut clients, 12 * SECOND, |_| false);
    let end = Instant::now();
    let (mut stun, mut rtcp) = (0, 0);
    for client in &clients[1..] {
        let talking = kinds(client, talked - 4 * SECOND, talked);
        assert!(talking[2].1 > 30, "{talking:?}");
        // A busy machine may read late what was sent within the two seconds.
        let came = kinds(client, quiet + SECOND / 2, end);
        assert_eq!((came[1].1, came[2].1), (0, 0), "{came:?}");
        stun += came[0].1;
        rtcp += came[3].1;
    }
    println!(
        "{listeners} listeners in {:?}: {stun} of consent, {rtcp} reports",
        end - quiet
    );
    assert!(stun > 0, "they live");
    host.stop();
}

#[test]
fn thirty_listeners_are_sent_no_media_once_nobody_talks() {
    a_crowd_falls_silent(30);
}

#[test]
#[ignore = "takes a minute of both cores: run it by its name"]
fn five_hundred_listeners_are_sent_no_media_once_nobody_talks() {
    a_crowd_falls_silent(500);
}
