//! No participant hears a residue of its own voice while roles change: four clients send a tone
//! each, and once a second one of them is muted or unmuted, so that streams are split, shared and
//! merged.

#![allow(clippy::unwrap_used, reason = "a test that fails is a panic")]

mod common {
    pub mod measure;
    pub mod playout_watch;
    pub mod scheduler_watch;
    pub mod sound;
    pub mod test_server;
    pub mod wire;
}

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::measure::{Probe, percentile};
use common::playout_watch::{PlayoutWatch, Repairs};
use common::scheduler_watch::{ATTEMPTS, SchedulerWatch};
use common::sound::{RATE, TONES_HZ, Tone, scratch, write};
use common::test_server::TestServer;
use common::wire::{Sent, Wire};
use mixer::Payload;
use mixer::codec::opus::{OpusDecoder, OpusEncoder};
use mixer::codec::{Decode, Encode, Encoding, Profile, ReceiverLimits};
use mixer::format::{Layout, TickLength};
use mixminus::join::client::{Client, ClientOptions};
use mixminus::join::media::MediaOptions;
use mixminus::join::whip_client::WhipEndpoint;

const PEOPLE: usize = 4;

/// The tone that each participant sends. None is a multiple of 50 Hz or of another tone.
const SAY_HZ: [f64; PEOPLE] = [TONES_HZ[0], TONES_HZ[1], TONES_HZ[2], 2_233.1];

/// The level at which each participant sends its tone, in dBFS.
const SAID_DB: f64 = -12.0;

/// A tone below this level is not heard, whatever the sender's role, for instance because its
/// packets came too late.
const HEARD_DB: f64 = -18.0;

/// How far the listener's own tone must be below the quietest other tone.
const UNDER_DB: f64 = 45.0;

/// The profile of the streams. In virtual time, with clients that send 32 kbit/s, the codec's own
/// noise at the listener's frequency was always at least 53 dB below the others in 70,000 windows
/// with this profile. With `voice` and `music`, at any bitrate, it is 34 to 45 dB below them in one
/// window of 300 at 613.7 Hz, also when the listener sends another tone: a residue could not be
/// told from it.
const PROFILE: Profile = Profile::LowDelay;

/// The number of role switches (one participant is muted or unmuted), one a second.
const SWITCHES: usize = 60;

/// How long the playouts take to settle after the joins.
const SETTLE: Duration = Duration::from_secs(2);

/// How long a switch takes after the server has reported it: a tick of 20 ms in which the voice
/// fades, or the playout delay of the first packets of a returning voice, and the codec's
/// look-ahead. The gate adds nothing, because muting closes it without its hangover. A muted
/// participant is merged into its listener group 200 ms after the end of its voice, in windows that
/// are judged.
const SETTLED: Duration = Duration::from_millis(150);

/// How long a stall of the machine affects the playouts.
const AFTERMATH: Duration = Duration::from_secs(6);

/// The longest time from a repair in a playout to the end of its sound in the sent stream: a
/// packet, the codec's look-ahead, and the precision of the instants in `Sent`.
const REPAIR_REACH: Duration = Duration::from_millis(100);

/// The least share of the windows without a switch that must be judged. On a machine that stalls
/// too often the test tries again.
const JUDGED: f64 = 0.95;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mix_minus_leaves_no_residue_of_the_listeners_own_voice_during_a_minute_of_role_switches() {
    let server = TestServer::start();
    let mut judged = 0.0;
    for _ in 0..ATTEMPTS {
        judged = a_minute(&server).await;
        if judged >= JUDGED {
            break;
        }
    }
    println!("{}", server.timekeeping().await);
    server.stop().await;
    assert!(
        judged >= JUDGED,
        "this machine stalls too often to judge: {judged:.3} of all windows were"
    );
}

/// A participant that sends a tone and records the packets that it is sent.
struct Person {
    client: Client,
    name: String,
    wire: Arc<Wire>,
}

/// The time between two switches, and the participants that are heard in it.
struct RolePeriod {
    asked: Instant,
    settled: Instant,
    on: [bool; PEOPLE],
}

/// Switches roles for a minute and judges what all participants were sent; returns the share of
/// windows that could be judged, for the participant with the smallest share.
async fn a_minute(server: &TestServer) -> f64 {
    let mut people = Vec::new();
    for hz in SAY_HZ {
        people.push(Person::join(server, hz).await);
    }
    tokio::time::sleep(SETTLE).await;
    let watch = SchedulerWatch::start();
    let playouts = PlayoutWatch::start(server.http());
    let periods = switch_roles(server, &people).await;
    let repairs = playouts.stop().await;
    println!(
        "{}; the playouts repaired sound in {} of {} intervals",
        watch.stalls(),
        repairs.count(),
        repairs.readings()
    );
    let excuses = Excuses { watch, repairs };
    let mut sent = Vec::new();
    for person in people {
        person.client.leave().await.unwrap();
        sent.push(person.wire);
    }
    let shared = shared(&sent);
    println!("{shared} packets were the same for several");
    assert!(shared > 100, "nobody ever shares a stream");
    let judge = Judge::new();
    let sent = sent.iter().map(|wire| wire.decode()).enumerate();
    let shares = sent.map(|(me, sent)| judge.all(me, &sent, &periods, &excuses));
    shares.fold(1.0, f64::min)
}

impl Person {
    async fn join(server: &TestServer, hz: f64) -> Person {
        let wire = Arc::<Wire>::default();
        let media = MediaOptions {
            source: Tone::boxed(hz),
            tap: wire.clone(),
            ..MediaOptions::default()
        };
        let url = server.url(ROOM).parse().expect("a URL made here");
        let (name, profile) = (format!("{hz} Hz"), PROFILE.name());
        let options = ClientOptions {
            room: WhipEndpoint::new(url, Some(&name), Some(profile), false)
                .expect("a client for loopback"),
            reconnect: false,
            ptime_ms: None,
            bitrate_bps: None,
        };
        let client = Client::join(options, media).await.unwrap();
        Person {
            name: client.participant().expect("it is in"),
            client,
            wire,
        }
    }
}

/// Mutes or unmutes a participant every second; returns the times between the switches.
async fn switch_roles(server: &TestServer, people: &[Person]) -> Vec<RolePeriod> {
    let mut on = [true; PEOPLE];
    let mut periods = vec![RolePeriod {
        asked: Instant::now(),
        settled: Instant::now(),
        on,
    }];
    let (mut random, mut second) = (SEED, tokio::time::interval(Duration::from_secs(1)));
    second.tick().await;
    for _ in 0..SWITCHES {
        second.tick().await;
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let who = (random >> 33) as usize % PEOPLE;
        on[who] = !on[who];
        let asked = Instant::now();
        server.mute(ROOM, &people[who].name, !on[who]).await;
        periods.push(RolePeriod {
            asked,
            settled: Instant::now() + SETTLED,
            on,
        });
    }
    second.tick().await;
    // Windows after the last switch are not judged.
    periods.push(RolePeriod {
        asked: Instant::now(),
        settled: Instant::now() + Duration::from_secs(3_600),
        on,
    });
    periods
}

/// Returns the number of packets that were sent to more than one participant.
fn shared(sent: &[Arc<Wire>]) -> usize {
    let mut count = HashMap::new();
    for payload in sent.iter().flat_map(|wire| wire.payloads()) {
        *count.entry(payload).or_insert(0) += 1;
    }
    // The shortest packets are silence, which is the same for all participants who have not heard
    // anything yet.
    let several = count
        .iter()
        .filter(|(payload, n)| payload.len() > 20 && **n > 1);
    several.count()
}

/// How much of the listener's own tone a window contains.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// The listener's own tone is far enough below the other tones.
    Clean { under_db: f64 },
    /// The listener's own tone is not far enough below the other tones.
    Residue { under_db: f64 },
    /// Frequencies beside the listener's own tone are as loud as it. This is noise that would hide
    /// a residue, or a residue too short to be a tone. Only a stall of the machine, or a playout
    /// that repaired sound, excuses it.
    Noise { under_db: f64 },
}

/// Causes of noise that are not faults of the mix.
struct Excuses {
    watch: SchedulerWatch,
    repairs: Repairs,
}

impl Excuses {
    /// Whether noise between two instants is excused.
    fn hold(&self, from: Instant, until: Instant) -> bool {
        self.watch.was_disturbed(from - AFTERMATH, until + SETTLED)
            || self.repairs.are_heard(from, until, REPAIR_REACH)
    }
}

struct Judge {
    tones: [Probe; PEOPLE],
    beside: [Vec<Probe>; PEOPLE],
}

impl Judge {
    fn new() -> Judge {
        let beside = |hz| {
            let offsets = BESIDE_HZ.iter().flat_map(|offset| [-offset, *offset]);
            let probes = offsets.map(|offset| Probe::new(hz + offset, WINDOW));
            probes.collect()
        };
        Judge {
            tones: SAY_HZ.map(|hz| Probe::new(hz, WINDOW)),
            beside: SAY_HZ.map(beside),
        }
    }

    /// Judges one window of what participant `me` was sent while the participants in `on` spoke.
    fn window(&self, me: usize, on: [bool; PEOPLE], window: &[f32]) -> Verdict {
        let others = (0..PEOPLE).filter(|who| *who != me && on[*who]);
        let others_db = others.map(|who| self.tones[who].level_db(window));
        let heard_db = others_db.filter(|db| *db > HEARD_DB);
        let own_db = self.tones[me].level_db(window);
        // If no other participant is heard, the own tone is compared with the level at which they
        // speak.
        let under_db = heard_db.fold(SAID_DB, f64::min) - own_db;
        let mut beside = self.beside[me].iter();
        if under_db >= UNDER_DB {
            Verdict::Clean { under_db }
        } else if beside.all(|probe| own_db > probe.level_db(window) + 6.0) {
            Verdict::Residue { under_db }
        } else {
            Verdict::Noise { under_db }
        }
    }

    /// Judges everything that participant `me` was sent; returns the share of the windows without a
    /// switch in which no noise could hide a residue.
    fn all(&self, me: usize, sent: &Sent, periods: &[RolePeriod], excuses: &Excuses) -> f64 {
        let (mut under_db, mut noise, mut both) = (Vec::new(), 0, 0);
        for at in (0..sent.pcm.len().saturating_sub(WINDOW)).step_by(STEP) {
            let (from, until) = (sent.instant_of(at), sent.instant_of(at + WINDOW));
            let Some(on) = roles_in(periods, from, until) else {
                continue;
            };
            let stalled = || excuses.hold(from, until);
            match self.window(me, on, &sent.pcm[at..][..WINDOW]) {
                Verdict::Clean { under_db: it } => {
                    under_db.push(it);
                    both += usize::from(on[me] && on.iter().filter(|on| **on).count() > 1);
                }
                Verdict::Noise { .. } if stalled() => noise += 1,
                verdict => {
                    let file = scratch("switching").join(format!("{}-was-sent.wav", SAY_HZ[me]));
                    write(&file, &sent.pcm);
                    let calm = if stalled() { "not calm" } else { "calm" };
                    panic!(
                        "{} Hz, {on:?}, machine {calm}: {verdict:?} at {:.2} s of {}",
                        SAY_HZ[me],
                        at as f64 / RATE as f64,
                        file.display()
                    );
                }
            }
        }
        let windows = under_db.len() + noise;
        println!(
            "{} Hz: own {:.1} dB under the others in the worst of {windows} windows, {:.1} dB in the median; in {both} \
             both spoke, {noise} hold the noise of a stall; {} of {} packets lost",
            SAY_HZ[me],
            percentile(&under_db, 0.0),
            percentile(&under_db, 0.5),
            sent.lost,
            sent.packets + sent.lost,
        );
        assert!(both > 50, "he and others hardly ever spoke at a time");
        under_db.len() as f64 / windows as f64
    }
}

/// Returns for each participant whether it is heard throughout the time between two instants;
/// `None` if a switch falls into that time.
fn roles_in(periods: &[RolePeriod], from: Instant, until: Instant) -> Option<[bool; PEOPLE]> {
    let steady = periods
        .windows(2)
        .find(|pair| pair[0].settled <= from && until <= pair[1].asked);
    steady.map(|pair| pair[0].on)
}

/// Returns one window of the other participants' tones, encoded and decoded, with the listener's
/// own tone `under_db` below them.
fn coded(under_db: f64) -> Vec<f32> {
    let encoding = Encoding::new(PROFILE, &ReceiverLimits::default(), TickLength::Ms20);
    let mut encoder = OpusEncoder::new(&encoding);
    let mut decoder = OpusDecoder::new(Layout::Mono);
    let tone =
        |hz: f64, at: usize| 0.25 * (std::f64::consts::TAU * hz * at as f64 / RATE as f64).sin();
    let residue = 10.0f64.powf(-under_db / 20.0);
    let say = |at| residue * tone(SAY_HZ[0], at) + tone(SAY_HZ[1], at) + tone(SAY_HZ[2], at);
    let (mut payload, mut heard) = (Payload::EMPTY, Vec::new());
    for packet in 0..50 {
        let pcm: Vec<f32> = (packet * 960..)
            .take(960)
            .map(|at| say(at) as f32)
            .collect();
        encoder.encode(&pcm, &mut payload).unwrap();
        let mut frame = [0.0; 960];
        decoder.decode(payload.as_slice(), &mut frame).unwrap();
        heard.extend(frame);
    }
    heard[RATE / 2..][..WINDOW].to_vec()
}

#[test]
fn mix_minus_judge_finds_a_residue_of_the_listeners_own_voice() {
    let judge = Judge::new();
    let on = [true, true, true, false];
    for under_db in [30.0, 40.0, 43.0] {
        let verdict = judge.window(0, on, &coded(under_db));
        println!("{under_db} dB: {verdict:?}");
        assert!(matches!(verdict, Verdict::Residue { .. }), "{verdict:?}");
    }
    for under_db in [50.0, 90.0] {
        let verdict = judge.window(0, on, &coded(under_db));
        println!("{under_db} dB: {verdict:?}");
        assert!(matches!(verdict, Verdict::Clean { .. }), "{verdict:?}");
    }
    // A gap in the other tones is noise at every frequency, not a residue.
    let mut gap = coded(90.0);
    gap[4_000..5_000].fill(0.0);
    let verdict = judge.window(0, on, &gap);
    assert!(matches!(verdict, Verdict::Noise { .. }), "{verdict:?}");
    // A single frame of the own voice is short and therefore spreads over many frequencies: the
    // verdict is noise, not a residue. The test fails on it all the same unless the machine
    // stalled.
    let mut frame = coded(90.0);
    for (at, sample) in frame.iter_mut().enumerate().skip(4_000).take(960) {
        *sample +=
            0.25 * (std::f32::consts::TAU * SAY_HZ[0] as f32 * at as f32 / RATE as f32).sin();
    }
    let verdict = judge.window(0, on, &frame);
    assert!(!matches!(verdict, Verdict::Clean { .. }), "{verdict:?}");
    // If no other participant speaks, the own tone is compared with the level at which they would
    // speak.
    let mut alone = vec![0.0; WINDOW];
    assert!(matches!(
        judge.window(3, [false; PEOPLE], &alone),
        Verdict::Clean { .. }
    ));
    for (at, sample) in alone.iter_mut().enumerate() {
        *sample =
            0.0025 * (std::f32::consts::TAU * SAY_HZ[3] as f32 * at as f32 / RATE as f32).sin();
    }
    let verdict = judge.window(3, [false; PEOPLE], &alone);
    assert!(matches!(verdict, Verdict::Residue { .. }), "{verdict:?}");
}

const ROOM: &str = "switching";

/// Seed for the choice of the participant at each switch. Any other value would do.
const SEED: u64 = 1;

/// The length of a window, 200 ms: under a Hann window a tone vanishes 10 Hz away from its
/// frequency.
const WINDOW: usize = RATE / 5;

/// The distance from one window to the next, 50 ms.
const STEP: usize = RATE / 20;

/// Offsets from the own tone at which the noise is measured. They are far enough from all tones,
/// and so many that noise exceeds all of them by chance in one window of ten thousand only.
const BESIDE_HZ: [f64; 10] = [17.0, 27.0, 37.0, 47.0, 57.0, 67.0, 77.0, 87.0, 97.0, 107.0];
