//! Radios as processes, controlled by keys on standard input, by signals or by voice. The floor
//! holder is heard by the others but not by itself, and a killed radio does not keep the floor.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod measure;
    pub mod radio;
    pub mod sound;
}
mod echo;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use common::measure::{Line, level_db, line};
use common::radio::{Radio, Served};
use common::sound::{RATE, TONES_HZ, Tone, read, scratch, write, write_tone};
use echo::Echo;
use mixminus::join::client::{Client, ClientOptions};
use mixminus::join::media::MediaOptions;
use mixminus::join::radio::server_events::of_http;
use mixminus::join::whip_client::WhipEndpoint;
use serde_json::{Value, json};

/// A radio that sends a tone and records what it hears.
struct Talker {
    radio: Radio,
    heard: PathBuf,
}

impl Talker {
    fn join(served: &Served, folder: &Path, number: usize) -> Talker {
        let tone = folder.join(format!("tone-{number}.wav"));
        write_tone(&tone, TONES_HZ[number], 5);
        let heard = folder.join(format!("heard-{number}.wav"));
        let arguments = [
            "--ptt",
            "--loop",
            "--play",
            tone.to_str().unwrap(),
            "--record",
            heard.to_str().unwrap(),
        ];
        let radio = Radio::join(&served.url("lobby"), &format!("{number}"), &arguments);
        Talker { radio, heard }
    }

    /// Returns the level of each radio's tone in what this radio has recorded, where the tone is
    /// loudest.
    fn hears(&self) -> [Line; 3] {
        let pcm = read(&self.heard);
        TONES_HZ.map(|hz| line(&pcm, hz))
    }
}

/// How long a radio talks: long enough to contain two whole windows of a second, wherever they
/// begin.
const TALK: Duration = Duration::from_secs(2);

/// How long the playouts take to settle after a radio has monitored another room.
const SETTLE: Duration = Duration::from_secs(1);

/// How long silence is recorded.
const LISTEN_TO_SILENCE: Duration = Duration::from_secs(2);

/// How long the test waits for an event that must not come.
const IN_VAIN: Duration = Duration::from_millis(300);

fn sending(on: bool) -> impl Fn(&Value) -> bool {
    move |event| event["sending"] == on
}

fn is(who: &str) -> impl Fn(&Value) -> bool {
    move |event| event["participant"] == who
}

#[test]
fn radio_with_the_floor_is_heard_and_the_next_radio_waits_in_the_queue() {
    let served = Served::start();
    served.room("lobby", &json!({ "mode": "ptt" }));
    let folder = scratch("radio-turns");
    let mut talkers: Vec<Talker> = (0..3)
        .map(|number| Talker::join(&served, &folder, number))
        .collect();
    let [ann, ben, cleo] = &mut talkers[..] else {
        unreachable!("three were made");
    };
    let (ann_id, ben_id, cleo_id) = (ann.radio.id(), ben.radio.id(), cleo.radio.id());

    ann.radio.key("press");
    ann.radio.wait("floor_granted", |_| true);
    ben.radio.wait("floor_taken", is(&ann_id));
    cleo.radio.wait("floor_taken", is(&ann_id));
    ben.radio.key("p");
    let (_, queued) = ben.radio.wait("floor_queued", |_| true);
    assert_eq!(queued["position"], 1);
    sleep(TALK);
    let mark = ben.radio.mark();
    ann.radio.key("release");
    ben.radio.wait_after(mark, "floor_granted", |_| true);
    ann.radio.wait("floor_taken", is(&ben_id));
    sleep(TALK);
    let mark = ann.radio.mark();
    // Enter toggles the key.
    ben.radio.key("");
    ann.radio.wait_after(mark, "floor_idle", |_| true);

    // The end of standard input releases the key.
    let mark = ann.radio.mark();
    ben.radio.key("");
    ann.radio.wait_after(mark, "floor_taken", is(&ben_id));
    drop(ben.radio.take_stdin());
    ann.radio.wait_after(mark, "floor_idle", |_| true);

    // A killed holder loses the floor as soon as the server has noticed the end of media.
    let mark = ann.radio.mark();
    cleo.radio.key("1");
    ann.radio.wait_after(mark, "floor_taken", is(&cleo_id));
    ann.radio.wait_after(mark, "talking", is(&cleo_id));
    let killed = std::time::Instant::now();
    cleo.radio.kill();
    let (freed, _) = ann.radio.wait_after(mark, "floor_idle", |_| true);
    let freed_after = freed - killed;
    println!("freed {freed_after:?} after the kill");
    assert!(
        freed_after < Duration::from_millis(2_500),
        "{freed_after:?}"
    );

    for talker in &talkers[..2] {
        talker.radio.signal("TERM");
    }
    for talker in &mut talkers[..2] {
        talker.radio.ended();
    }
    let [of_ann, of_ben] = [talkers[0].hears(), talkers[1].hears()];
    println!("ann hears {of_ann:.1?}, ben {of_ben:.1?}");
    // Each tone is sent at -12 dBFS. The start and end of another radio's tone spread over all
    // frequencies, but are no tone.
    assert!(of_ann[1].noise_db > -20.0 && of_ben[0].noise_db > -20.0);
    assert!(of_ann[0].loudest_db < -55.0 && of_ben[1].loudest_db < -55.0);
}

#[test]
fn radio_takes_its_key_from_signals_when_audio_is_on_standard_input() {
    let served = Served::start();
    served.room("lobby", &json!({ "mode": "ptt" }));
    let ear = Radio::join(&served.url("lobby"), "ear", &["--record", "/dev/null"]);
    let mut radio = Radio::join(
        &served.url("lobby"),
        "radio",
        &["--ptt", "--play", "-", "--record", "-", "--stats"],
    );
    let mut microphone = radio.take_stdin();
    std::thread::spawn(move || while microphone.write_all(&[0; 960]).is_ok() {});
    let id = radio.id();
    for _ in 0..2 {
        let (mark, own) = (ear.mark(), radio.mark());
        radio.signal("USR1");
        ear.wait_after(mark, "floor_taken", is(&id));
        radio.wait_after(own, "sending", sending(true));
        radio.signal("USR2");
        ear.wait_after(mark, "floor_idle", |_| true);
        radio.wait_after(own, "sending", sending(false));
    }
    radio.wait("stats", |stats| stats["sent_packets"].as_u64() > Some(0));
    radio.stop();
    ear.stop();
}

#[test]
fn radio_vox_requests_the_floor_with_the_first_syllable_and_releases_it() {
    let served = Served::start();
    served.room("lobby", &json!({ "mode": "ptt" }));
    let folder = scratch("radio-voice");
    let (voice, heard) = (folder.join("voice.wav"), folder.join("heard.wav"));
    let tone = |hz, seconds| {
        write_tone(&voice, hz, seconds);
        read(&voice)
    };
    let mut pcm = vec![0.0; 2 * RATE];
    // The word starts with a soft syllable of 100 ms at -36 dBFS, too quiet to trigger voice
    // operation by itself.
    let soft = tone(TONES_HZ[2], 1);
    pcm.extend(soft[..RATE / 10].iter().map(|sample| sample * 0.063));
    pcm.extend(tone(TONES_HZ[0], 2));
    pcm.extend(vec![0.0; 2 * RATE]);
    write(&voice, &pcm);
    let ear = Radio::join(
        &served.url("lobby"),
        "ear",
        &["--record", heard.to_str().unwrap()],
    );
    let mut radio = Radio::join(
        &served.url("lobby"),
        "radio",
        &["--vox=-30", "--play", voice.to_str().unwrap()],
    );
    let id = radio.id();
    ear.wait("floor_taken", is(&id));
    ear.wait("floor_idle", |_| true);
    radio.wait("voice", |event| event["voice"] == false);
    radio.ended();
    ear.stop();
    let pcm = read(&heard);
    // Returns the total length, in milliseconds, of the windows of 20 ms that contain a tone.
    let heard_ms = |hz, least_db| {
        let windows = pcm.chunks_exact(RATE / 50);
        let there = windows.filter(|window| level_db(window, hz) > least_db);
        20 * there.count()
    };
    let (soft_ms, loud_ms) = (heard_ms(TONES_HZ[2], -44.0), heard_ms(TONES_HZ[0], -24.0));
    println!("of 100 ms {soft_ms} are heard, of 2 s {loud_ms} ms");
    assert!(soft_ms >= 60, "{soft_ms}");
    // The buffered start is sent at once, so the listener plays it faster to catch up.
    assert!((1_600..=2_100).contains(&loud_ms), "{loud_ms}");
}

#[test]
fn radio_key_only_opens_the_microphone_in_a_room_without_floor_control() {
    let served = Served::start();
    let folder = scratch("radio-open");
    let mut ann = Talker::join(&served, &folder, 0);
    let ben = Talker::join(&served, &folder, 1);
    let id = ann.radio.id();
    ann.radio.key("p");
    ann.radio.wait("sending", sending(true));
    ben.radio.wait("talking", is(&id));
    sleep(TALK);
    ann.radio.key("r");
    ben.radio.wait("stopped", is(&id));
    assert!(
        ann.radio
            .told()
            .iter()
            .all(|event| event["event"] != "floor_failed")
    );
    ann.radio.stop();
    ben.radio.signal("TERM");
    let Talker { mut radio, heard } = ben;
    radio.ended();
    let heard = read(&heard);
    assert!(line(&heard, TONES_HZ[0]).noise_db > -20.0);
    assert!(line(&heard, TONES_HZ[1]).noise_db < -60.0);
}

#[test]
fn radio_hears_a_monitored_room_at_its_gain_and_can_stop_monitoring_it() {
    let served = Served::start();
    let folder = scratch("radio-listen");
    let (tone, heard) = (folder.join("tone.wav"), folder.join("heard.wav"));
    write_tone(&tone, TONES_HZ[0], 5);
    let arguments = ["--loop", "--play", tone.to_str().unwrap()];
    let yard = Radio::join(&served.url("yard"), "yard", &arguments);
    let mut ear = Radio::join(
        &served.url("lobby"),
        "ear",
        &[
            "--ptt",
            "--play=/dev/zero",
            "--monitor=yard=-12",
            "--record",
            heard.to_str().unwrap(),
        ],
    );
    let told = |event: &Value| event["id"] == "listen";
    ear.wait("ok", told);
    sleep(SETTLE + TALK);
    let mark = ear.mark();
    ear.key("monitor");
    ear.wait_after(mark, "ok", told);
    sleep(LISTEN_TO_SILENCE);
    ear.stop();
    yard.stop();
    let pcm = read(&heard);
    let loudest_db = line(&pcm, TONES_HZ[0]).loudest_db;
    println!("the yard is heard at {loudest_db:.1} dBFS");
    // The tone is sent at -12 dBFS, and monitored at -12 dB.
    assert!((-27.0..=-21.0).contains(&loudest_db), "{loudest_db}");
    let end = &pcm[pcm.len() - RATE..];
    assert!(level_db(end, TONES_HZ[0]) < -60.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_requests_the_floor_over_http_where_there_is_no_data_channel() {
    let served = Served::start();
    served.room("lobby", &json!({ "mode": "ptt", "queue_limit": 0 }));
    let join = |name: &'static str| {
        let options = ClientOptions {
            room: WhipEndpoint::new(
                served.url("lobby").parse().unwrap(),
                Some(name),
                None,
                false,
            )
            .unwrap(),
            reconnect: false,
            ptime_ms: None,
            bitrate_bps: None,
        };
        let media = MediaOptions {
            source: Tone::boxed(TONES_HZ[0]),
            ..MediaOptions::default()
        };
        Client::join(options, media)
    };
    let (ann, ben) = (join("ann").await.unwrap(), join("ben").await.unwrap());
    let ask = async |client: &Client| client.controls().request_floor().await.unwrap().unwrap();
    let granted = of_http(1, &ask(&ann).await);
    assert_eq!(granted["event"], "floor_granted", "{granted}");
    assert_eq!(of_http(2, &ask(&ann).await)["burst"], granted["burst"]);
    let denied = of_http(3, &ask(&ben).await);
    assert_eq!(denied["event"], "floor_denied", "{denied}");
    assert_eq!(denied["holder"].as_str(), ann.participant().as_deref());
    for _ in 0..2 {
        let released = ann.controls().release_floor().await;
        assert!(matches!(released, Some(Ok(()))), "{released:?}");
    }
    // The floor is granted at once, or when the end of Ann's talk has been played. A repeated
    // request returns the current state.
    let turn = async {
        while of_http(4, &ask(&ben).await)["event"] != "floor_granted" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), turn)
        .await
        .unwrap();
    ann.leave().await.unwrap();
    ben.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn radio_that_lost_its_connection_requests_the_floor_only_at_the_next_press() {
    let echo = Echo::start().await;
    let arguments = ["--ptt", "--play", "/dev/zero"];
    let mut radio = Radio::start(&echo.url, "radio", &arguments);
    echo.say(r#"{"event":"room","room":{"name":"lobby","mode":"ptt"}}"#)
        .await;
    tokio::task::block_in_place(|| radio.wait("room", |_| true));
    radio.key("p");
    let request = echo.hear("floor_request").await;
    echo.say(&json!({"event": "floor_granted", "id": request["id"]}).to_string())
        .await;
    tokio::task::block_in_place(|| {
        radio.wait("floor_granted", |_| true);
        radio.wait("sending", sending(true));
    });
    let mark = radio.mark();
    echo.forget_everyone().await;
    tokio::task::block_in_place(|| {
        radio.wait_after(mark, "reconnecting", |_| true);
        radio.wait_after(mark, "sending", sending(false));
        radio.wait_after(mark, "connected", |_| true);
    });
    echo.say(r#"{"event":"room","room":{"name":"lobby","mode":"ptt"}}"#)
        .await;
    tokio::task::block_in_place(|| radio.wait_after(mark, "room", |_| true));
    tokio::time::sleep(IN_VAIN).await;
    assert_eq!(echo.heard("floor_request").len(), 1);
    // A new press sends a new request, which fails if the server does not answer.
    radio.key("r");
    radio.key("p");
    tokio::task::block_in_place(|| {
        radio.wait_after(mark, "floor_failed", |event| event["reason"] == "no answer");
        radio.wait_after(mark, "sending", sending(true));
    });
    tokio::time::sleep(IN_VAIN).await;
    assert_eq!(echo.heard("floor_request").len(), 2);
    assert_eq!(echo.heard("floor_release").len(), 1);
    tokio::task::block_in_place(|| radio.stop());
}

#[test]
fn radio_fails_when_its_microphone_ends_but_not_when_a_file_ends() {
    let served = Served::start();
    let folder = scratch("radio-deaf");
    let pipe = folder.join("pipe");
    let _ = std::fs::remove_file(&pipe);
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "a pipe is made");
    let silence = [0; 9_600];
    for flag in ["--ptt", "--vox"] {
        let mut radio = Radio::start(&served.url("lobby"), "radio", &[flag, "--play", "-"]);
        let mut microphone = radio.take_stdin();
        microphone.write_all(&silence).unwrap();
        radio.wait("connected", |_| true);
        drop(microphone);
        assert_eq!(radio.status().code(), Some(1), "{flag}");

        let arguments = [flag, "--play", pipe.to_str().unwrap()];
        let mut radio = Radio::start(&served.url("lobby"), "radio", &arguments);
        let mut microphone = std::fs::File::options().write(true).open(&pipe).unwrap();
        microphone.write_all(&silence).unwrap();
        radio.wait("connected", |_| true);
        drop(microphone);
        assert_eq!(radio.status().code(), Some(1), "{flag}");
    }
    let file = folder.join("file.wav");
    write_tone(&file, TONES_HZ[0], 1);
    let arguments = ["--vox", "--play", file.to_str().unwrap()];
    Radio::join(&served.url("lobby"), "radio", &arguments).ended();
}

#[test]
fn radio_requests_the_floor_anew_on_enter_after_a_denial() {
    let served = Served::start();
    served.room("lobby", &json!({ "mode": "ptt", "queue_limit": 0 }));
    let join = |name| Radio::join(&served.url("lobby"), name, &["--ptt", "--play=/dev/zero"]);
    let (mut ann, mut ben) = (join("ann"), join("ben"));
    let id = ben.id();
    ann.key("");
    ann.wait("floor_granted", |_| true);
    ben.key("");
    ben.wait("floor_denied", |_| true);
    let mark = ann.mark();
    ann.key("");
    ann.wait_after(mark, "floor_idle", |_| true);
    ben.key("");
    ann.wait_after(mark, "floor_taken", is(&id));
    ann.stop();
    ben.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn radio_sends_monitored_rooms_and_priority_with_the_join_and_gains_after_the_join() {
    let echo = Echo::start().await;
    let arguments = [
        "--listen",
        "a,b=-6",
        "--priority",
        "7",
        "--record",
        "/dev/null",
    ];
    let radio = Radio::start(&echo.url, "radio", &arguments);
    echo.say(r#"{"event":"room","room":{"name":"lobby","mode":"ptt"}}"#)
        .await;
    let monitor = echo.hear("monitor").await;
    assert_eq!(
        monitor["rooms"],
        json!([{"room": "a"}, {"room": "b", "gain_db": -6.0}])
    );
    assert_eq!(echo.queries(), ["name=radio&monitor=a%2Cb&priority=7"]);
    tokio::task::block_in_place(|| radio.stop());
}
