//! Simulates fifty rooms of radios that press, talk, keep the key pressed, move to other rooms,
//! change a room's mode and vanish: no floor stays taken, and no sound goes on, longer than it may.
//!
//! `cargo test --test radio_soak -- --ignored --nocapture` runs for ten minutes; `SOAK_SEED` sets
//! another seed. All judgements rest on what the server reports and on what its clients are sent,
//! with margins for a busy machine: what is stuck stays stuck beyond any margin.

#[path = "common/call.rs"]
#[allow(dead_code, reason = "each test uses its own part")]
mod call;
#[path = "transport/client.rs"]
mod client;
#[path = "soak/invariants.rs"]
mod invariants;
#[path = "soak/rng.rs"]
mod rng;
#[path = "soak/user.rs"]
mod user;
#[path = "soak/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use call::Host;
use invariants::InvariantCheck;
use mixer::codec::Profile;
use mixminus::config::Config;
use mixminus::rate_limit::Rate;
use rng::Rng;
use serde_json::json;
use user::User;
use world::World;

const ROOMS: usize = 50;

/// The number of threads that drive the radios, beside the thread that checks them.
const DRIVERS: usize = 2;

/// The modes that the rooms change between.
const MODES: [&str; 6] = ["open", "ptt", "multi:2", "cut-in", "broadcast", "moderated"];

/// The timers T1 (end of media), T2 (talk limit) and T3 (grace after a revocation), short so that
/// they often expire.
const END_OF_MEDIA: Duration = Duration::from_millis(600);
const TALK_LIMIT: Duration = Duration::from_secs(2);
const GRACE: Duration = Duration::from_millis(300);

/// How long, at most, sound that is under way is played after a release.
const LONGEST_DRAIN: Duration = Duration::from_millis(550);

/// The delay that a busy machine with two cores may add.
const SLACK: Duration = Duration::from_secs(3);

/// The time limits for the answer to a command over the data channel, and for the connection after
/// a join.
const ANSWERED: Duration = Duration::from_secs(8);
const CONNECTED: Duration = Duration::from_secs(15);

/// The length of a packet of sound.
const PACKET: Duration = Duration::from_millis(60);

/// The longest wait until the server has removed all radios that vanished: it removes a peer that
/// fell silent after 26 s.
const REAPED: Duration = Duration::from_secs(40);

#[test]
fn no_floor_and_no_sound_gets_stuck_in_fifty_rooms_of_radios() {
    soak(Duration::from_secs(15));
}

#[test]
#[ignore = "ten minutes"]
fn no_floor_and_no_sound_gets_stuck_in_fifty_rooms_of_radios_in_ten_minutes() {
    soak(Duration::from_secs(600));
}

fn soak(time: Duration) {
    let seed = std::env::var("SOAK_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok()).unwrap_or(4);
    println!("seed,{seed}");
    let world = World::new(Host::with(config()), ROOMS);
    for room in 0..ROOMS {
        let mode = MODES[room % MODES.len()];
        let path = world::path(room);
        let reply = world.ask("PUT", &path, &json!({ "mode": mode }).to_string());
        assert_eq!(reply.status, 201, "{}", reply.body);
    }
    let mut crews = crews(&world, seed);
    let mut watch = InvariantCheck::of(&world);
    until_all_are_in(&mut crews, &mut watch);

    let end = Instant::now() + time;
    together(
        &mut crews,
        &mut watch,
        || Instant::now() < end,
        |crew| {
            crew.storm();
        },
    );
    hush(&mut crews, &mut watch);
    everybody_goes_home(&mut crews, &mut watch);
    for nth in 0..4 {
        everybody_hears_one(&mut crews, &mut watch, nth);
        hush(&mut crews, &mut watch);
    }
    nobody_is_heard_unasked(&mut crews, &mut watch);
    hush(&mut crews, &mut watch);
    nothing_is_sent(&mut crews, &mut watch);
    drop(watch);
    everybody_leaves(crews);

    world.tell_counts();
    println!("seconds,{:.0}", world.since_start().as_secs_f64());
    world.assert_faultless();
    for what in [
        "granted at once",
        "granted later",
        "queued",
        "denied",
        "revoked: talked too long",
        "mode changes",
        "channel changes while talking",
        "vanished while talking",
        "looks at a floor of several",
        "looks at somebody who is heard",
    ] {
        assert!(world.counted(what) > 0, "nothing was seen of: {what}");
    }
    assert_eq!(world.host.metric("mixminus_room_faults_total", ""), 0.0);
    assert_eq!(world.host.metric("mixminus_rtc_faults_total", ""), 0.0);
    world.host.stop();
}

/// Returns the server's settings: two mixers, so that rooms are monitored across them, and packets
/// of 60 ms, so that there can be many radios.
fn config() -> Config {
    let mut config = Config {
        mixers: Some(2),
        realtime: false,
        ..Config::default()
    };
    config.room.profile = Profile::Thin;
    config.room.floor.end_of_media = END_OF_MEDIA;
    config.room.floor.talk_limit = Some(TALK_LIMIT);
    config.room.floor.grace = GRACE;
    config.room.floor.queue_limit = 3;
    // All clients have one IP address, act more often than people do, and may monitor any room.
    config.room.allow_monitors = Some(true);
    let often = Rate::new(1_000_000, 10_000);
    config.rates.joins = often;
    config.rates.room_changes = often;
    config
}

/// The radios that one thread drives.
struct Crew<'a> {
    world: &'a World,
    users: Vec<User>,
    rng: Rng,
    moves: Instant,
    moved: u32,
}

impl Crew<'_> {
    /// Lets every radio act at random. At times moves one radio to another room; at every fifth of
    /// these times the radio vanishes instead.
    fn storm(&mut self) {
        for user in &mut self.users {
            user.act(self.world);
        }
        let now = Instant::now();
        if now < self.moves {
            return;
        }
        // The radio that moves is alternately one that talks and one that does not.
        let of_talkers = self.moved.is_multiple_of(2);
        let may_move = |user: &&mut User| user.is_in() && user.is_talking() == of_talkers;
        let mut movable: Vec<&mut User> = self.users.iter_mut().filter(may_move).collect();
        if movable.is_empty() {
            return;
        }
        let at = self.rng.below(movable.len() as u64) as usize;
        if self.moved % 5 == 4 {
            movable[at].vanish(self.world);
        } else {
            let room = self.rng.below(ROOMS as u64) as usize;
            movable[at].change(self.world, room);
        }
        self.moved += 1;
        self.moves = now + self.rng.ms(300..900);
    }
}

/// Joins three or four radios to each room.
fn crews(world: &World, seed: u64) -> Vec<Crew<'_>> {
    let tone: &'static [&'static [u8]] = tone().leak();
    let mut rng = Rng::of(seed);
    let mut crews: Vec<Crew> = Vec::new();
    for _ in 0..DRIVERS {
        crews.push(Crew {
            world,
            users: Vec::new(),
            rng: Rng::of(rng.below(u64::MAX)),
            moves: Instant::now(),
            moved: 0,
        });
    }
    for nth in 0..ROOMS * 7 / 2 {
        let rng = Rng::of(rng.below(u64::MAX));
        let user = User::join(world, nth % ROOMS, nth % ROOMS, tone, rng);
        let crew = &mut crews[nth % DRIVERS];
        crew.users.push(user);
        // Radios that have joined must be driven while the others join.
        for crew in &mut crews {
            crew.users.iter_mut().for_each(|user| user.turn(world));
        }
    }
    crews
}

/// Drives all radios, calls `each` for each crew again and again, and checks every room, as long as
/// `more` returns true.
fn together(
    crews: &mut [Crew],
    watch: &mut InvariantCheck,
    more: impl Fn() -> bool,
    each: impl Fn(&mut Crew) + Sync,
) {
    static LOOKS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let (stop, each) = (&stop, &each);
    std::thread::scope(|scope| {
        for crew in crews {
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    let begun = Instant::now();
                    for user in &mut crew.users {
                        user.turn(crew.world);
                    }
                    each(crew);
                    std::thread::sleep(Duration::from_millis(5).saturating_sub(begun.elapsed()));
                }
            });
        }
        while more() {
            watch.look(LOOKS.fetch_add(1, Relaxed));
            std::thread::sleep(Duration::from_millis(200));
        }
        stop.store(true, Relaxed);
    });
}

/// Drives all radios and checks every room for `time`.
fn pass(crews: &mut [Crew], watch: &mut InvariantCheck, time: Duration) {
    let end = Instant::now() + time;
    together(crews, watch, || Instant::now() < end, |_| {});
}

fn everybody<'a>(crews: &'a mut [Crew]) -> impl Iterator<Item = &'a mut User> {
    crews.iter_mut().flat_map(|crew| &mut crew.users)
}

fn until_all_are_in(crews: &mut [Crew], watch: &mut InvariantCheck) {
    let end = Instant::now() + 2 * CONNECTED;
    while everybody(crews).any(|user| !user.is_in()) {
        assert!(Instant::now() < end, "somebody does not connect");
        pass(crews, watch, Duration::from_millis(200));
    }
}

/// Silences all radios and releases all keys. Asserts that all rooms become idle as soon as their
/// timers have expired.
fn hush(crews: &mut [Crew], watch: &mut InvariantCheck) {
    until_all_are_in(crews, watch);
    let world = crews[0].world;
    for user in everybody(crews) {
        user.hush(world);
    }
    let begun = Instant::now();
    let longest = END_OF_MEDIA + TALK_LIMIT + GRACE + SLACK;
    while let Some(busy) = watch.busy() {
        if begun.elapsed() > longest {
            world.fault(format!("not idle after {longest:?}: {busy}"));
            return;
        }
        pass(crews, watch, Duration::from_millis(200));
    }
    println!("idle after {:.1?}", begun.elapsed());
}

/// Moves all radios to their own rooms, without monitoring; every room gets the mode `ptt` and no
/// links.
fn everybody_goes_home(crews: &mut [Crew], watch: &mut InvariantCheck) {
    let world = crews[0].world;
    for room in 0..ROOMS {
        let settings = json!({ "mode": "ptt", "implicit_floor": false, "links": [] });
        world.patch(room, &settings);
    }
    for user in everybody(crews) {
        if user.room != user.home {
            user.change(world, user.home);
        }
    }
    until_all_are_in(crews, watch);
    for user in everybody(crews) {
        user.monitor(world, &BTreeSet::new());
    }
    pass(crews, watch, Duration::from_secs(1));
}

/// Lets radio number `nth` of each room talk. Asserts that the other radios of the room hear it and
/// no other radio.
fn everybody_hears_one(crews: &mut [Crew], watch: &mut InvariantCheck, nth: usize) {
    let world = crews[0].world;
    let mut talkers: Vec<Option<u32>> = vec![None; ROOMS];
    let mut seen = [0; ROOMS];
    for user in everybody(crews) {
        user.heard.clear();
        if seen[user.room] == nth {
            talkers[user.room] = Some(user.number());
            user.speak_up(world);
        }
        seen[user.room] += 1;
    }
    let is_deaf = |user: &User| {
        talkers[user.room].is_some_and(|it| it != user.number() && !user.heard.contains(&it))
    };
    let end = Instant::now() + TALK_LIMIT + SLACK;
    while everybody(crews).any(|user| is_deaf(user)) && Instant::now() < end {
        pass(crews, watch, Duration::from_millis(200));
    }
    for user in everybody(crews) {
        let (id, heard) = (&user.person.id, &user.heard);
        if is_deaf(user) {
            let talker = talkers[user.room];
            world.fault_in(user.room, format!("{id} does not hear {talker:08x?}"));
        }
        if heard.iter().any(|heard| Some(*heard) != talkers[user.room]) {
            world.fault_in(user.room, format!("{id} hears {heard:08x?}"));
        }
        world.count("ears that heard whom they should");
    }
}

/// Lets all radios send sound without the floor, and asserts that none is heard: if the server
/// still permitted a radio to talk, that radio would be.
fn nobody_is_heard_unasked(crews: &mut [Crew], watch: &mut InvariantCheck) {
    let world = crews[0].world;
    let until = Instant::now() + Duration::from_secs(1);
    for user in everybody(crews) {
        user.heard.clear();
        user.talk_unasked(until);
    }
    pass(crews, watch, Duration::from_secs(2));
    for user in everybody(crews) {
        if !user.heard.is_empty() {
            let (id, heard) = (&user.person.id, &user.heard);
            world.fault_in(
                user.room,
                format!("{id} hears {heard:08x?}, who did not ask"),
            );
        }
        world.count("ears that heard nobody who had not asked");
    }
}

/// Asserts that the clients are sent only reports and consent checks.
fn nothing_is_sent(crews: &mut [Crew], watch: &mut InvariantCheck) {
    pass(crews, watch, Duration::from_secs(4));
    let sounds = |crews: &mut [Crew]| everybody(crews).map(|user| user.sounds).sum::<u64>();
    let before = sounds(crews);
    pass(crews, watch, Duration::from_secs(2));
    let came = sounds(crews) - before;
    if came > 0 {
        crews[0].world.fault(format!("{came} packets of silence"));
    }
}

/// Lets all radios leave and deletes the rooms. Asserts that the server removes all participants,
/// also those that vanished.
fn everybody_leaves(mut crews: Vec<Crew>) {
    let world = crews[0].world;
    for user in everybody(&mut crews) {
        user.leave(world);
    }
    for room in 0..ROOMS {
        let path = world::path(room);
        // Radios that vanished late must be removed for their silence, not because their room ends.
        let reply = world.ask("PATCH", &path, r#"{"mode":"open"}"#);
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    let host = &world.host;
    let end = Instant::now() + REAPED;
    for metric in ["mixminus_rtc_peers", "mixminus_participants"] {
        while host.metric(metric, "") > 0.0 {
            let left = host.metric(metric, "");
            assert!(Instant::now() < end, "{metric} is {left}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    for room in 0..ROOMS {
        let reply = world.ask("DELETE", &world::path(room), "");
        assert!(reply.status < 300, "{}", reply.body);
    }
    assert_eq!(host.metric("mixminus_rooms", ""), 0.0);
}

/// Returns three seconds of 440.5 Hz at -20 dBFS as Opus packets of 60 ms.
fn tone() -> Vec<&'static [u8]> {
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Audio)
        .expect("an encoder");
    let sample = |at| 0.1 * (std::f32::consts::TAU * 440.5 * at as f32 / 48_000.0).sin();
    let samples: Vec<f32> = (0..144_000).map(sample).collect();
    let packets = samples
        .chunks(48 * PACKET.as_millis() as usize)
        .map(|frame| encoder.encode_vec_float(frame, 1_000));
    packets
        .map(|packet| &*packet.expect("a packet").leak())
        .collect()
}
