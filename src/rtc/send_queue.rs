//! A queue of datagrams to send, stored contiguously in one buffer.

use std::net::SocketAddr;

/// A queue of datagrams that keeps its memory, so that it stops allocating after the first seconds.
#[derive(Debug, Default)]
pub struct SendQueue {
    bytes: Vec<u8>,
    /// Destination of each datagram, and where it ends in `bytes`.
    entries: Vec<(SocketAddr, usize)>,
    /// Number of entries at the front that were already sent or dropped.
    gone: usize,
}

impl SendQueue {
    /// Number of datagrams that wait to be sent.
    pub fn len(&self) -> usize {
        self.entries.len() - self.gone
    }

    /// Whether no datagram waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a copy of a datagram.
    pub fn push(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.begin(datagram.len()).copy_from_slice(datagram);
        self.commit(to);
    }

    /// Returns space for a datagram of `length_bytes` at the end of the queue.
    ///
    /// The caller fills the space and adds the datagram with [`SendQueue::commit`]. Without that,
    /// the next call returns the same space again.
    pub fn begin(&mut self, length_bytes: usize) -> &mut [u8] {
        let start = self.entries.last().map_or(0, |&(_, end)| end);
        self.bytes.truncate(start);
        self.bytes.resize(start + length_bytes, 0);
        &mut self.bytes[start..]
    }

    /// Adds the datagram in the space that [`SendQueue::begin`] returned last.
    pub fn commit(&mut self, to: SocketAddr) {
        self.entries.push((to, self.bytes.len()));
    }

    /// Returns the waiting datagrams with their destinations, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let mut start = match self.gone {
            0 => 0,
            gone => self.entries[gone - 1].1,
        };
        self.entries[self.gone..].iter().map(move |&(to, end)| {
            let datagram = &self.bytes[start..end];
            start = end;
            (to, datagram)
        })
    }

    /// Removes the oldest `count` datagrams.
    pub fn drop_oldest(&mut self, count: usize) {
        self.gone += count.min(self.len());
        if self.is_empty() {
            self.clear();
        }
    }

    /// Removes all datagrams.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.gone = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn waiting(datagrams: &SendQueue) -> Vec<(u16, &[u8])> {
        let with_port = |(to, bytes): (SocketAddr, _)| (to.port(), bytes);
        datagrams.iter().map(with_port).collect()
    }

    #[test]
    fn send_queue_returns_datagrams_in_order_and_unaltered() {
        let mut datagrams = SendQueue::default();
        assert!(datagrams.is_empty());
        datagrams.push(address(1), b"one");
        datagrams.begin(5).fill(b'x');
        datagrams.begin(3).copy_from_slice(b"two");
        datagrams.commit(address(2));
        datagrams.push(address(3), b"");
        let all: [(u16, &[u8]); 3] = [(1, b"one"), (2, b"two"), (3, b"")];
        assert_eq!(waiting(&datagrams), all);
        datagrams.drop_oldest(1);
        datagrams.push(address(4), b"four");
        assert_eq!(datagrams.len(), 3);
        assert_eq!(waiting(&datagrams)[0], all[1]);
        assert_eq!(waiting(&datagrams)[2], (4, &b"four"[..]));
        datagrams.drop_oldest(9);
        assert!(datagrams.is_empty() && waiting(&datagrams).is_empty());
        datagrams.push(address(5), b"again");
        assert_eq!(waiting(&datagrams), [(5, &b"again"[..])]);
    }
}
