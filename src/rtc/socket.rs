//! The media socket.

use std::io;
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

/// Binds the media socket.
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
    // The system cuts this down to what it allows, without an error.
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

/// Linux doubles what it is asked for, to have room for its own overhead, and says the double.
fn usable(bytes: usize) -> usize {
    if cfg!(target_os = "linux") {
        bytes / 2
    } else {
        bytes
    }
}

/// What to tell the operator about buffers for receiving and sending that are smaller than asked for.
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
            "the media socket's buffers are smaller than the {} KiB asked for ({}): packets are lost when many come at \
             once. Allow more with: sysctl -w {}",
            BUFFER_BYTES / 1_024,
            sizes.collect::<Vec<_>>().join(", "),
            sysctls.collect::<Vec<_>>().join(" "),
        )
    })
}

/// 20 ms of 2,000 talkers with the kernel's overhead, several times over.
const BUFFER_BYTES: usize = 4 * 1_024 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_buffers_are_told_with_what_to_set() {
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

    /// What the system says it has granted is compared in the unit that it was asked in.
    #[test]
    fn the_size_is_read_back_in_the_unit_that_it_was_asked_in() {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).expect("a socket");
        for bytes in [16 * 1_024, 64 * 1_024] {
            socket.set_recv_buffer_size(bytes).expect("allowed");
            let said = socket.recv_buffer_size().expect("said");
            assert_eq!(usable(said), bytes);
        }
    }
}
