//! A call of clients through a target, or of two clients connected to each other, and what the
//! listener heard of each talker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::LatencyError;
use super::analysis::{Verdict, judge};
use super::ptt::{self, FirstGrant};
use super::stimulus::Stimulus;
use super::taps::{Heard, ListenerProbe, TalkerProbe};
use crate::bench::libwebrtc::Inbound;
use crate::bench::relay::Impairment;
use crate::bench::room_client::{Entrance, RoomClient};
use crate::bench::target::Target;
use crate::join::media::MediaOptions;
use crate::join::peer_to_peer::{self, PeerToPeer};
use crate::join::uplink::Ptime;

/// The room and the clients of a call through a target.
pub(super) struct Plan {
    pub room: String,
    pub talkers: usize,
    /// Whether talkers request the floor.
    pub ptt: bool,
    /// The packet duration of the talkers.
    pub ptime: Ptime,
    /// The packet duration that listeners ask for.
    pub asked_ptime: Option<Ptime>,
    /// The impairment of the talkers' path to the server.
    pub way: Option<Impairment>,
    /// Seed of the random numbers that decide on loss and jitter.
    pub seed: u64,
}

/// The delays and the damage in one call, or in several.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    pub verdict: Verdict,
    /// From the start of a listener's join to its first packet, in milliseconds.
    pub first_audio_ms: Vec<f64>,
    /// What the receiver's jitter buffer changed, if the client reports it.
    pub receiver: Option<Inbound>,
}

impl Findings {
    pub fn add(&mut self, other: Findings) {
        self.verdict.add(other.verdict);
        self.first_audio_ms.extend(other.first_audio_ms);
        if let Some(inbound) = other.receiver {
            self.receiver.get_or_insert_default().add(inbound);
        }
    }
}

/// A running call: several talkers, one listener.
pub(super) struct Call<'a> {
    /// The talkers; talker number `n` sends stimulus number `n`.
    talkers: Vec<Talker>,
    ear: Arc<ListenerProbe>,
    members: Members<'a>,
    /// When the listener started to join, if a talker was already talking.
    asked: Option<Instant>,
}

/// A talker of a call: what it sends, and when.
struct Talker {
    stimulus: Stimulus,
    mouth: Arc<TalkerProbe>,
    /// When the floor was first granted; `None` for a talker that does not request the floor.
    granted: Option<FirstGrant>,
}

enum Members<'a> {
    PeerToPeer(Box<(PeerToPeer, PeerToPeer)>),
    Through(&'a Target, Vec<RoomClient>),
}

impl<'a> Call<'a> {
    /// Connects one talker and one listener without a server.
    pub async fn direct(ptime: Ptime) -> Result<Call<'a>, LatencyError> {
        let talker = Talker::new(0, false);
        let ear = Arc::<ListenerProbe>::default();
        let ends = peer_to_peer::connect(talker.talking(ptime), listening(&ear)).await?;
        Ok(Call {
            talkers: vec![talker],
            ear,
            members: Members::PeerToPeer(Box::new(ends)),
            asked: None,
        })
    }

    /// Joins talkers and a listener to a new room of `target`.
    pub async fn through(target: &'a Target, plan: &Plan) -> Result<Call<'a>, LatencyError> {
        let talkers: Vec<Talker> = (0..plan.talkers)
            .map(|number| Talker::new(number, plan.ptt))
            .collect();
        let ear = Arc::<ListenerProbe>::default();
        let listener =
            async || RoomClient::join(plan.entrance(target), "ear", listening(&ear)).await;
        let mut members = Vec::new();
        if plan.ptt {
            let settings = json!({ "mode": plan.mode() });
            target.put_room(&plan.room, &settings.to_string()).await?;
            // A participant alone in a room is denied the floor, so the listener joins first.
            members.push(listener().await?);
        }
        // The first talker joins last: a listener that joins after it does so during its first
        // talk-spurt.
        for (number, talker) in talkers.iter().enumerate().rev() {
            members.push(talker.join(target, plan, number).await?);
        }
        let mut asked = None;
        if !plan.ptt {
            tokio::time::sleep(BEFORE_LISTENING).await;
            asked = Some(Instant::now());
            members.push(listener().await?);
        }
        Ok(Call {
            talkers,
            ear,
            members: Members::Through(target, members),
            asked,
        })
    }

    /// Ends the call and judges what was heard.
    pub async fn end(self, who: &str) -> Result<Findings, LatencyError> {
        match self.members {
            Members::PeerToPeer(ends) => {
                ends.0.finish().await?;
                ends.1.finish().await?;
            }
            Members::Through(target, members) => {
                for member in members {
                    member.leave(target).await?;
                }
            }
        }
        let first = self.ear.first().ok_or_else(|| LatencyError::Silent {
            who: who.to_owned(),
        })?;
        let heard = self.ear.heard()?;
        let talkers = self.talkers;
        // This takes about a second of computing, and must not delay other tasks.
        let judged = tokio::task::spawn_blocking(move || {
            let mut all = Verdict::default();
            for (number, talker) in talkers.iter().enumerate() {
                let mut verdict = talker.judge(&heard);
                // The other talkers' hops are too quiet to be judged beside those of the first
                // talker.
                if number > 0 {
                    (verdict.hops, verdict.damaged) = (0, 0);
                }
                all.add(verdict);
            }
            all
        });
        let after = |asked: Instant| first.duration_since(asked).as_secs_f64() * 1e3;
        Ok(Findings {
            verdict: judged.await.unwrap_or_else(|error| {
                // A panic of the analysis must not be taken for silence.
                std::panic::resume_unwind(error.into_panic())
            }),
            first_audio_ms: self.asked.map(after).into_iter().collect(),
            receiver: None,
        })
    }
}

impl Plan {
    /// Returns the room mode in which all talkers of the call may talk at once.
    fn mode(&self) -> String {
        match self.talkers {
            1 => "ptt".to_owned(),
            talkers => format!("multi:{talkers}"),
        }
    }

    /// Returns how the listener joins: over a path without impairment.
    fn entrance<'a>(&'a self, target: &'a Target) -> Entrance<'a> {
        Entrance {
            target,
            room: &self.room,
            asked_ptime: self.asked_ptime,
            way: None,
        }
    }
}

impl Talker {
    fn new(number: usize, ptt: bool) -> Talker {
        Talker {
            stimulus: Stimulus::new(number),
            mouth: Arc::default(),
            granted: ptt.then(FirstGrant::default),
        }
    }

    async fn join(
        &self,
        target: &Target,
        plan: &Plan,
        number: usize,
    ) -> Result<RoomClient, LatencyError> {
        let entrance = Entrance {
            way: plan.way.map(|way| (way, plan.seed * 8 + number as u64)),
            ..plan.entrance(target)
        };
        let name = format!("mouth-{number}");
        let Some(granted) = &self.granted else {
            let media = self.talking(plan.ptime);
            return Ok(RoomClient::join(entrance, &name, media).await?);
        };
        let (media, strokes) = ptt::talking(self.stimulus, &self.mouth, plan.ptime);
        let member = RoomClient::join(entrance, &name, media).await?;
        let messages = member.media().sockets().messages.subscribe();
        tokio::spawn(ptt::note_first(messages, Arc::clone(granted)));
        let connection = Arc::downgrade(member.connection());
        tokio::spawn(ptt::ask(strokes, connection));
        Ok(member)
    }

    /// Returns the media of a talker that always sends.
    fn talking(&self, ptime: Ptime) -> MediaOptions {
        MediaOptions {
            source: Some(self.stimulus.source()),
            ptime,
            tap: Arc::clone(&self.mouth) as Arc<_>,
            ..MediaOptions::default()
        }
    }

    /// Judges what was heard of this talker: all of it, or what it sent after the floor was first
    /// granted. Before that its connection may not have been up.
    fn judge(&self, heard: &Heard) -> Verdict {
        let since = self.granted.as_ref().and_then(|first| first.get().copied());
        judge(&self.stimulus, &self.mouth.spoken(), since, heard)
    }
}

fn listening(ear: &Arc<ListenerProbe>) -> MediaOptions {
    MediaOptions {
        tap: Arc::clone(ear) as Arc<_>,
        ..MediaOptions::default()
    }
}

/// How long after the first talker the listener joins: within the first talk-spurt, well before its
/// end.
const BEFORE_LISTENING: Duration = Duration::from_millis(300);
