//! Linked rooms: other rooms that all members of a room hear.

use crate::mix::bus::Bus;
use crate::monitor::MonitorMix;

/// New links for a room. The box comes back with the previous links, and with the bus if the room
/// does not need it.
#[derive(Debug, Default)]
pub struct LinkChange {
    /// The rooms linked from now on; `None`: no rooms.
    pub(crate) links: Option<Box<MonitorMix>>,
    /// The bus for the sum with the linked rooms.
    pub(crate) total: Option<Box<Bus>>,
}

impl LinkChange {
    /// Creates a change to these links; `None` removes all links.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(links: Option<Box<MonitorMix>>) -> LinkChange {
        let total = links.as_ref().map(|links| {
            let (layout, tick) = links.format();
            Box::new(Bus::new(layout, tick))
        });
        LinkChange { links, total }
    }
}
