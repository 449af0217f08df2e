//! Fans out one packet to many peers: the code that the network thread runs most often.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Instant;

use mixer::ParticipantId;
use mixer::packet::OutPacket;

use super::super::handle::{Reason, RtcEvent};
use super::Peers;

impl Peers {
    /// Queues `packet`, encrypted, for each participant in `to` that is connected.
    ///
    /// A panic ends only the peer on which it happened. Sending a packet changes no deadline of a
    /// peer.
    pub(in crate::rtc) fn send(&mut self, to: &[ParticipantId], packet: &OutPacket, now: Instant) {
        let mut next = 0;
        while next < to.len() {
            let written = catch_unwind(AssertUnwindSafe(|| {
                for participant in &to[next..] {
                    if let Some(&key) = self.keys.get(participant) {
                        let peer = &mut self.entries[key].peer;
                        peer.send(packet, now, &mut self.out.datagrams);
                    }
                    next += 1;
                }
            }));
            if written.is_err() {
                self.metrics.faults_total.fetch_add(1, Ordering::Relaxed);
                let participant = to[next];
                next += 1;
                self.close(participant, now);
                let gone = RtcEvent::Gone(participant, Reason::Fault);
                self.out.events.push_back(gone);
            }
        }
    }
}
