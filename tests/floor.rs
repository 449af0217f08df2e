//! Floor control with clients that send and hear: one participant talks at a time, and a lost
//! client does not keep the floor.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod measure;
    pub mod process;
    pub mod sound;
    pub mod test_server;
}

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::measure::{level_db, said_db};
use common::process::Process;
use common::sound::{Heard, RATE, TONES_HZ, Tone, scratch, write_tone};
use common::test_server::{EventLog, TestServer, url};
use mixminus::join::client::Client;
use mixminus::join::media::MediaOptions;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// The longest wait for an event that the server sends at once.
const SOON: Duration = Duration::from_secs(5);

/// How long the level of a talker is measured.
const LISTEN: Duration = Duration::from_secs(2);

/// How long silence is measured.
const LISTEN_TO_SILENCE: Duration = Duration::from_millis(500);

/// How long the test waits for an event that must not come.
const IN_VAIN: Duration = Duration::from_secs(1);

/// A participant who is heard has at least this level; a tone is played at -12 dBFS.
const HEARD_DB: f64 = -20.0;

/// A participant who is not heard has at most this level: 60 dB below a tone.
const UNHEARD_DB: f64 = -72.0;

/// A participant whose microphone is always on: only the server decides whether the participant is
/// heard.
struct Radio {
    client: Client,
    told: EventLog,
    heard: Heard,
    hz: f64,
}

impl Radio {
    async fn join(server: &TestServer, name: &str, hz: f64) -> Radio {
        let heard = Heard::default();
        let media = MediaOptions {
            source: Tone::boxed(hz),
            sink: heard.sink(),
            ..MediaOptions::default()
        };
        let client = server.join("channel", name, media).await;
        let told = EventLog::to(&client);
        let radio = Radio {
            client,
            told,
            heard,
            hz,
        };
        // The data channel is open once a command can be sent on it.
        let opened = async {
            while !radio.say(json!({"command":"floor_position"})).await {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, opened).await.expect("the data channel opens");
        radio.told.wait("floor_queued", 1, SOON).await;
        radio
    }

    fn id(&self) -> String {
        self.client.participant().expect("it is in")
    }

    async fn say(&self, command: Value) -> bool {
        self.client.say(&command.to_string()).await
    }

    async fn press(&self) {
        assert!(self.say(json!({"command":"floor_request"})).await);
    }

    async fn release(&self) {
        assert!(self.say(json!({"command":"floor_release"})).await);
    }
}

/// A participant that only listens.
struct Ear {
    client: Client,
    heard: Heard,
}

impl Ear {
    async fn join(server: &TestServer) -> Ear {
        let heard = Heard::default();
        let media = MediaOptions {
            sink: heard.sink(),
            ..MediaOptions::default()
        };
        let client = server.join("channel", "ear", media).await;
        Ear { client, heard }
    }

    /// Waits until all of these participants are heard, or until none of them is (`are_heard`). A
    /// change takes a moment, because sound that was sent before it arrives a little later.
    async fn until(&self, radios: &[&Radio], are_heard: bool) {
        let changed = async {
            loop {
                let lately = last(&self.heard.pcm(), RATE / 5);
                let is_so = |radio: &&Radio| match said_db(&lately, radio.hz) {
                    level_db if are_heard => level_db > HEARD_DB,
                    level_db => level_db < UNHEARD_DB,
                };
                if radios.iter().all(is_so) {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let changed = timeout(SOON, changed).await;
        changed.unwrap_or_else(|_| panic!("they do not become heard: {are_heard}"));
    }

    /// Measures the level of each of these participants over a time that starts now.
    async fn listen(&self, radios: &[&Radio], time: Duration) -> Vec<f64> {
        let from = self.heard.pcm().len();
        sleep(time).await;
        let pcm = self.heard.pcm();
        // Time for which no packet was sent counts as silence.
        let mut new = pcm[from..].to_vec();
        new.resize(new.len().max(RATE / 5), 0.0);
        radios.iter().map(|it| said_db(&new, it.hz)).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floor_is_granted_to_one_of_two_simultaneous_requests_and_the_denial_names_the_holder() {
    let server = TestServer::start();
    server.configure("channel", &json!({"mode":"ptt"})).await;
    let ear = Ear::join(&server).await;
    let ann = Radio::join(&server, "Ann", TONES_HZ[0]).await;
    let bo = Radio::join(&server, "Bo", TONES_HZ[1]).await;
    let both = [&ann, &bo];

    // Both radios have been sending all the time.
    let levels = ear.listen(&both, LISTEN_TO_SILENCE).await;
    println!("nobody has the floor: {levels:.0?} dBFS");
    assert!(levels.iter().all(|it| *it < UNHEARD_DB), "{levels:?}");

    let (winner, loser) = press_at_once(&ann, &bo).await;
    ear.until(&[winner], true).await;
    let levels = ear.listen(&[winner, loser], LISTEN).await;
    println!("one has it: {levels:.0?} dBFS");
    assert!(levels[0] > HEARD_DB && levels[1] < UNHEARD_DB, "{levels:?}");

    // The participant who was not granted the floor waits in the queue, and is told when they are
    // granted it.
    loser.press().await;
    let queued = loser.told.wait("floor_queued", 2, SOON).await;
    assert_eq!(queued["position"], 1);
    winner.release().await;
    let granted = loser.told.wait("floor_granted", 1, SOON).await;
    assert_eq!(granted["burst"], 2);
    ear.until(&[loser], true).await;
    ear.until(&[winner], false).await;
    let levels = ear.listen(&[loser, winner], LISTEN).await;
    println!("the other has it: {levels:.0?} dBFS");
    assert!(levels[0] > HEARD_DB && levels[1] < UNHEARD_DB, "{levels:?}");

    // The mode changes while the holder talks: in the mode `open` everybody is heard, after the
    // change back nobody.
    server.configure("channel", &json!({"mode":"open"})).await;
    ear.until(&both, true).await;
    let levels = ear.listen(&both, LISTEN).await;
    println!("an open room: {levels:.0?} dBFS");
    assert!(levels.iter().all(|it| *it > HEARD_DB), "{levels:?}");
    server.configure("channel", &json!({"mode":"ptt"})).await;
    ear.until(&both, false).await;
    let levels = ear.listen(&both, LISTEN_TO_SILENCE).await;
    assert!(levels.iter().all(|it| *it < UNHEARD_DB), "{levels:?}");

    for client in [ear.client, ann.client, bo.client] {
        client.leave().await.unwrap();
    }
    server.stop().await;
}

/// Lets two participants request the floor at the same time; returns the participant who was
/// granted it and the participant who was not.
async fn press_at_once<'a>(one: &'a Radio, other: &'a Radio) -> (&'a Radio, &'a Radio) {
    let both = [one, other];
    let press = json!({"command":"floor_request","queue":false});
    tokio::join!(one.say(press.clone()), other.say(press));
    let answered = async {
        loop {
            let granted = both.map(|it| it.told.of("floor_granted").len());
            let denied = both.map(|it| it.told.of("floor_denied").len());
            if granted.iter().chain(&denied).sum::<usize>() >= 2 {
                return (granted, denied);
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let (granted, denied) = timeout(SOON, answered).await.expect("both are answered");
    assert!(matches!(
        (granted, denied),
        ([1, 0], [0, 1]) | ([0, 1], [1, 0])
    ));
    let (winner, loser) = if granted[0] == 1 {
        (one, other)
    } else {
        (other, one)
    };
    let denial = loser.told.wait("floor_denied", 1, SOON).await;
    assert_eq!(
        (&denial["cause"], &denial["holder"]),
        (&json!(1), &json!(winner.id()))
    );
    let taken = loser.told.wait("floor_taken", 1, SOON).await;
    assert_eq!(taken["participant"], json!(winner.id()));
    (winner, loser)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floor_holder_beyond_the_talk_limit_is_revoked_and_then_not_heard() {
    let server = TestServer::start();
    let settings = json!({"mode":"ptt","talk_limit_s":1,"grace_ms":500,"floor_tones":true});
    server.configure("channel", &settings).await;
    let ear = Ear::join(&server).await;
    let ann = Radio::join(&server, "Ann", TONES_HZ[0]).await;
    ann.press().await;
    let granted = ann.told.wait("floor_granted", 1, SOON).await;
    assert_eq!(granted["duration_ms"], 1_000);
    let at = Instant::now();
    let revoked = ann.told.wait("floor_revoked", 1, SOON).await;
    println!("revoked after {:?}", at.elapsed());
    assert!(at.elapsed() >= Duration::from_millis(900), "{revoked}");
    assert_eq!(
        (
            &revoked["cause"],
            &revoked["grace_ms"],
            &revoked["participant"]
        ),
        (&json!(2), &json!(500), &json!(ann.id()))
    );
    // Only the holder is sent the grant tone; `notes` are the levels of its first note at the
    // holder and at a listener.
    let notes = [&ann.heard, &ear.heard].map(|it| loudest_db(&it.pcm(), GRANT_HZ));
    println!("the tone of a grant, to her and to the others: {notes:.0?} dBFS");
    // The start of the holder's voice, which all other participants hear, contains some of every
    // frequency.
    assert!(notes[0] > -40.0 && notes[1] < notes[0] - 12.0, "{notes:?}");
    ann.told.wait("floor_idle", 1, SOON).await;
    println!("idle after {:?}", at.elapsed());
    ear.until(&[&ann], false).await;
    let levels = ear.listen(&[&ann], LISTEN_TO_SILENCE).await;
    assert!(levels[0] < UNHEARD_DB, "{levels:?}");
    // The holder goes on sending, and is told once that it is not heard.
    let unpermitted = ann.told.wait("floor_revoked", 2, SOON).await;
    assert_eq!(
        (&unpermitted["cause"], unpermitted.get("burst")),
        (&json!(3), None)
    );
    sleep(IN_VAIN).await;
    assert_eq!(ann.told.of("floor_revoked").len(), 2);
    for client in [ear.client, ann.client] {
        client.leave().await.unwrap();
    }
    server.stop().await;
}

/// How long the server may take to notice that a holder sends nothing: the default of T1 (end of
/// media), and what a busy machine may add.
const END_OF_MEDIA: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_client_of_the_floor_holder_frees_the_floor() {
    let server = TestServer::start();
    server.configure("channel", &json!({"mode":"ptt"})).await;
    let ear = Ear::join(&server).await;
    let tone = scratch("floor").join("tone.wav");
    write_tone(&tone, TONES_HZ[0], 30);
    let door = Door::open(server.http()).await;
    let mut talker = Process::join([
        url(door.address, "channel"),
        "--name=talker".to_owned(),
        format!("--play={}", tone.display()),
    ]);
    let session = door.session().await;
    let floor = format!("{session}/floor");
    let heard = async {
        loop {
            let (status, _) = server.send("PUT", &floor, &json!({})).await;
            assert_eq!(status, 200);
            let loud = said_db(&last(&ear.heard.pcm(), RATE / 5), TONES_HZ[0]);
            if loud > HEARD_DB {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(20), heard)
        .await
        .expect("the talker is heard");

    talker.kill();
    let at = Instant::now();
    let held = || async {
        let room = server.room("channel").await;
        !room["floor"]["holders"].as_array().unwrap().is_empty()
    };
    assert!(held().await, "it had the floor");
    while held().await {
        assert!(at.elapsed() < END_OF_MEDIA + SLACK, "the floor is stuck");
        sleep(Duration::from_millis(10)).await;
    }
    println!("free {:?} after the kill", at.elapsed());
    assert!(
        server.names("channel").await.contains(&"talker".to_owned()),
        "it has not been missed yet"
    );
    ear.client.leave().await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_takes_the_implicit_floor_by_talking_without_sending_messages() {
    let server = TestServer::start();
    let settings = json!({"mode":"ptt","implicit_floor":true});
    server.configure("channel", &settings).await;
    let ear = Ear::join(&server).await;
    let ann = Radio::join(&server, "Ann", TONES_HZ[0]).await;
    let taken = ann.told.wait("floor_taken", 1, SOON).await;
    assert_eq!(taken["participant"], json!(ann.id()));
    let bo = Radio::join(&server, "Bo", TONES_HZ[1]).await;
    let missed = bo.told.wait("floor_taken", 1, SOON).await;
    assert_eq!(missed["participant"], json!(ann.id()), "Bo came later");
    ear.until(&[&ann], true).await;
    let levels = ear.listen(&[&ann, &bo], LISTEN).await;
    println!("talking is asking: {levels:.0?} dBFS");
    assert!(levels[0] > HEARD_DB && levels[1] < UNHEARD_DB, "{levels:?}");
    // Ann leaves while talking, and then Bo is heard.
    ann.client.leave().await.unwrap();
    let taken = bo.told.wait("floor_taken", 2, SOON).await;
    assert_eq!(taken["participant"], json!(bo.id()));
    for client in [ear.client, bo.client] {
        client.leave().await.unwrap();
    }
    server.stop().await;
}

/// The first note of the tone that the server plays to a participant that is granted the floor.
const GRANT_HZ: f64 = 880.0;

/// Returns the level of a note of 60 ms where it is loudest.
fn loudest_db(pcm: &[f32], hz: f64) -> f64 {
    let windows = (0..pcm.len().saturating_sub(RATE * 6 / 100)).step_by(RATE / 100);
    windows
        .map(|at| level_db(&pcm[at..at + RATE * 6 / 100], hz))
        .fold(f64::NEG_INFINITY, f64::max)
}

fn last(pcm: &[f32], count: usize) -> Vec<f32> {
    let mut last = pcm[pcm.len().saturating_sub(count)..].to_vec();
    last.resize(count, 0.0);
    last
}

/// A TCP proxy for a client's join. It learns the client's session from the response, which only
/// that client gets.
struct Door {
    address: SocketAddr,
    session: Arc<Mutex<Option<String>>>,
    _passing: JoinSet<()>,
}

impl Door {
    async fn open(server: SocketAddr) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let session = Arc::new(Mutex::new(None));
        let seen = session.clone();
        let mut passing = JoinSet::new();
        passing.spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut server = TcpStream::connect(server).await.unwrap();
                let answer = pass_request(&mut client, &mut server).await;
                if let Some(location) = location(&answer) {
                    seen.lock().unwrap().replace(location);
                }
                if client.write_all(&answer).await.is_ok() {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            }
        });
        Door {
            address,
            session,
            _passing: passing,
        }
    }

    async fn session(&self) -> String {
        let seen = async {
            loop {
                if let Some(session) = self.session.lock().unwrap().clone() {
                    return session;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), seen)
            .await
            .expect("it joins")
    }
}

/// Passes the client's bytes on to the server until the server answers; returns the start of the
/// answer, with the complete head, which has not been passed on yet.
async fn pass_request(client: &mut TcpStream, server: &mut TcpStream) -> Vec<u8> {
    let (mut up, mut down) = ([0; 4_096], [0; 4_096]);
    let mut answer = Vec::new();
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(1..) => server.write_all(&up[..read.unwrap()]).await.unwrap(),
                _ => return answer,
            },
            read = server.read(&mut down) => match read {
                Ok(1..) => answer.extend_from_slice(&down[..read.unwrap()]),
                _ => return answer,
            },
        }
    }
    answer
}

fn location(answer: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(answer);
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case("location")
            .then(|| value.trim().to_owned())
    })
}
