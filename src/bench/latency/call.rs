//! Clients connected through a target, or to each other, and what one of them heard of the others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::LatencyError;
use super::judge::{Verdict, judge};
use super::script::Script;
use super::taps::{Ear, Mouth};
use super::turns;
use crate::bench::relay::{self, Impairment, Relay};
use crate::bench::target::{Seat, Target};
use crate::join::connection::{Connection, ConnectionError, Reach};
use crate::join::direct::{self, Direct};
use crate::join::media::{Media, MediaOptions};
use crate::join::sdp;
use crate::join::uplink::Ptime;

/// What is to be connected.
pub(super) struct Plan {
    pub room: String,
    pub talkers: usize,
    /// Talkers ask for the floor.
    pub ptt: bool,
    /// What talkers send.
    pub ptime: Ptime,
    /// What listeners ask for.
    pub asked_ptime: Option<Ptime>,
    /// What is wrong with the talkers' way to the server.
    pub way: Option<Impairment>,
    /// Decides which packets that hits.
    pub seed: u64,
}

/// What one call came to, or several.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    pub verdict: Verdict,
    /// From a listener's wish to join to its first packet, milliseconds.
    pub first_audio_ms: Vec<f64>,
}

impl Findings {
    pub fn add(&mut self, other: Findings) {
        self.verdict.add(other.verdict);
        self.first_audio_ms.extend(other.first_audio_ms);
    }
}

/// A running call: some talk, one listens.
pub(super) struct Call<'a> {
    scripts: Vec<Script>,
    mouths: Vec<Arc<Mouth>>,
    ear: Arc<Ear>,
    members: Members<'a>,
    /// When the listener began to join.
    asked: Option<Instant>,
}

enum Members<'a> {
    Direct(Box<(Direct, Direct)>),
    Through(&'a Target, Vec<Member>),
}

/// A client in a target's room.
struct Member {
    media: Media,
    connection: Arc<Connection>,
    seat: Seat,
    _relay: Option<Relay>,
}

impl<'a> Call<'a> {
    /// One talker and one listener without a server.
    pub async fn direct(ptime: Ptime) -> Result<Call<'a>, LatencyError> {
        let script = Script::new(0);
        let (mouth, ear) = (Arc::<Mouth>::default(), Arc::<Ear>::default());
        let ends = direct::connect(talking(script, &mouth, ptime), listening(&ear)).await?;
        Ok(Call {
            scripts: vec![script],
            mouths: vec![mouth],
            ear,
            members: Members::Direct(Box::new(ends)),
            asked: None,
        })
    }

    /// Talkers and a listener in a room of their own.
    pub async fn through(
        who: &str,
        target: &'a Target,
        plan: &Plan,
    ) -> Result<Call<'a>, LatencyError> {
        let scripts: Vec<Script> = (0..plan.talkers).map(Script::new).collect();
        let mut mouths = Vec::new();
        let mut members = Vec::new();
        let enter = Entrance { who, target, plan };
        if plan.ptt {
            let mode = format!("multi:{}", plan.talkers);
            let mode = if plan.talkers == 1 { "ptt" } else { &mode };
            let settings = json!({ "mode": mode });
            target.put_room(&plan.room, &settings.to_string()).await?;
        }
        // The first comes last: the listener is to join while its first talk-spurt lasts.
        for (number, script) in scripts.iter().enumerate().rev() {
            let mouth = Arc::<Mouth>::default();
            let (media, strokes) = match plan.ptt {
                false => (talking(*script, &mouth, plan.ptime), None),
                true => {
                    let (media, strokes) = turns::talking(*script, &mouth, plan.ptime);
                    (media, Some(strokes))
                }
            };
            let way = plan.way.map(|way| (way, plan.seed * 8 + number as u64));
            let name = format!("mouth-{number}");
            let member = enter.member(&name, media, way).await?;
            if let Some(strokes) = strokes {
                tokio::spawn(turns::ask(strokes, Arc::downgrade(&member.connection)));
            }
            members.push(member);
            mouths.insert(0, mouth);
        }
        tokio::time::sleep(BEFORE_LISTENING).await;
        let ear = Arc::<Ear>::default();
        let asked = Instant::now();
        members.push(enter.member("ear", listening(&ear), None).await?);
        Ok(Call {
            scripts,
            mouths,
            ear,
            members: Members::Through(target, members),
            asked: Some(asked),
        })
    }

    /// Ends the call and judges what was heard.
    pub async fn end(self, who: &str) -> Result<Findings, LatencyError> {
        match self.members {
            Members::Direct(ends) => {
                ends.0.finish().await?;
                ends.1.finish().await?;
            }
            Members::Through(target, members) => {
                for member in members {
                    member.connection.close().await;
                    target.leave(member.seat).await;
                    member.media.finish().await?;
                }
            }
        }
        let first = self.ear.first().ok_or_else(|| LatencyError::Silent {
            who: who.to_owned(),
        })?;
        let heard = self.ear.heard()?;
        let (scripts, mouths) = (self.scripts, self.mouths);
        // Takes a second or so of computing, in which no other task is to be held up.
        let judged = tokio::task::spawn_blocking(move || {
            let mut all = Verdict::default();
            for (number, (script, mouth)) in scripts.iter().zip(mouths).enumerate() {
                let mut verdict = judge(script, &mouth.spoken(), &heard);
                // The others' hops are too quiet to be judged under the first one's.
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
                // The judge's own panic, which must not be taken for silence.
                std::panic::resume_unwind(error.into_panic())
            }),
            first_audio_ms: self.asked.map(after).into_iter().collect(),
        })
    }
}

/// How clients come into one room.
struct Entrance<'a> {
    who: &'a str,
    target: &'a Target,
    plan: &'a Plan,
}

impl Entrance<'_> {
    /// Joins, through a relay if the way is to be bad, and waits until media can flow.
    async fn member(
        &self,
        name: &str,
        media: MediaOptions,
        way: Option<(Impairment, u64)>,
    ) -> Result<Member, LatencyError> {
        let own_ip = self.target.local_ip();
        let mut relay = match way {
            Some((way, seed)) => {
                let bound = Relay::bind(own_ip, way, seed).await;
                Some(bound.map_err(LatencyError::Relay)?)
            }
            None => None,
        };
        let media = Media::start(media)?;
        let sockets = media.sockets().clone();
        let offered = Connection::offer(sockets, Reach::From(own_ip)).await;
        let (connection, mut offer) = offered.map_err(|source| self.failed(source))?;
        if let Some(ptime) = self.plan.asked_ptime {
            offer = sdp::with_ptime(&offer, ptime.ms());
        }
        if let Some(relay) = &relay {
            offer = relay::only_candidate(&offer, relay.back());
        }
        let (mut answer, seat) = self.target.join(&self.plan.room, name, &offer).await?;
        if let Some(relay) = &mut relay {
            let server = relay::first_address(&answer, own_ip);
            relay.lead_to(server.ok_or_else(|| LatencyError::NoAddress {
                target: self.who.to_owned(),
            })?);
            answer = relay::only_candidate(&answer, relay.front());
        }
        let up = async {
            connection.accept(answer).await?;
            connection.up().await
        };
        up.await.map_err(|source| self.failed(source))?;
        Ok(Member {
            media,
            connection: Arc::new(connection),
            seat,
            _relay: relay,
        })
    }

    fn failed(&self, source: ConnectionError) -> LatencyError {
        LatencyError::Connection {
            who: self.who.to_owned(),
            source,
        }
    }
}

/// A talker who talks all the time.
fn talking(script: Script, mouth: &Arc<Mouth>, ptime: Ptime) -> MediaOptions {
    MediaOptions {
        source: Some(script.source()),
        ptime,
        tap: Arc::clone(mouth) as Arc<_>,
        ..MediaOptions::default()
    }
}

fn listening(ear: &Arc<Ear>) -> MediaOptions {
    MediaOptions {
        tap: Arc::clone(ear) as Arc<_>,
        ..MediaOptions::default()
    }
}

/// Into the first talk-spurt, and well before its end.
const BEFORE_LISTENING: Duration = Duration::from_millis(300);
