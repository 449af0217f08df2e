//! The data channel `control`, and data channels with other labels.

use std::time::Duration;

use mixer::ParticipantId;
use mixminus::rtc::{Dropped, MessageError, RtcEvent};

use super::client::Client;
use super::{SECOND, Server, same};

#[test]
fn server_accepts_only_short_text_on_the_control_channel_and_reports_refused_messages() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, true);
    server.join(&mut client, 1, same);
    assert!(client.run(5 * SECOND, |client| client.connected
        && client.channel.is_some()));
    let other = client
        .pc
        .create_data_channel("other", None)
        .expect("channel")
        .id();
    client.run(Duration::from_millis(300), |_| false);
    assert_ne!(
        client.channel,
        Some(other),
        "closed again at once, so never of use"
    );
    let id = ParticipantId(1);
    let comes = |client: &mut Client, wanted: RtcEvent| {
        let is_wanted = |event: &RtcEvent| *event == wanted;
        client.run(5 * SECOND, |_| {
            server.event(is_wanted, Duration::ZERO).is_some()
        })
    };
    client.send_binary(b"binary");
    let not_text = RtcEvent::BadMessage(id, MessageError::NotText);
    assert!(comes(&mut client, not_text));
    let limit_bytes = 16 * 1_024;
    for bytes in [limit_bytes + 1, 40_000, 64 * 1_024] {
        client.send_text(&"x".repeat(bytes));
        let too_long = RtcEvent::BadMessage(id, MessageError::TooLong { limit_bytes });
        assert!(comes(&mut client, too_long), "{bytes}");
    }
    assert_eq!(server.handle.metrics().dropped_total(Dropped::Message), 4);
    let longest = "x".repeat(limit_bytes);
    client.send_text(&longest);
    assert!(comes(&mut client, RtcEvent::Text(id, longest)));
    server.rtc.stop();
}

#[test]
fn surplus_data_channels_are_closed_and_the_call_continues() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, true);
    server.join(&mut client, 1, same);
    assert!(client.run(5 * SECOND, |client| client.connected
        && client.channel.is_some()));
    for round in 0..3 {
        for number in 0..20 {
            let label = format!("other {round} {number}");
            client
                .pc
                .create_data_channel(&label, None)
                .expect("channel");
        }
        client.run(Duration::from_millis(300), |_| false);
    }
    client.send(&[0xfc, 9]);
    assert!(client.run(SECOND, |client| !client.packets.is_empty()));
    client.send_text("still here");
    let said = RtcEvent::Text(ParticipantId(1), "still here".to_owned());
    assert!(client.run(5 * SECOND, |_| {
        server
            .event(|event| *event == said, Duration::ZERO)
            .is_some()
    }));
    let gone = server.event(|event| matches!(event, RtcEvent::Gone(..)), Duration::ZERO);
    assert_eq!(gone, None);
    server.rtc.stop();
}

#[test]
fn long_text_on_the_data_channel_arrives_as_one_message() {
    let server = Server::start(|_| {});
    let mut client = Client::new(1, true);
    server.join(&mut client, 1, same);
    assert!(client.run(5 * SECOND, |client| client.connected
        && client.channel.is_some()));
    for bytes in [1_000, 16 * 1_024, 64 * 1_024] {
        client.texts.clear();
        let text = "x".repeat(bytes);
        let to = vec![ParticipantId(1)];
        server.control().send_text(to, text.as_str().into());
        assert!(
            client.run(5 * SECOND, |client| client.texts.contains(&text)),
            "{bytes} bytes"
        );
    }
    server.rtc.stop();
}
