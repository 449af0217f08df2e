//! Where a stream's packets go: to the client or to a file.

/// Where the packets of one participant's stream go. A stream shared by several participants is
/// encoded once, whatever their destinations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Destination {
    /// To the participant's client, over the network.
    #[default]
    Peer,
    /// To a file.
    Recorder,
}

impl Destination {
    /// Every destination but [`Destination::Peer`].
    pub(crate) const OTHERS: [Destination; 1] = [Destination::Recorder];
}
