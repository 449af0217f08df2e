//! One participant: a strip for who talks, a listener for who listens, and the atomics both sides
//! share.
//!
//! Built whole on the control side and handed over as one box.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::codec::Recipe;
#[cfg(feature = "opus")]
use crate::codec::{self, Codec};
use crate::codec::{Decode, Encode};
use crate::format::{Layout, TickLength};
use crate::mix::gains::{GainChange, PersonalGains};
use crate::monitor::{Rescan, Scan};
use crate::output::{Destination, Listener};
use crate::room::Shared;
use crate::source::{Playout, Source, Strip};
use crate::units::{Level, ParticipantId};

/// What a participant is built from.
#[derive(Debug, Clone, Copy)]
pub struct ParticipantConfig {
    /// Its name, and its CSRC in what the others receive.
    pub id: ParticipantId,
    /// It talks: it gets a decoder, or another source.
    pub talks: bool,
    /// How it is sent audio; `None`: not at all, and it gets no encoder.
    pub listens: Option<Recipe>,
    /// The room's layout.
    pub layout: Layout,
    /// The room's tick.
    pub tick: TickLength,
}

/// Somebody in a room.
#[derive(Debug)]
pub struct Participant {
    pub(crate) id: ParticipantId,
    pub(crate) layout: Layout,
    pub(crate) tick: TickLength,
    pub(crate) shared: Arc<Shared>,
    /// In a box of its own: who only listens is small.
    pub(crate) strip: Option<Box<Strip>>,
    /// Its stream; none while another thread encodes it, and none if it will only ever hear another
    /// one's.
    pub(crate) listener: Option<Box<Listener>>,
    /// What it hears of other rooms.
    pub(crate) scan: Option<Box<Scan>>,
    /// What it heard of them before, to be faded over at the next tick.
    pub(crate) rescan: Option<Box<Rescan>>,
    /// The talkers it hears louder or quieter than others do.
    pub(crate) gains: Option<Box<PersonalGains>>,
    /// How loud it heard them before, to be ramped from at the next tick.
    pub(crate) gain_change: Option<Box<GainChange>>,
    /// Where its packets go.
    pub(crate) destination: Destination,
    /// The last tone that was begun, as the settings number it.
    pub(crate) tone: u32,
}

impl Participant {
    /// A participant with the Opus decoder and encoder it needs.
    ///
    /// Real-time: set-up only (allocates).
    #[cfg(feature = "opus")]
    pub fn new(config: ParticipantConfig, shared: Arc<Shared>) -> Participant {
        Participant::who_sends(Codec::Opus, config, shared)
    }

    /// The same for one who sends another codec; what he is sent, his recipe says.
    ///
    /// Real-time: set-up only (allocates).
    #[cfg(feature = "opus")]
    pub fn who_sends(codec: Codec, config: ParticipantConfig, shared: Arc<Shared>) -> Participant {
        let decoder = config.talks.then(|| codec::decoder(codec, config.layout));
        let encoder = config.listens.map(|recipe| codec::encoder(&recipe));
        Participant::with_codec(config, shared, decoder, encoder)
    }

    /// The same with any codec. A decoder is taken for who talks, an encoder, set as the recipe
    /// says, for who listens; one without the other makes neither.
    ///
    /// Real-time: set-up only (allocates).
    pub fn with_codec(
        config: ParticipantConfig,
        shared: Arc<Shared>,
        decoder: Option<Box<dyn Decode>>,
        encoder: Option<Box<dyn Encode>>,
    ) -> Participant {
        let source = decoder.map(|decoder| {
            let playout = Playout::new(config.layout, config.tick, decoder);
            Box::new(playout) as Box<dyn Source>
        });
        Participant::with_source(config, shared, source, encoder)
    }

    /// A participant whose voice comes from any source: an announcement, say. The source must give frames of the layout and
    /// tick of `config`; it is taken if the participant talks, and the encoder if it listens.
    ///
    /// Real-time: set-up only (allocates).
    pub fn with_source(
        config: ParticipantConfig,
        shared: Arc<Shared>,
        source: Option<Box<dyn Source>>,
        encoder: Option<Box<dyn Encode>>,
    ) -> Participant {
        let ParticipantConfig { layout, tick, .. } = config;
        shared.telemetry.level.store(Level::SILENCE.wire(), Relaxed);
        Participant {
            id: config.id,
            layout,
            tick,
            shared,
            strip: source
                .filter(|_| config.talks)
                .map(|source| Box::new(Strip::with_source(layout, tick, source))),
            listener: config
                .listens
                .zip(encoder)
                .map(|(recipe, encoder)| Box::new(Listener::with_encoder(recipe, tick, encoder))),
            scan: None,
            rescan: None,
            gains: None,
            gain_change: None,
            destination: Destination::Peer,
            tone: 0,
        }
    }

    /// Sends its packets elsewhere than to a client.
    pub fn with_destination(self, destination: Destination) -> Participant {
        Participant {
            destination,
            ..self
        }
    }

    /// Makes it ready for another room of the same layout and tick, once it has been
    /// [detached](crate::engine::Command::Detach) from its own. It keeps its playout, decoder and encoder, its settings and
    /// its permit; what it heard of other rooms and its personal gains stay behind.
    ///
    /// Real-time: set-up only (frees).
    pub fn leave_room(&mut self) {
        (self.scan, self.rescan) = (None, None);
        (self.gains, self.gain_change) = (None, None);
        if let Some(strip) = &mut self.strip {
            strip.leave_room();
        }
        if let Some(stream) = &mut self.listener {
            stream.leave_room();
        }
    }

    /// Whether a room of this layout and tick takes it.
    pub fn fits(&self, layout: Layout, tick: TickLength) -> bool {
        self.layout == layout && self.tick == tick
    }

    /// Its name.
    pub fn id(&self) -> ParticipantId {
        self.id
    }

    /// Whether its settings ask for a tone that has not been begun.
    pub(crate) fn wants_tone(&self) -> bool {
        self.shared.settings.tone().0 != self.tone
    }

    /// Whether leaving the bus now would be heard as a cut.
    pub(crate) fn is_audible(&self) -> bool {
        self.strip.as_ref().is_some_and(|strip| strip.is_audible())
    }
}
