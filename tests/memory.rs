//! After a crowd has joined and left, the server uses as little memory as before.
//!
//! `cargo test --release --test memory -- --ignored --nocapture` lets 15,000 participants join and
//! leave, twice.
#![cfg(target_os = "linux")]

#[path = "common/radio.rs"]
mod radio;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mixminus::bench::procfs::Sample;
use radio::Served;
use reqwest::Client;

/// The SDP offer of Chromium.
const OFFER: &str = include_str!("offers/chrome.sdp");

/// The number of HTTP connections that post offers at the same time, each to a room of its own.
const TOGETHER: usize = 8;

/// The number of participants that each connection keeps in its room at one time: in the measured
/// rounds, and in the warm-up.
const CROWD: usize = 15;
const FEW: usize = 2;

/// The number of joins in the warm-up: after them everything that the server makes once and keeps
/// has been made.
const WARM_UP: usize = 300;

/// The longest wait for the server's memory to shrink. The allocator returns memory within ten
/// seconds; the rest is a margin for stalled machines.
const GIVEN_BACK: Duration = Duration::from_secs(120);

#[test]
fn server_returns_its_memory_after_a_crowd_has_left() {
    come_and_go(1_500);
}

#[test]
#[ignore = "takes some minutes: 30,000 joins"]
fn server_returns_its_memory_after_a_crowd_of_15_000_has_left() {
    come_and_go(15_000);
}

fn come_and_go(joins: usize) {
    // Installing the provider fails if another test of this binary has already done so.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Served::with(&["--join-burst=1000000", "--join-rate=10000", "--log=error"]);
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let started_kib = resident_kib(&server);
    runtime.block_on(churn(&server, WARM_UP, FEW));
    let before_kib = resident_kib(&server);
    for round in 1..=2 {
        let begun = Instant::now();
        runtime.block_on(churn(&server, joins, CROWD));
        let (took, full_kib) = (begun.elapsed(), resident_kib(&server));
        let after_kib = within_kib(&server, before_kib + MOST_GROWTH_KIB);
        println!(
            "round {round}: {joins} joins in {:.1} s; {started_kib} KiB at the start, {before_kib} after {WARM_UP} joins, \
             {full_kib} when the last had left, {after_kib} later",
            took.as_secs_f64()
        );
        assert!(after_kib <= before_kib + MOST_GROWTH_KIB, "{after_kib}");
    }
}

/// Lets `joins` participants join and leave in all, with `together` of them in each room at a time.
/// None of them ever connects.
async fn churn(server: &Served, joins: usize, together: usize) {
    let left = Arc::new(AtomicUsize::new(joins));
    let rooms = (0..TOGETHER).map(|room| {
        let posts = server.url(&format!("crowd-{room}"));
        let origin = format!("http://{}", server.http());
        let left = left.clone();
        tokio::spawn(async move {
            let client = Client::builder().no_proxy().build().expect("a client");
            let mut crowd = std::collections::VecDeque::new();
            while take_one(&left) {
                crowd.push_back(join(&client, &posts).await);
                if crowd.len() > together {
                    let first = crowd.pop_front().expect("it is there");
                    leave(&client, &origin, &first).await;
                }
            }
            for session in crowd {
                leave(&client, &origin, &session).await;
            }
        })
    });
    for room in rooms.collect::<Vec<_>>() {
        room.await.expect("everybody joins and leaves");
    }
}

fn take_one(left: &AtomicUsize) -> bool {
    let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(1)
    });
    taken.is_ok()
}

/// Lets a participant join and returns the path of the session. Asks again while the server is too
/// busy.
async fn join(client: &Client, posts: &str) -> String {
    let offer = OFFER.replace("\r\n", "\n").replace('\n', "\r\n");
    loop {
        let post = client.post(posts).header("content-type", "application/sdp");
        let answer = post.body(offer.clone()).send().await.expect("it answers");
        if answer.status() == 503 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        assert_eq!(answer.status(), 201, "{answer:?}");
        let location = answer.headers().get("location").expect("a session");
        return location.to_str().expect("a path").to_owned();
    }
}

async fn leave(client: &Client, origin: &str, session: &str) {
    let answer = client.delete(format!("{origin}{session}")).send().await;
    assert!(answer.expect("it answers").status().is_success());
}

/// Returns the server's resident memory, as soon as it is at most `most_kib` or after `GIVEN_BACK`.
fn within_kib(server: &Served, most_kib: u64) -> u64 {
    let end = Instant::now() + GIVEN_BACK;
    while resident_kib(server) > most_kib && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(250));
    }
    resident_kib(server)
}

fn resident_kib(server: &Served) -> u64 {
    Sample::of(server.pid()).expect("it runs").rss_bytes() / 1024
}

/// The bound on the growth of the server's memory.
const MOST_GROWTH_KIB: u64 = 16 * 1024;
