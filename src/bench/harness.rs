//! A running measurement: one server, its clients, and what both of them consume over a period.

use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use thiserror::Error;
use tokio::time::sleep;

use super::procfs::{Sample, Usage};
use super::prometheus::{Counters, misses};
use super::swarm::{
    Joining, ListenerKind, Member, Role, Speech, Swarm, SwarmError, SwarmStats, tone_hz,
};
use super::target::{self, Target, TargetError, TargetOptions, TargetSpec};

/// Why a measurement has no result.
#[derive(Debug, Error)]
pub enum HarnessError {
    /// The server does not start or answer.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The clients do not start.
    #[error(transparent)]
    Swarm(#[from] SwarmError),
    /// The process itself cannot be measured.
    #[error("cannot start the threads or set up the signal handlers of the benchmark: {0}")]
    System(#[from] io::Error),
    /// The user has interrupted the measurement.
    #[error("the benchmark was interrupted")]
    Interrupted,
    /// The combination of flags measures nothing.
    #[error("{0}")]
    Flags(&'static str),
}

/// What a [`Harness`] starts and how long it measures.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) spec: TargetSpec,
    pub(super) options: TargetOptions,
    pub(super) speech: Speech,
    /// How long server and clients run before a measurement begins.
    pub(super) settle: Duration,
    /// How long a measurement takes.
    pub(super) time: Duration,
}

/// A measurement under way: a server with one room, and the clients in that room.
pub(super) struct Harness {
    setting: Setting,
    /// Dropped before the target, so that the clients close their connections while the server
    /// still runs.
    swarm: Swarm,
    target: Target,
    talkers: Vec<Member>,
    listeners: Vec<Member>,
}

/// The measurements of server and clients over one period.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    /// What the clients received and sent, summed up.
    pub(super) tally: Box<SwarmStats>,
    /// Resources used by the server's process; `None` if it runs elsewhere.
    pub(super) server: Option<Usage>,
    /// Resources used by this process.
    pub(super) own: Usage,
    /// The server's own metrics: increases of counters, and current values of gauges.
    pub(super) says: BTreeMap<String, f64>,
}

impl Figures {
    /// Returns the number of missed deadlines, by the server's own metrics.
    pub(super) fn misses(&self) -> f64 {
        misses(&self.says)
    }

    /// Returns the server's CPU time in percent of one processor.
    pub(super) fn cpu_percent(&self) -> f64 {
        self.server.map_or(f64::NAN, |usage| usage.cpu_percent)
    }

    /// Returns the server's resident memory in bytes.
    pub(super) fn rss_bytes(&self) -> f64 {
        self.server.map_or(f64::NAN, |usage| usage.rss_bytes as f64)
    }
}

impl Harness {
    /// Starts the server, with no clients yet.
    pub(super) async fn open(setting: Setting) -> Result<Harness, HarnessError> {
        let target = target::start(&setting.spec, &setting.options).await?;
        let room_for = setting.options.room_capacity.max(1);
        let swarm = Swarm::start(target.local_ips(), room_for, setting.speech)?;
        Ok(Harness {
            setting,
            swarm,
            target,
            talkers: Vec::new(),
            listeners: Vec::new(),
        })
    }

    /// Joins talkers until there are `count`. The first two also decode what they hear.
    pub(super) async fn talkers(&mut self, count: usize) -> Result<(), HarnessError> {
        let tones = self.tones(count);
        let joining = |number| Joining {
            role: Role::Talker(number),
            ear: (number < EARS).then(|| tones.clone()),
        };
        let new: Vec<Joining> = (self.talkers.len()..count).map(joining).collect();
        let (joined, outcome) = self.join(new).await;
        self.talkers.extend(joined);
        outcome
    }

    /// Joins or removes listeners until there are `count`. The first two also decode what they
    /// hear.
    pub(super) async fn listeners(
        &mut self,
        count: usize,
        kind: ListenerKind,
    ) -> Result<(), HarnessError> {
        while self.listeners.len() > count {
            if let Some(member) = self.listeners.pop() {
                self.swarm.leave(&self.target, member).await;
            }
        }
        let tones = self.tones(self.talkers.len());
        let joining = |number| Joining {
            role: Role::Listener(kind),
            ear: (number < EARS).then(|| tones.clone()),
        };
        let new: Vec<Joining> = (self.listeners.len()..count).map(joining).collect();
        let (joined, outcome) = self.join(new).await;
        self.listeners.extend(joined);
        outcome
    }

    /// Creates `count` rooms without participants.
    pub(super) async fn rooms(&self, count: usize) -> Result<(), HarnessError> {
        let names: Vec<String> = (0..count).map(|number| format!("idle-{number}")).collect();
        let made = stream::iter(&names).map(|name| self.target.make_room(name));
        let mut made = made.buffer_unordered(JOINS_AT_ONCE);
        while let Some(made) = made.next().await {
            made?;
        }
        Ok(())
    }

    /// Waits for the settling time, then measures for the time of the settings.
    pub(super) async fn measure(&self) -> Result<Figures, HarnessError> {
        self.measure_for(self.setting.time).await
    }

    /// Waits for the settling time, then measures for `time`.
    pub(super) async fn measure_for(&self, time: Duration) -> Result<Figures, HarnessError> {
        sleep(self.setting.settle).await;
        let says = self.counters().await;
        let server = self.target.pid().and_then(Sample::of);
        let own = Sample::of(std::process::id());
        let tally = self.swarm.measure(time).await?;
        let since = |before: Option<Sample>, pid: Option<u32>| {
            let now = pid.and_then(Sample::of)?;
            Some(now.since(&before?))
        };
        let server = since(server, self.target.pid());
        let own = since(own, Some(std::process::id())).unwrap_or_default();
        Ok(Figures {
            tally,
            server,
            own,
            says: self.counters().await.since(&says),
        })
    }

    /// Closes the clients and stops the server.
    pub(super) async fn close(self) {
        drop(self.swarm);
        self.target.stop().await;
    }

    async fn counters(&self) -> Counters {
        let page = self.target.metrics().await.unwrap_or_default();
        Counters::read(&page)
    }

    fn tones(&self, talkers: usize) -> Vec<u32> {
        match self.setting.speech {
            Speech::Tones => (0..talkers.min(MAX_TONES)).map(tone_hz).collect(),
            Speech::Voices | Speech::Nonstop => Vec::new(),
        }
    }

    /// Joins many clients, some at a time. After a failure no more joins are started; clients that
    /// have joined stay.
    async fn join(&self, joining: Vec<Joining>) -> (Vec<Member>, Result<(), HarnessError>) {
        let mut joined = Vec::with_capacity(joining.len());
        let failed = AtomicBool::new(false);
        let joins = stream::iter(joining)
            .take_while(|_| ready(!failed.load(Ordering::Relaxed)))
            .map(|joining| self.swarm.join(&self.target, ROOM, joining));
        let mut joins = pin!(joins.buffer_unordered(JOINS_AT_ONCE));
        let mut outcome = Ok(());
        while let Some(join) = joins.next().await {
            match join {
                Ok(member) => joined.push(member),
                Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    outcome = outcome.and(Err(error.into()));
                }
            }
        }
        (joined, outcome)
    }
}

/// Runs a measurement until it ends, or until Ctrl-C or SIGTERM. An interrupted measurement is
/// dropped, which removes everything that it has set up.
pub(super) fn until_interrupted<T>(
    measurement: impl Future<Output = Result<T, HarnessError>>,
) -> Result<T, HarnessError> {
    use tokio::signal::unix::{SignalKind, signal};
    // The runtime does signalling only: media has a thread of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            measured = measurement => measured,
            _ = terminate.recv() => Err(HarnessError::Interrupted),
            _ = interrupt.recv() => Err(HarnessError::Interrupted),
        }
    })
}

const ROOM: &str = "bench";

/// How many of the talkers, and of the listeners, decode what they hear.
const EARS: usize = 2;

/// The largest number of tones that can be told apart.
const MAX_TONES: usize = 10;

/// Joins under way at one time: enough to keep a server busy, too few to time out.
const JOINS_AT_ONCE: usize = 16;
