//! Measures the quality of a voice for a listener while talkers and listeners change roles:
//! wide-band PESQ of the same packets, once through a room in which nothing else happens, and once
//! while the room's streams are split, copied and merged. In virtual time.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod sound;
    pub mod tools;
}
#[path = "../mixer/tests/stage/mod.rs"]
mod stage;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use common::sound::{RATE, VOICES, scratch, voice, write};
use common::tools;
use mixer::ParticipantId;
use mixer::codec::opus::OpusDecoder;
use mixer::codec::{Decode, Profile};
use mixer::engine::Command;
use mixer::format::Layout;
use mixer::room::RoomSettings;
use serde_json::Value;
use stage::{Stage, encoding};

/// The largest permitted drop of PESQ-WB.
const DROP: f64 = 0.05;

/// The participant whose voice is judged.
const SPEAKS: u32 = 1;

/// The first listener: while it only listens, its encoder makes the stream that all listeners are
/// sent.
const LEADS: u32 = 2;

/// The second listener.
const FOLLOWS: u32 = 3;

/// The third listener, which never talks.
const LISTENS: u32 = 4;

/// The samples from one start of a side talker, which talks beside the judged voice, to the next: 6
/// s.
const PERIOD: usize = 6 * RATE;

/// The samples for which a side talker then talks: 2 s.
const WORDS: usize = 2 * RATE;

/// What happens in the room beside the judged voice. It also decides which listener is judged.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Scene {
    /// Nothing happens.
    Calm,
    /// A listener talks as loud as the voice. The listener does not hear its own talk, but the
    /// stream to which it returns has carried that talk to the others.
    Speaks(u32),
    /// The listeners `LEADS` and `FOLLOWS` talk alternately, too quietly to be heard beside the
    /// voice: what changes is whose encoder makes the shared stream.
    Whisper,
    /// The listeners `LEADS` and `FOLLOWS` leave, one after the other.
    Leave,
}

impl Scene {
    fn judged(self) -> u32 {
        match self {
            Scene::Speaks(listener) => listener,
            _ => LISTENS,
        }
    }

    /// Returns the signal that listener `who` sends while the voice is judged.
    fn says(self, who: u32, aside: &Arc<[f32]>) -> impl FnMut(u64) -> f32 + Send + 'static {
        let (gain, delay) = match self {
            Scene::Speaks(speaker) if speaker == who => (1.0, 0),
            Scene::Whisper if who == LEADS => (WHISPER, 0),
            Scene::Whisper if who == FOLLOWS => (WHISPER, PERIOD / 2),
            _ => (0.0, 0),
        };
        let aside = Arc::clone(aside);
        move |sample| {
            let at = sample as usize + delay;
            match at % PERIOD {
                PAUSE.. => gain * aside[at % aside.len()],
                _ => 0.0,
            }
        }
    }
}

/// The packets that a participant was sent, by media time.
type Stream = BTreeMap<u32, Vec<u8>>;

/// Plays a scene to the end of the voice; returns the stream of each participant.
fn play(scene: Scene, said: &Arc<[f32]>, aside: &Arc<[f32]>) -> BTreeMap<u32, Stream> {
    let mut stage = Stage::new(RoomSettings {
        // Without a gate whispers count as talk.
        gate_db: None,
        ..RoomSettings::default()
    });
    let voice = Arc::clone(said);
    stage.join(
        SPEAKS,
        move |at| voice.get(at as usize).copied().unwrap_or(0.0),
        None,
    );
    stage.talkers[0].send_as(&encoding(Profile::Voice));
    for listener in [LEADS, FOLLOWS, LISTENS] {
        stage.join_clear(listener, scene.says(listener, aside));
    }
    for tick in 0..said.len() / TICK + 25 {
        if scene == Scene::Leave
            && (tick * TICK).is_multiple_of(PERIOD)
            && let leaver @ (LEADS | FOLLOWS) = (tick * TICK / PERIOD) as u32 + 1
        {
            stage.engine.apply(
                Command::RemoveParticipant(ParticipantId(leaver)),
                &mut stage.sink,
            );
            stage.talkers.retain(|talker| talker.id.0 != leaver);
        }
        stage.turn();
    }
    let mut streams = BTreeMap::<u32, Stream>::new();
    for (to, packet) in &stage.sink.packets {
        let payload = packet.payload.as_slice().to_vec();
        streams
            .entry(to.0)
            .or_default()
            .insert(packet.time.0, payload);
    }
    streams
}

/// Decodes a stream. If `clumsy`, it does so as if every change of roles lost a packet and the
/// decoder's state.
fn decode(stream: &Stream, clumsy: bool) -> Vec<f32> {
    let mut decoder = OpusDecoder::new(Layout::Mono);
    let first = *stream.keys().next().expect("something was sent");
    let mut pcm = Vec::new();
    for (time, payload) in stream {
        // Time for which no packet was sent is silence.
        pcm.resize((time - first) as usize, 0.0);
        if clumsy && pcm.len().is_multiple_of(PERIOD / 2) {
            decoder = OpusDecoder::new(Layout::Mono);
            continue;
        }
        let mut frame = [0.0; TICK];
        assert_eq!(decoder.decode(payload, &mut frame), Ok(TICK));
        pcm.extend(frame);
    }
    pcm
}

/// Returns how often the listener with the stream `own` left the shared stream and was sent it
/// again; `other` is the stream of a listener that always gets the shared stream.
fn merges(own: &Stream, other: &Stream) -> usize {
    let pairs = own
        .iter()
        .map(|(time, payload)| other.get(time) == Some(payload));
    let same: Vec<bool> = pairs.collect();
    // Two participants who hear silence are sent the same packets for a short time.
    let runs = same.chunk_by(|a, b| a == b).filter(|run| run.len() >= 10);
    let runs: Vec<bool> = runs.map(|run| run[0]).collect();
    runs.windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

/// A voice, and what a listener heard of it.
struct Recording {
    name: String,
    said: Arc<[f32]>,
    heard: Vec<f32>,
}

/// Returns the mean PESQ-WB over the pieces of each scene's voices. All files go in one call,
/// because the instrument takes both processors and seconds to start.
fn score(scenes: &[Vec<Recording>]) -> Vec<f64> {
    let mut files: Vec<PathBuf> = Vec::new();
    for Recording { name, said, heard } in scenes.iter().flatten() {
        let recording = scratch("roles").join(format!("{name}-heard.wav"));
        write(&recording, heard);
        for (number, piece) in said.chunks_exact(PIECE).enumerate() {
            let reference = scratch("roles").join(format!("{name}-{number}-said.wav"));
            write(&reference, piece);
            files.extend([reference, recording.clone()]);
        }
    }
    let scores = tools::python("quality.py", files);
    let pairs = scores["pairs"].as_array().unwrap();
    for pair in pairs {
        let correlation = pair["correlation"].as_f64();
        assert!(correlation > Some(0.5), "this is another voice: {pair}");
    }
    // All scenes have the same voices and therefore the same number of pieces.
    let of_scene = pairs.chunks_exact(pairs.len() / scenes.len());
    let mean = |pairs: &[Value]| {
        let scores = pairs.iter().map(|pair| pair["pesq_wb"].as_f64().unwrap());
        scores.sum::<f64>() / pairs.len() as f64
    };
    of_scene.map(mean).collect()
}

/// Returns what is heard of the human voices in a scene, a minute in all, and how often listeners
/// returned to the shared stream.
fn listen(scene: Scene, clumsy: bool) -> (Vec<Recording>, usize) {
    let voices: Vec<Arc<[f32]>> = VOICES[..3].iter().map(|name| voice(name)).collect();
    let (mut recordings, mut merged) = (Vec::new(), 0);
    for (number, said) in voices.iter().enumerate() {
        let streams = play(scene, said, &voices[(number + 1) % voices.len()]);
        let others = [LEADS, FOLLOWS].map(|who| merges(&streams[&who], &streams[&LISTENS]));
        merged += others.iter().sum::<usize>();
        recordings.push(Recording {
            name: format!("{}-{scene:?}-{clumsy}", VOICES[number]),
            said: Arc::clone(said),
            heard: decode(&streams[&scene.judged()], clumsy),
        });
    }
    (recordings, merged)
}

#[test]
fn role_changes_do_not_degrade_a_voice_for_its_listeners() {
    let scenes = [
        (Scene::Speaks(LEADS), 10),
        (Scene::Speaks(FOLLOWS), 10),
        (Scene::Whisper, 20),
        (Scene::Leave, 0),
    ];
    let mut heard = vec![listen(Scene::Calm, false).0, listen(Scene::Calm, true).0];
    let mut merges = Vec::new();
    for (scene, at_least) in scenes {
        let (recordings, merged) = listen(scene, false);
        assert!(merged >= at_least, "{scene:?}: {merged} merges");
        heard.push(recordings);
        merges.push(merged);
    }
    let means = score(&heard);
    let (calm, clumsy) = (means[0], means[1]);
    println!("calm: PESQ-WB {calm:.3}");
    println!(
        "a packet lost at every change: PESQ-WB {clumsy:.3}, {:.3} less",
        calm - clumsy
    );
    assert!(
        calm - clumsy > DROP,
        "what must not happen would not be noticed"
    );
    for (((scene, _), mean), merged) in scenes.iter().zip(&means[2..]).zip(merges) {
        println!(
            "{scene:?}: PESQ-WB {mean:.3}, {:.3} less, {merged} merges",
            calm - mean
        );
        assert!(
            calm - mean <= DROP,
            "{scene:?}: {mean:.3} instead of {calm:.3}"
        );
    }
}

/// The length of a scored piece, 7 s as in `quality.rs`.
const PIECE: usize = 7 * RATE;

/// Samples of a tick and of a packet.
const TICK: usize = 960;

/// The samples of silence before a side talker's words in each period.
const PAUSE: usize = PERIOD - WORDS;

/// The gain of a whisper, -60 dB.
const WHISPER: f32 = 1e-3;
