//! One participant: a strip if it talks, an output stream if it listens, and the atomics that it
//! shares with the control side.
//!
//! Built whole on the control side and handed to the engine as one box.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::codec::Encoding;
#[cfg(feature = "opus")]
use crate::codec::{self, Codec};
use crate::codec::{Decode, Encode};
use crate::format::{Layout, TickLength};
use crate::mix::bus::Base;
use crate::mix::gains::{GainChange, PersonalGains};
use crate::monitor::{MonitorChange, MonitorMix};
use crate::output::{Destination, OutputStream};
use crate::room::Shared;
use crate::source::{Playout, Source, Strip};
use crate::units::{Level, ParticipantId};

/// The values from which a participant is built.
#[derive(Debug, Clone, Copy)]
pub struct ParticipantConfig {
    /// The participant's id, and its CSRC in the packets that others receive.
    pub id: ParticipantId,
    /// Whether the participant talks; only then it gets a decoder or another source.
    pub talks: bool,
    /// How the participant's stream is encoded; `None`: it is sent nothing and gets no encoder.
    pub listens: Option<Encoding>,
    /// The room's layout.
    pub layout: Layout,
    /// The room's tick.
    pub tick: TickLength,
}

/// A participant of a room.
#[derive(Debug)]
pub struct Participant {
    pub(crate) id: ParticipantId,
    pub(crate) layout: Layout,
    pub(crate) tick: TickLength,
    pub(crate) shared: Arc<Shared>,
    /// In a box of its own, so that listen-only participants are small.
    pub(crate) strip: Option<Box<Strip>>,
    /// The participant's stream; `None` while another thread encodes it, and for a listen-only
    /// participant that is sent the stream of a listener group.
    pub(crate) stream: Option<Box<OutputStream>>,
    /// The other rooms that the participant monitors.
    pub(crate) monitors: Option<Box<MonitorMix>>,
    /// The previously monitored rooms, for the cross-fade of the next tick.
    pub(crate) monitor_change: Option<Box<MonitorChange>>,
    /// The participant's personal gains: talkers that it hears louder or quieter than the other
    /// participants do.
    pub(crate) gains: Option<Box<PersonalGains>>,
    /// The previous personal gains, from which the next tick ramps.
    pub(crate) gain_change: Option<Box<GainChange>>,
    /// The bus that the participant's mix is made from.
    pub(crate) base: Base,
    /// Where the participant's packets go.
    pub(crate) destination: Destination,
    /// The number of the last tone that was begun, as the settings count tones.
    pub(crate) tone: u32,
}

impl Participant {
    /// Creates a participant with the Opus decoder and encoder that it needs.
    ///
    /// Real-time: set-up only (allocates).
    #[cfg(feature = "opus")]
    pub fn new(config: ParticipantConfig, shared: Arc<Shared>) -> Participant {
        Participant::with_uplink_codec(Codec::Opus, config, shared)
    }

    /// Creates a participant that sends `codec`; `config.listens` says which codec it is sent.
    ///
    /// Real-time: set-up only (allocates).
    #[cfg(feature = "opus")]
    pub fn with_uplink_codec(
        codec: Codec,
        config: ParticipantConfig,
        shared: Arc<Shared>,
    ) -> Participant {
        let decoder = config.talks.then(|| codec::decoder(codec, config.layout));
        let encoder = config.listens.map(|encoding| codec::encoder(&encoding));
        Participant::with_codec(config, shared, decoder, encoder)
    }

    /// Creates a participant with the given decoder and encoder. The decoder is used only if the
    /// participant talks. The encoder, already configured as the encoding says, is used only if the
    /// participant listens. If one is missing, the participant cannot talk or cannot listen.
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

    /// Creates a participant whose voice comes from any source, such as an announcement. The source
    /// must give frames of the layout and tick of `config`. The source is used only if the
    /// participant talks, the encoder only if the participant listens.
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
            stream: config.listens.zip(encoder).map(|(encoding, encoder)| {
                Box::new(OutputStream::with_encoder(encoding, tick, encoder))
            }),
            monitors: None,
            monitor_change: None,
            gains: None,
            gain_change: None,
            base: Base::Total,
            destination: Destination::Peer,
            tone: 0,
        }
    }

    /// Sets where the participant's packets go, instead of to a client.
    pub fn with_destination(self, destination: Destination) -> Participant {
        Participant {
            destination,
            ..self
        }
    }

    /// Sets the bus that the participant's mix is made from.
    pub fn with_base(self, base: Base) -> Participant {
        Participant { base, ..self }
    }

    /// Prepares the participant for another room of the same layout and tick, after it has been
    /// [detached](crate::engine::Command::Detach) from its room. The participant keeps its playout,
    /// decoder and encoder, settings and permit to be heard; its monitored rooms and personal gains
    /// are dropped.
    ///
    /// Real-time: set-up only (frees).
    pub fn leave_room(&mut self) {
        (self.monitors, self.monitor_change) = (None, None);
        (self.gains, self.gain_change) = (None, None);
        if let Some(strip) = &mut self.strip {
            strip.leave_room();
        }
        if let Some(stream) = &mut self.stream {
            stream.leave_room();
        }
    }

    /// Whether the participant was built for this layout and tick.
    pub fn fits(&self, layout: Layout, tick: TickLength) -> bool {
        self.layout == layout && self.tick == tick
    }

    /// The participant's id.
    pub fn id(&self) -> ParticipantId {
        self.id
    }

    /// Whether the settings ask for a tone that has not been begun.
    pub(crate) fn wants_tone(&self) -> bool {
        self.shared.settings.tone().0 != self.tone
    }

    /// Whether removing the participant from the bus now would be heard as a cut.
    pub(crate) fn is_audible(&self) -> bool {
        self.strip.as_ref().is_some_and(|strip| strip.is_audible())
    }
}
