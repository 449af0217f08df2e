//! The swarm's sockets: each is shared by as many clients as this machine has addresses for them.
//!
//! A server tells clients apart by their addresses, so each client needs its own. Two thousand
//! sockets would cost the kernel, and thereby the sending server, more than the packets themselves.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use rustix::event::epoll;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};

use super::labelled_datagrams::label;

/// All sockets of a swarm. Each client has a slot: slot = socket x number of addresses + address.
pub(super) struct Sockets {
    sockets: Vec<UdpSocket>,
    ports: Vec<u16>,
    ips: Vec<IpAddr>,
}

impl Sockets {
    /// Opens sockets for `capacity` clients with these addresses.
    pub(super) fn open(ips: &[IpAddr], capacity: usize) -> io::Result<Sockets> {
        let count = capacity.div_ceil(ips.len());
        let bound = match ips {
            [one] => *one,
            _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        let mut sockets = Vec::with_capacity(count);
        let mut ports = Vec::with_capacity(count);
        for _ in 0..count {
            let socket = UdpSocket::bind((bound, 0))?;
            socket.set_nonblocking(true)?;
            label(&socket)?;
            // A larger buffer than usual needs privileges, and only helps when this process is not
            // scheduled.
            if set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES).is_err() {
                set_socket_recv_buffer_size(&socket, BUFFER_BYTES)?;
            }
            ports.push(socket.local_addr()?.port());
            sockets.push(socket);
        }
        Ok(Sockets {
            sockets,
            ports,
            ips: ips.to_vec(),
        })
    }

    /// Returns the number of slots, which is the largest number of clients.
    pub(super) fn slots(&self) -> usize {
        self.sockets.len() * self.ips.len()
    }

    /// Returns the address of a slot.
    pub(super) fn address(&self, slot: usize) -> SocketAddr {
        let ip = self.ips[slot % self.ips.len()];
        SocketAddr::new(ip, self.ports[slot / self.ips.len()])
    }

    /// Returns the slot of a datagram that came to address `to` of a socket.
    pub(super) fn slot(&self, socket: usize, to: Option<Ipv4Addr>) -> Option<usize> {
        let at = match self.ips.as_slice() {
            [_] => 0,
            ips => ips.iter().position(|ip| Some(*ip) == to.map(IpAddr::V4))?,
        };
        Some(socket * self.ips.len() + at)
    }

    /// Returns the socket of a slot.
    pub(super) fn socket_of(&self, slot: usize) -> usize {
        slot / self.ips.len()
    }

    pub(super) fn get(&self, socket: usize) -> &UdpSocket {
        &self.sockets[socket]
    }

    /// Returns an epoll descriptor that is ready when any of the sockets has a datagram.
    pub(super) fn watch(&self) -> io::Result<rustix::fd::OwnedFd> {
        let watch = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, socket) in self.sockets.iter().enumerate() {
            let event = epoll::EventData::new_u64(index as u64);
            epoll::add(&watch, socket, event, epoll::EventFlags::IN)?;
        }
        Ok(watch)
    }
}

/// The size of a receive buffer: half a second for thirty-two clients, by the kernel's accounting
/// of memory.
const BUFFER_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_swarm_slot_has_its_own_address() {
        let ips: Vec<IpAddr> = (1..=3).map(|n| IpAddr::from([127, 0, 0, n])).collect();
        let sockets = Sockets::open(&ips, 7).expect("ports");
        assert_eq!(sockets.slots(), 9);
        for slot in 0..9 {
            let IpAddr::V4(ip) = sockets.address(slot).ip() else {
                panic!("IPv4");
            };
            let socket = sockets.socket_of(slot);
            assert_eq!(sockets.slot(socket, Some(ip)), Some(slot));
            assert_eq!(
                sockets.get(socket).local_addr().expect("bound").port(),
                sockets.address(slot).port()
            );
        }
        assert_eq!(sockets.slot(0, Some(Ipv4Addr::new(127, 0, 0, 9))), None);
        let alone = Sockets::open(&ips[..1], 2).expect("ports");
        assert_eq!((alone.slots(), alone.slot(1, None)), (2, Some(1)));
    }
}
