//! Sends and receives many datagrams per system call: `recvmmsg(2)` and `sendmmsg(2)`.
//!
//! The server's only module with `unsafe`: neither the standard library nor `socket2` has these
//! calls. All buffers are allocated once; the pointers passed to the kernel are rebuilt before each
//! call from buffers that outlive it. The load client of `mixminus bench` makes its own calls with
//! these parts.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr::null_mut;

/// Most datagrams per system call.
pub(crate) const BATCH: usize = 64;

/// Longest accepted datagram in bytes: an Ethernet frame. Longer ones arrive truncated and are
/// dropped.
pub(crate) const MAX_DATAGRAM_BYTES: usize = 1_500;

/// Receives datagrams in batches, into its own buffers.
pub(super) struct BatchReceiver {
    buffers: Box<[[u8; MAX_DATAGRAM_BYTES]; BATCH]>,
    names: Box<[libc::sockaddr_storage; BATCH]>,
    lengths: [u32; BATCH],
    flags: [i32; BATCH],
}

impl BatchReceiver {
    /// Allocates the buffers, about 100 kB. Real-time: set-up only.
    pub(super) fn new() -> BatchReceiver {
        BatchReceiver {
            buffers: Box::new([[0; MAX_DATAGRAM_BYTES]; BATCH]),
            // SAFETY: sockaddr_storage is plain old data; all zeroes is AF_UNSPEC.
            names: Box::new([unsafe { zeroed() }; BATCH]),
            lengths: [0; BATCH],
            flags: [0; BATCH],
        }
    }

    /// Receives up to [`BATCH`] datagrams without blocking; returns their number, 0 if none has
    /// arrived.
    ///
    /// # Errors
    ///
    /// Returns the system's error; that no datagram is waiting is not an error.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        // SAFETY: iovec and mmsghdr are plain old data; null pointers and zero lengths are valid
        // values.
        let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for (index, header) in headers.iter_mut().enumerate() {
            vectors[index].iov_base = self.buffers[index].as_mut_ptr().cast();
            vectors[index].iov_len = MAX_DATAGRAM_BYTES;
            header.msg_hdr.msg_name = (&raw mut self.names[index]).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = &raw mut vectors[index];
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: every header points at a name, a vector and a buffer of the stated sizes;
        // `vectors`, `headers` and the boxes of `self` live until the call has returned, and the
        // kernel keeps no pointer.
        let count = unsafe { receive_into(socket, &mut headers) }?;
        for (index, header) in headers.iter().enumerate().take(count) {
            self.lengths[index] = header.msg_len;
            self.flags[index] = header.msg_hdr.msg_flags;
        }
        Ok(count)
    }

    /// Returns the sender and the bytes of datagram `index` of the last batch; `None` if the
    /// datagram was truncated or its sender has no IP address.
    pub(super) fn datagram(&mut self, index: usize) -> Option<(SocketAddr, &mut [u8])> {
        if self.flags[index] & libc::MSG_TRUNC != 0 {
            return None;
        }
        let bytes = self.buffers[index].get_mut(..self.lengths[index] as usize)?;
        Some((address_of(&self.names[index])?, bytes))
    }
}

/// Sends datagrams in batches.
pub(super) struct BatchSender {
    names: Box<[libc::sockaddr_storage; BATCH]>,
    /// Whether IPv4 destinations are written as IPv4-mapped IPv6 addresses, because the socket is
    /// an IPv6 socket.
    mapped: bool,
}

impl BatchSender {
    /// Allocates the buffers. Real-time: set-up only.
    pub(super) fn new(bound: SocketAddr) -> BatchSender {
        BatchSender {
            // SAFETY: sockaddr_storage is plain old data; all zeroes is AF_UNSPEC.
            names: Box::new([unsafe { zeroed() }; BATCH]),
            mapped: bound.is_ipv6(),
        }
    }

    /// Sends at most the first [`BATCH`] of `datagrams`; returns how many the system accepted.
    ///
    /// # Errors
    ///
    /// Returns the system's error for the first datagram; no datagram was sent then.
    pub(super) fn send<'a>(
        &mut self,
        socket: &UdpSocket,
        datagrams: impl Iterator<Item = (SocketAddr, &'a [u8])>,
    ) -> io::Result<usize> {
        // SAFETY: iovec and mmsghdr are plain old data; null pointers and zero lengths are valid
        // values.
        let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        let mut count = 0;
        for (address, bytes) in datagrams.take(BATCH) {
            let name_len = write_address(&mut self.names[count], address, self.mapped);
            // The kernel only reads through this pointer; iovec has no const variant.
            vectors[count].iov_base = bytes.as_ptr().cast_mut().cast();
            vectors[count].iov_len = bytes.len();
            let header = &mut headers[count].msg_hdr;
            header.msg_name = (&raw mut self.names[count]).cast();
            header.msg_namelen = name_len;
            header.msg_iov = &raw mut vectors[count];
            header.msg_iovlen = 1;
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        // SAFETY: the first `count` headers point at names, vectors and slices that live until the
        // call has returned (`'a` outlives this function); the kernel only reads them and keeps no
        // pointer.
        unsafe { send_from(socket, &mut headers[..count]) }
    }
}

/// Receives datagrams without blocking; returns how many of `headers` were filled, 0 if no datagram
/// has arrived.
///
/// # Safety
/// Every pointer in `headers` is null with a length of zero, or points at memory of the stated
/// length that may be written to until this function has returned.
pub(crate) unsafe fn receive_into(
    socket: &UdpSocket,
    headers: &mut [libc::mmsghdr],
) -> io::Result<usize> {
    // SAFETY: as this function's caller promises; the kernel keeps no pointer.
    let count = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            headers.len() as libc::c_uint,
            libc::MSG_DONTWAIT as _,
            null_mut(),
        )
    };
    if count >= 0 {
        return Ok(count as usize);
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
        _ => Err(error),
    }
}

/// Sends datagrams without blocking; returns how many of `headers` the system accepted.
///
/// # Safety
/// Every pointer in `headers` is null with a length of zero, or points at memory of the stated
/// length that does not change until this function has returned.
pub(crate) unsafe fn send_from(
    socket: &UdpSocket,
    headers: &mut [libc::mmsghdr],
) -> io::Result<usize> {
    // SAFETY: as this function's caller promises; the kernel only reads through the pointers and
    // keeps none.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            headers.len() as libc::c_uint,
            libc::MSG_DONTWAIT as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Converts an address that the kernel wrote; `None` if it is not an IP address.
pub(crate) fn address_of(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in; the storage is large and
            // aligned enough.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(name.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in6; the storage is large
            // and aligned enough.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            let port = u16::from_be(name.sin6_port);
            // A dual-stack socket reports IPv4 senders as IPv4-mapped addresses; the rest of the
            // server uses plain IPv4 addresses.
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddr::V4(SocketAddrV4::new(v4, port)),
                None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, name.sin6_scope_id)),
            })
        }
        _ => None,
    }
}

/// Writes an address for the kernel; returns its length in bytes.
///
/// - `mapped`: an IPv4 address is written as an IPv4-mapped IPv6 address.
pub(crate) fn write_address(
    name: &mut libc::sockaddr_storage,
    address: SocketAddr,
    mapped: bool,
) -> libc::socklen_t {
    let v6 = match address {
        SocketAddr::V4(address) if !mapped => {
            // SAFETY: sockaddr_storage is large and aligned enough for every address; both are
            // plain old data.
            let name = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in>() };
            name.sin_family = libc::AF_INET as libc::sa_family_t;
            name.sin_port = address.port().to_be();
            name.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            return size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        SocketAddr::V4(address) => {
            SocketAddrV6::new(address.ip().to_ipv6_mapped(), address.port(), 0, 0)
        }
        SocketAddr::V6(address) => address,
    };
    // SAFETY: as above.
    let name = unsafe { &mut *(&raw mut *name).cast::<libc::sockaddr_in6>() };
    name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    name.sin6_port = v6.port().to_be();
    name.sin6_flowinfo = 0;
    name.sin6_addr.s6_addr = v6.ip().octets();
    name.sin6_scope_id = v6.scope_id();
    size_of::<libc::sockaddr_in6>() as libc::socklen_t
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::send_queue::SendQueue;

    fn pair(server: &str, client: &str) -> (UdpSocket, UdpSocket) {
        (
            UdpSocket::bind(server).expect("loopback"),
            UdpSocket::bind(client).expect("loopback"),
        )
    }

    fn echo(server: &UdpSocket, client: &UdpSocket) {
        let to = SocketAddr::new(
            client.local_addr().expect("bound").ip(),
            server.local_addr().expect("bound").port(),
        );
        for length in [1, 40, MAX_DATAGRAM_BYTES] {
            client
                .send_to(&vec![length as u8; length], to)
                .expect("loopback");
        }
        client
            .send_to(&[0; MAX_DATAGRAM_BYTES + 1], to)
            .expect("loopback");
        let mut receiver = BatchReceiver::new();
        assert_eq!(receiver.receive(server).expect("received"), 4);
        assert!(receiver.datagram(3).is_none(), "cut off");
        let mut sender = BatchSender::new(server.local_addr().expect("bound"));
        let mut echoed = SendQueue::default();
        for index in 0..3 {
            let (from, datagram) = receiver.datagram(index).expect("whole");
            assert_eq!(from, client.local_addr().expect("bound"));
            echoed.push(from, datagram);
        }
        assert_eq!(sender.send(server, echoed.iter()).expect("sent"), 3);
        let mut buffer = [0; 2_000];
        for length in [1, 40, MAX_DATAGRAM_BYTES] {
            assert_eq!(client.recv(&mut buffer).expect("echo"), length);
            assert_eq!(buffer[length - 1], length as u8);
        }
        assert_eq!(receiver.receive(server).expect("empty"), 0);
    }

    #[test]
    fn datagram_batches_are_echoed_over_ipv4() {
        let (server, client) = pair("127.0.0.1:0", "127.0.0.1:0");
        echo(&server, &client);
    }

    #[test]
    fn datagram_batches_on_a_dual_stack_socket_report_ipv4_addresses() {
        let server = match UdpSocket::bind("[::]:0") {
            Ok(server) => server,
            Err(error) => {
                let without_ipv6 = [libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL].map(Some);
                assert!(without_ipv6.contains(&error.raw_os_error()), "{error}");
                return println!("skipped: this machine has no IPv6");
            }
        };
        let client = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        echo(&server, &client);
    }
}
