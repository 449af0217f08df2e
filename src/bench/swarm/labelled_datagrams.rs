//! Batched calls for a socket with many addresses: each datagram has the local address that it came
//! to or leaves from, and the time at which the kernel received it.
//!
//! Many clients on one machine share a socket, each with an address of its own (IP_PKTINFO,
//! `ip(7)`), and the arrival times do not depend on when this process is scheduled (SO_TIMESTAMPNS,
//! `socket(7)`).
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use crate::rtc::datagram_batch::{
    BATCH, MAX_DATAGRAM_BYTES, address_of, receive_into, send_from, write_address,
};

/// A datagram as the kernel received it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival<'a> {
    /// The address of the sender.
    pub(super) from: SocketAddr,
    /// The address that it came to, on an IPv4 socket.
    pub(super) to: Option<Ipv4Addr>,
    /// The arrival, in nanoseconds of the system's clock (CLOCK_REALTIME); 0 if the kernel does not
    /// report it.
    pub(super) at_ns: u64,
    /// The content.
    pub(super) bytes: &'a [u8],
}

/// Asks the kernel to label the datagrams that arrive at `socket`.
///
/// # Errors
///
/// The system's error.
pub(super) fn label(socket: &UdpSocket) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)?;
    if socket.local_addr()?.is_ipv4() {
        set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO)?;
    }
    Ok(())
}

fn set(socket: &UdpSocket, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int, which lives until the call has returned; the kernel
    // only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Space for the labels of one datagram: two of at most 40 bytes with their headers, aligned as the
/// kernel requires.
type Labels = [u64; 16];

/// Receives labelled datagrams in batches, into buffers of its own.
pub(super) struct LabelledReceiver {
    buffers: Box<[[u8; MAX_DATAGRAM_BYTES]; BATCH]>,
    names: Box<[libc::sockaddr_storage; BATCH]>,
    labels: Box<[Labels; BATCH]>,
    arrived: [Arrived; BATCH],
}

/// The kernel's labels of one datagram.
#[derive(Clone, Copy, Default)]
struct Arrived {
    bytes: usize,
    truncated: bool,
    to: Option<Ipv4Addr>,
    at_ns: u64,
}

impl LabelledReceiver {
    /// Set-up only (allocates about 110 kB).
    pub(super) fn new() -> LabelledReceiver {
        LabelledReceiver {
            buffers: Box::new([[0; MAX_DATAGRAM_BYTES]; BATCH]),
            // SAFETY: sockaddr_storage is plain old data; all zeroes is AF_UNSPEC.
            names: Box::new([unsafe { zeroed() }; BATCH]),
            labels: Box::new([[0; 16]; BATCH]),
            arrived: [Arrived::default(); BATCH],
        }
    }

    /// Receives at most [`BATCH`] datagrams without blocking; returns 0 when none have arrived.
    ///
    /// # Errors
    ///
    /// The system's error, except that nothing has arrived.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        // SAFETY: iovec and mmsghdr are plain old data; null pointers and zero lengths are valid
        // values.
        let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for (index, header) in headers.iter_mut().enumerate() {
            vectors[index].iov_base = self.buffers[index].as_mut_ptr().cast();
            vectors[index].iov_len = MAX_DATAGRAM_BYTES;
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut self.labels[index]).cast();
            header.msg_controllen = size_of::<Labels>() as _;
        }
        // SAFETY: every header points at a name, a vector, a buffer and labels of the stated sizes;
        // all of them live until the call has returned, and the kernel keeps no pointer.
        let count = unsafe { receive_into(socket, &mut headers) }?;
        for (index, header) in headers.iter().enumerate().take(count) {
            self.arrived[index] = Arrived {
                bytes: header.msg_len as usize,
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                ..labels_of(&header.msg_hdr)
            };
        }
        Ok(count)
    }

    /// Returns datagram `index` of the batch; `None` if it was truncated or its sender has no IP
    /// address.
    pub(super) fn datagram(&self, index: usize) -> Option<Arrival<'_>> {
        let arrived = self.arrived[index];
        if arrived.truncated {
            return None;
        }
        Some(Arrival {
            from: address_of(&self.names[index])?,
            to: arrived.to,
            at_ns: arrived.at_ns,
            bytes: self.buffers[index].get(..arrived.bytes)?,
        })
    }
}

fn labels_of(header: &libc::msghdr) -> Arrived {
    let mut arrived = Arrived::default();
    // SAFETY: the kernel has written the labels that `msg_control` and `msg_controllen` describe,
    // and their memory is still there: the caller holds it.
    let mut label = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !label.is_null() {
        // SAFETY: the macros give pointers to whole labels inside the memory that the header
        // describes, or null.
        let (head, value) = unsafe { (*label, libc::CMSG_DATA(label)) };
        match (head.cmsg_level, head.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // SAFETY: a label of this type holds a timespec; it may stand unaligned.
                let at: libc::timespec = unsafe { value.cast::<libc::timespec>().read_unaligned() };
                arrived.at_ns = at.tv_sec as u64 * 1_000_000_000 + at.tv_nsec as u64;
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: a label of this type holds an in_pktinfo; it may stand unaligned.
                let to: libc::in_pktinfo =
                    unsafe { value.cast::<libc::in_pktinfo>().read_unaligned() };
                arrived.to = Some(Ipv4Addr::from(u32::from_be(to.ipi_addr.s_addr)));
            }
            _ => {}
        }
        // SAFETY: as for the first.
        label = unsafe { libc::CMSG_NXTHDR(header, label) };
    }
    arrived
}

/// A datagram to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Departure<'a> {
    /// The local address that it leaves from; on an IPv6 socket the system chooses.
    pub(super) from: IpAddr,
    /// The destination.
    pub(super) to: SocketAddr,
    /// The content.
    pub(super) bytes: &'a [u8],
}

/// Sends labelled datagrams in batches.
pub(super) struct LabelledSender {
    names: Box<[libc::sockaddr_storage; BATCH]>,
    labels: Box<[Labels; BATCH]>,
}

impl LabelledSender {
    /// Set-up only (allocates).
    pub(super) fn new() -> LabelledSender {
        LabelledSender {
            // SAFETY: sockaddr_storage is plain old data; all zeroes is AF_UNSPEC.
            names: Box::new([unsafe { zeroed() }; BATCH]),
            labels: Box::new([[0; 16]; BATCH]),
        }
    }

    /// Sends the first of `datagrams`, at most [`BATCH`]; returns how many the system accepted.
    ///
    /// # Errors
    ///
    /// The system's error for the first datagram, which then was not sent.
    pub(super) fn send<'a>(
        &mut self,
        socket: &UdpSocket,
        datagrams: impl Iterator<Item = Departure<'a>>,
    ) -> io::Result<usize> {
        // SAFETY: iovec and mmsghdr are plain old data; null pointers and zero lengths are valid
        // values.
        let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        let mut count = 0;
        for Departure { from, to, bytes } in datagrams.take(BATCH) {
            // The kernel only reads through this pointer; iovec has no const variant.
            vectors[count].iov_base = bytes.as_ptr().cast_mut().cast();
            vectors[count].iov_len = bytes.len();
            let header = &mut headers[count].msg_hdr;
            header.msg_namelen = write_address(&mut self.names[count], to, false);
            header.msg_name = (&raw mut self.names[count]).cast();
            header.msg_iov = &raw mut vectors[count];
            header.msg_iovlen = 1;
            if let IpAddr::V4(from) = from {
                write_label(header, &mut self.labels[count], from);
            }
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        // SAFETY: the first `count` headers point at names, labels, vectors and slices that live
        // until the call has returned (`'a` outlives this function); the kernel only reads them and
        // keeps no pointer.
        unsafe { send_from(socket, &mut headers[..count]) }
    }
}

/// Labels a datagram with the address that it is to leave from.
fn write_label(header: &mut libc::msghdr, labels: &mut Labels, from: Ipv4Addr) {
    // SAFETY: in_pktinfo is plain old data; zero is "any interface".
    let mut wanted: libc::in_pktinfo = unsafe { zeroed() };
    wanted.ipi_spec_dst.s_addr = u32::from(from).to_be();
    header.msg_control = (&raw mut *labels).cast();
    // SAFETY: plain arithmetic.
    header.msg_controllen =
        unsafe { libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as libc::c_uint) } as _;
    // SAFETY: the labels are longer than the space asked for and aligned for a head, so the first
    // one is there and whole; its value may stand unaligned.
    unsafe {
        let label = libc::CMSG_FIRSTHDR(header);
        (*label).cmsg_level = libc::IPPROTO_IP;
        (*label).cmsg_type = libc::IP_PKTINFO;
        (*label).cmsg_len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as libc::c_uint) as _;
        libc::CMSG_DATA(label)
            .cast::<libc::in_pktinfo>()
            .write_unaligned(wanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn one_socket_sends_and_receives_datagrams_of_many_local_addresses() {
        let many = UdpSocket::bind("0.0.0.0:0").expect("any address");
        label(&many).expect("labelled");
        let port = many.local_addr().expect("bound").port();
        let server = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        let to = server.local_addr().expect("bound");
        let ours = [Ipv4Addr::new(127, 0, 0, 5), Ipv4Addr::new(127, 0, 0, 6)];
        let departures = ours.iter().map(|from| Departure {
            from: IpAddr::V4(*from),
            to,
            bytes: b"here",
        });
        assert_eq!(
            LabelledSender::new().send(&many, departures).expect("sent"),
            2
        );
        let mut buffer = [0; 16];
        for ip in ours {
            let (_, from) = server.recv_from(&mut buffer).expect("received");
            assert_eq!(from, SocketAddr::new(IpAddr::V4(ip), port));
            server.send_to(b"there", from).expect("sent");
        }
        let mut receiver = LabelledReceiver::new();
        assert_eq!(receiver.receive(&many).expect("received"), 2);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after");
        for (index, ip) in ours.into_iter().enumerate() {
            let arrival = receiver.datagram(index).expect("whole");
            assert_eq!((arrival.from, arrival.to), (to, Some(ip)));
            assert_eq!(arrival.bytes, b"there");
            let age_ns = (now.as_nanos() as u64).abs_diff(arrival.at_ns);
            assert!(age_ns < 60_000_000_000, "{age_ns}");
        }
        assert_eq!(receiver.receive(&many).expect("empty"), 0);
    }
}
