//! A thousand clients join and leave, some without closing their connection: the server's memory,
//! descriptors and threads stay as they were.
//!
//! This test has a binary of its own because it measures the whole process, which also holds the
//! clients.
#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(unsafe_code, reason = "glibc is asked what is allocated")]

#[path = "common/call.rs"]
#[allow(dead_code, reason = "each test uses its own part")]
mod call;
#[path = "transport/client.rs"]
mod client;

use std::time::{Duration, Instant};

use call::{Host, tone};
use client::Client;
use mixminus::bench::procfs::Sample;
use rtc::sansio::Protocol;

/// The number of joins before the first measurement: until then all buffers, arenas and worker
/// threads that the process keeps have been made.
const WARM_UP: usize = 200;

/// The number of joins between the first and the second measurement.
const MEASURED: usize = 1_000;

/// The number of clients that are connected at one time, four in each room.
const TOGETHER: usize = 8;

/// The number of clients with `Manner::Vanishes` in the warm-up and in the measured joins. As many
/// more have `Manner::NeverComes`.
const VANISHING: [usize; 2] = [40, 20];

/// The bound on the growth of allocated memory, that of Rust and of libopus together. Measured: 97
/// KiB after 1,000 joins and 101 KiB after 2,400, so no client leaves memory behind; only tables
/// have grown to their final size. One leaked peer would be 150 KiB.
const MAX_LIVE_GROWTH_KIB: i64 = 192;

/// The bound on the growth of resident memory. It depends on how glibc spreads allocations over its
/// arenas: 2 to 10 MiB in most runs, and no more after 2,400 joins than after 1,000.
const MAX_RESIDENT_GROWTH_KIB: i64 = 16 * 1024;

/// The longest wait until the server has removed all peers: it removes a peer that never connected
/// after 10 s, and one that fell silent after 26 s.
const REAPED: Duration = Duration::from_secs(40);

#[test]
fn server_leaks_no_memory_descriptor_or_thread_in_a_thousand_sessions() {
    let begin = Instant::now();
    let host = Host::start();
    let tone = tone();
    let mut calls = Calls::default();
    calls.churn(&host, &tone, WARM_UP, VANISHING[0]);
    let before = Held::settled();
    calls.churn(&host, &tone, MEASURED, VANISHING[1]);
    let after = Held::settled();
    println!("joins,{}", calls.joined);
    println!("with_media,{}", calls.with_media);
    println!("left_without_a_word,{}", calls.silent);
    let live_growth_kib = after.live_kib - before.live_kib;
    let resident_growth_kib = after.resident_kib - before.resident_kib;
    println!("live_kib,{},{live_growth_kib} more", before.live_kib);
    println!(
        "resident_kib,{},{resident_growth_kib} more",
        before.resident_kib
    );
    println!("descriptors,{},{}", before.descriptors, after.descriptors);
    println!("threads,{},{}", before.threads, after.threads);
    println!("seconds,{:.1}", begin.elapsed().as_secs_f64());
    assert_eq!(calls.joined, WARM_UP + MEASURED);
    assert!(calls.with_media >= 100);
    assert_eq!(after.descriptors, before.descriptors);
    assert_eq!(after.threads, before.threads);
    assert!(live_growth_kib <= MAX_LIVE_GROWTH_KIB);
    assert!(resident_growth_kib <= MAX_RESIDENT_GROWTH_KIB);
    assert_eq!(host.metric("mixminus_room_faults_total", ""), 0.0);
    assert_eq!(host.metric("mixminus_rtc_faults_total", ""), 0.0);
    host.stop();
}

/// How a client joins and leaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    /// Talks and hears for half a second, and leaves by `DELETE`.
    Talks,
    /// Connects, and leaves by `DELETE`.
    Connects,
    /// Leaves by `DELETE` before the connection is established.
    ChangesItsMind,
    /// Closes its connection, which ends the session.
    HangsUp,
    /// Connects, and then sends nothing more.
    Vanishes,
    /// Posts an offer, and never connects.
    NeverComes,
}

impl Manner {
    /// Chooses the manner of client `number`. Clients whose sessions have to time out come first:
    /// their timeouts run while the others join and leave.
    fn of(number: usize, vanishing: usize) -> Manner {
        match number {
            number if number < vanishing => Manner::Vanishes,
            number if number < 2 * vanishing => Manner::NeverComes,
            number => match number / TOGETHER % 4 {
                0 => Manner::Talks,
                1 => Manner::HangsUp,
                2 => Manner::ChangesItsMind,
                _ => Manner::Connects,
            },
        }
    }

    fn connects(self) -> bool {
        !matches!(self, Manner::ChangesItsMind | Manner::NeverComes)
    }
}

#[derive(Default)]
struct Calls {
    joined: usize,
    with_media: usize,
    silent: usize,
}

impl Calls {
    /// Lets `all` clients join and leave, `TOGETHER` at a time.
    fn churn(&mut self, host: &Host, tone: &[&'static [u8]], all: usize, vanishing: usize) {
        for first in (0..all).step_by(TOGETHER) {
            let manners =
                (first..all.min(first + TOGETHER)).map(|number| Manner::of(number, vanishing));
            self.together(host, tone, &manners.collect::<Vec<_>>());
        }
        let end = Instant::now() + REAPED;
        while host.metric("mixminus_rtc_peers", "") > 0.0
            || host.metric("mixminus_participants", "") > 0.0
        {
            assert!(Instant::now() < end, "somebody is still there");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn together(&mut self, host: &Host, tone: &[&'static [u8]], manners: &[Manner]) {
        let mut clients: Vec<(Client, String, Manner)> = Vec::new();
        for (at, manner) in manners.iter().enumerate() {
            let mut client = Client::new(1_000 + at as u32, at % 2 == 0);
            let session = host.join(&mut client, ["left", "right"][at % 2]);
            clients.push((client, session, *manner));
            self.joined += 1;
        }
        let end = Instant::now() + Duration::from_secs(10);
        let waits =
            |(client, _, manner): &(Client, String, Manner)| manner.connects() && !client.connected;
        while clients.iter().any(waits) {
            assert!(
                Instant::now() < end,
                "somebody does not connect: {manners:?}"
            );
            turn(&mut clients);
        }
        if clients.iter().any(|(.., manner)| *manner == Manner::Talks) {
            self.talk(&mut clients, tone);
        }
        for (client, session, manner) in &mut clients {
            match manner {
                Manner::Vanishes | Manner::NeverComes => self.silent += 1,
                Manner::HangsUp => {
                    let _ = client.pc.close();
                    client.turn();
                }
                _ => host.leave(session),
            }
        }
    }

    /// Lets all these clients talk for half a second.
    fn talk(&mut self, clients: &mut [(Client, String, Manner)], tone: &[&'static [u8]]) {
        for packet in &tone[..25] {
            let next = Instant::now() + Duration::from_millis(20);
            for (client, ..) in clients.iter_mut() {
                client.send(packet);
            }
            while Instant::now() < next {
                turn(clients);
            }
        }
        for (client, ..) in clients {
            assert!(client.packets.len() >= 10, "heard {}", client.packets.len());
            self.with_media += 1;
        }
    }
}

fn turn(clients: &mut [(Client, String, Manner)]) {
    for (client, ..) in clients {
        client.turn();
    }
    std::thread::sleep(Duration::from_millis(1));
}

/// The memory, descriptors and threads that the process holds.
struct Held {
    live_kib: i64,
    resident_kib: i64,
    descriptors: usize,
    threads: usize,
}

impl Held {
    /// Measures the process once its figures are stable: connections close a moment after their
    /// response, and idle threads end.
    fn settled() -> Held {
        let mut held = Held::now();
        let mut since = Instant::now();
        let end = since + Duration::from_secs(20);
        while since.elapsed() < Duration::from_secs(1) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
            let now = Held::now();
            if (now.descriptors, now.threads) != (held.descriptors, held.threads) {
                since = Instant::now();
            }
            held = now;
        }
        held
    }

    fn now() -> Held {
        let resident_bytes = Sample::of(std::process::id()).expect("Linux").rss_bytes();
        let count = |folder: &str| std::fs::read_dir(folder).expect("Linux").count();
        // Safety: `mallinfo2` has no argument and no precondition; it reads glibc's own figures
        // under glibc's locks.
        let allocated = unsafe { libc::mallinfo2() };
        Held {
            live_kib: (allocated.uordblks + allocated.hblkhd) as i64 / 1024,
            resident_kib: (resident_bytes / 1024) as i64,
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
        }
    }
}
