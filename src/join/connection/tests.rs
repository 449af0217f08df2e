//! Two clients connected to each other. The answer is changed to forms that other servers write.

use std::net::Ipv4Addr;

use super::super::media::{Media, MediaOptions};
use super::super::pcm::{PcmError, Source};
use super::*;

/// An endless silent source.
struct Silence;

impl Source for Silence {
    fn read(&mut self, pcm: &mut [f32]) -> Result<usize, PcmError> {
        pcm.fill(0.0);
        Ok(pcm.len())
    }
}

const LOOPBACK: Reach = Reach::From(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// Connects two clients and applies `change` to the answer that the offering client gets; returns
/// whether that client connects.
async fn connect(change: impl FnOnce(&str) -> String) -> Result<(), ConnectionError> {
    let talking = MediaOptions {
        source: Some(Box::new(Silence)),
        ..MediaOptions::default()
    };
    let caller = Media::start(talking).expect("a thread");
    let callee = Media::start(MediaOptions::default()).expect("a thread");
    let (offering, offer) = Connection::offer(caller.sockets().clone(), LOOPBACK).await?;
    let answered = Connection::answer(callee.sockets().clone(), LOOPBACK, offer).await;
    let (answering, answer) = answered?;
    let accepted = offering.accept(change(&answer)).await;
    let outcome = match accepted {
        Ok(()) => offering.up().await,
        Err(error) => Err(error),
    };
    if outcome.is_err() {
        assert!(
            !offering.say("who are you?").await,
            "nothing is sent to a stranger"
        );
    }
    offering.close().await;
    answering.close().await;
    for media in [caller, callee] {
        media.finish().await.expect("nothing is recorded");
    }
    outcome
}

/// Moves attributes from the media sections to the session level.
fn at_session_level(answer: &str, names: &[&str]) -> String {
    let is_moved = |line: &str| {
        let name = line
            .strip_prefix("a=")
            .and_then(|rest| rest.split(':').next());
        name.is_some_and(|name| names.contains(&name))
    };
    let mut moved: Vec<&str> = Vec::new();
    for line in answer.lines().filter(|line| is_moved(line)) {
        if !moved.contains(&line) {
            moved.push(line);
        }
    }
    let mut changed = String::new();
    for line in answer.lines().filter(|line| !is_moved(line)) {
        if line.starts_with("m=") {
            moved
                .drain(..)
                .for_each(|line| changed += &format!("{line}\r\n"));
        }
        changed += &format!("{line}\r\n");
    }
    changed
}

/// Adds fingerprints of other certificates before and after every fingerprint.
fn among_others(answer: &str) -> String {
    let others = |hash: &str, bytes: usize| {
        format!("a=fingerprint:{hash} {}\r\n", ["5A"; 64][..bytes].join(":"))
    };
    let mut changed = String::new();
    for line in answer.lines() {
        let is_fingerprint = line.starts_with("a=fingerprint:");
        if is_fingerprint {
            changed += &others("sha-512", 64);
            changed += &others("sha-256", 32);
        }
        changed += &format!("{line}\r\n");
        if is_fingerprint {
            changed += &others("sha-1", 20);
        }
    }
    changed
}

#[tokio::test]
async fn client_connects_with_an_answer_whose_attributes_are_at_session_level() {
    for names in [
        &["setup"][..],
        &["ice-ufrag", "ice-pwd"],
        &[
            "setup",
            "ice-ufrag",
            "ice-pwd",
            "fingerprint",
            "ice-options",
        ],
    ] {
        let connected = connect(|answer| {
            let changed = at_session_level(answer, names);
            assert!(
                changed != answer && changed.len() < answer.len(),
                "{names:?}"
            );
            changed
        });
        let connected = connected.await;
        assert!(connected.is_ok(), "{names:?}: {connected:?}");
    }
}

#[tokio::test]
async fn server_certificate_may_match_any_fingerprint_of_the_answer() {
    let connected = connect(among_others).await;
    assert!(connected.is_ok(), "{connected:?}");
    let connected = connect(|answer| at_session_level(&among_others(answer), &["fingerprint"]));
    let connected = connected.await;
    assert!(connected.is_ok(), "{connected:?}");
}

#[tokio::test]
async fn certificate_that_the_answer_does_not_announce_is_refused() {
    let connected = connect(|answer| {
        let (before, value) = answer
            .split_once("a=fingerprint:sha-256 ")
            .expect("there is one");
        let (value, _) = value.split_once("\r\n").expect("a line");
        assert!(before.starts_with("v=0"));
        let other = match value.starts_with('0') {
            true => format!("1{}", &value[1..]),
            false => format!("0{}", &value[1..]),
        };
        answer.replace(value, &other)
    });
    let connected = connected.await;
    assert!(
        matches!(connected, Err(ConnectionError::Certificate)),
        "{connected:?}"
    );
}
