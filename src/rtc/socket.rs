//! Opens the UDP socket for media.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// Binds the media socket and sizes its buffers.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    // The system silently reduces the size to the largest that it allows.
    let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(BUFFER_BYTES);
    let granted = [
        usable(socket.recv_buffer_size()?),
        usable(socket.send_buffer_size()?),
    ];
    if let Some(advice) = advice(granted) {
        tracing::warn!("{advice}");
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Converts a buffer size that the system reports into the unit in which sizes are requested: Linux
/// reports twice the requested size, because it counts its own overhead.
fn usable(bytes: usize) -> usize {
    if cfg!(target_os = "linux") {
        bytes / 2
    } else {
        bytes
    }
}

/// Returns advice for the operator if the receive or send buffer is smaller than requested.
fn advice(granted: [usize; 2]) -> Option<String> {
    let names = ["receive", "send"];
    let settings = ["net.core.rmem_max", "net.core.wmem_max"];
    let short: Vec<usize> = (0..2).filter(|&at| granted[at] < BUFFER_BYTES).collect();
    let sizes = short
        .iter()
        .map(|&at| format!("{} {} KiB", names[at], granted[at] / 1_024));
    let sysctls = short
        .iter()
        .map(|&at| format!("{}={BUFFER_BYTES}", settings[at]));
    (!short.is_empty()).then(|| {
        format!(
            "the buffers of the media socket are smaller than the requested {} KiB ({}), so packets \
             that arrive in a burst can be lost; allow larger buffers with: sysctl -w {}",
            BUFFER_BYTES / 1_024,
            sizes.collect::<Vec<_>>().join(", "),
            sysctls.collect::<Vec<_>>().join(" "),
        )
    })
}

/// Requested size of each buffer: several times the bytes that 2,000 talkers send in 20 ms,
/// including the kernel's overhead.
const BUFFER_BYTES: usize = 4 * 1_024 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_socket_buffers_are_reported_with_the_sysctls_to_set() {
        assert_eq!(advice([BUFFER_BYTES; 2]), None);
        assert_eq!(advice([2 * BUFFER_BYTES; 2]), None);
        let both = advice([212_992; 2]).expect("both are small");
        assert!(both.contains("(receive 208 KiB, send 208 KiB)"), "{both}");
        let sysctls = "sysctl -w net.core.rmem_max=4194304 net.core.wmem_max=4194304";
        assert!(both.ends_with(sysctls), "{both}");
        let one = advice([BUFFER_BYTES, 212_992]).expect("one is small");
        assert!(
            one.ends_with("sysctl -w net.core.wmem_max=4194304"),
            "{one}"
        );
        assert!(!one.contains("rmem"), "{one}");
    }

    /// The granted size must be compared with the requested size in the same unit.
    #[test]
    fn socket_buffer_size_is_read_back_in_the_unit_of_the_request() {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).expect("a socket");
        for bytes in [16 * 1_024, 64 * 1_024] {
            socket.set_recv_buffer_size(bytes).expect("allowed");
            let said = socket.recv_buffer_size().expect("said");
            assert_eq!(usable(said), bytes);
        }
    }
}
