//! A client's ICE candidates (RFC 8839, section 5.1): which are used, and how they are written for
//! the core.

use std::net::{IpAddr, SocketAddr};

/// Most candidates used of one offer or message; the surplus is ignored (RFC 8445, section
/// 6.1.2.5).
///
/// Each costs up to seven checks to an address that a malicious client can choose freely, so a
/// limit keeps a join from flooding strangers. A client with more addresses is still found, because
/// it sends checks itself.
pub const MAX_CANDIDATES: usize = 20;

/// A candidate of the client that the server can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteCandidate {
    /// Address at which the client may be reachable.
    pub address: SocketAddr,
    /// The priority that the client gives the candidate (RFC 8445, section 5.1.2).
    pub priority: u32,
}

/// Writes the candidate as the value of an `a=candidate` line for the core.
///
/// It is always written as a host candidate: the core treats all types alike once it has the
/// address.
impl std::fmt::Display for RemoteCandidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (ip, port) = (self.address.ip(), self.address.port());
        write!(f, "1 1 udp {} {ip} {port} typ host", self.priority)
    }
}

/// Returns the usable candidates in `lines`, each address once, by falling priority, at most
/// [`MAX_CANDIDATES`].
///
/// A usable candidate is UDP, of component 1, with a literal unicast address. A client that hides
/// its addresses by mDNS (RFC 8828) is found by its own checks; TCP is not supported. `lines` may
/// start with `a=candidate:`, `candidate:` or neither.
pub fn remote_candidates<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<RemoteCandidate> {
    let mut all: Vec<RemoteCandidate> = lines.into_iter().filter_map(parse).collect();
    // The sort is stable: candidates of equal priority keep the client's order.
    all.sort_by_key(|candidate| std::cmp::Reverse(candidate.priority));
    let mut used: Vec<RemoteCandidate> = Vec::new();
    for candidate in all {
        if used.len() == MAX_CANDIDATES {
            break;
        }
        if used.iter().all(|other| other.address != candidate.address) {
            used.push(candidate);
        }
    }
    used
}

fn parse(line: &str) -> Option<RemoteCandidate> {
    let line = line.trim();
    let line = line.strip_prefix("a=").unwrap_or(line);
    let line = line.strip_prefix("candidate:").unwrap_or(line);
    let mut words = line.split_ascii_whitespace();
    let _foundation = words.next()?;
    let component: u16 = words.next()?.parse().ok()?;
    let transport = words.next()?;
    let priority: u32 = words.next()?.parse().ok()?;
    let ip: IpAddr = words.next()?.parse().ok()?;
    let port: u16 = words.next()?.parse().ok()?;
    let usable = component == 1
        && transport.eq_ignore_ascii_case("udp")
        && words.next()? == "typ"
        && port != 0
        && !ip.is_unspecified()
        && !ip.is_multicast()
        && ip != IpAddr::from([255; 4]);
    usable.then(|| RemoteCandidate {
        address: SocketAddr::new(ip.to_canonical(), port),
        priority,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn remote_candidates_accept_udp_addresses_and_drop_others() {
        let lines = [
            "a=candidate:1 1 udp 2122260223 192.0.2.5 50000 typ host generation 0",
            "candidate:1 1 UDP 2122260223 192.0.2.5 50000 typ host",
            "2 1 udp 1686052607 198.51.100.7 50001 typ srflx raddr 192.0.2.5 rport 50000",
            "candidate:3 1 udp 2122260223 2001:db8::5 50000 typ host",
            "candidate:4 1 udp 2122260223 1f4712db-ea17-4bcf-a596-105139dfd8bf.local 50000 typ host",
            "candidate:5 1 tcp 1518280447 192.0.2.5 9 typ host tcptype active",
            "candidate:6 2 udp 2122260222 192.0.2.5 50001 typ host",
            "candidate:7 1 udp 2122260223 224.0.0.1 50000 typ host",
            "candidate:8 1 udp 2122260223 0.0.0.0 50000 typ host",
            "candidate:9 1 udp 99999999999 192.0.2.9 50000 typ host",
            "candidate:",
            "",
        ];
        let used: Vec<String> = remote_candidates(lines)
            .iter()
            .map(RemoteCandidate::to_string)
            .collect();
        assert_eq!(
            used,
            [
                "1 1 udp 2122260223 192.0.2.5 50000 typ host",
                "1 1 udp 2122260223 2001:db8::5 50000 typ host",
                "1 1 udp 1686052607 198.51.100.7 50001 typ host",
            ]
        );
    }

    #[test]
    fn remote_candidates_keep_a_bounded_number_of_highest_priority() {
        let lines: Vec<String> = (1..=250)
            .map(|n| format!("candidate:1 1 udp {n} 192.0.2.{n} 5 typ host"))
            .collect();
        let used = remote_candidates(lines.iter().map(String::as_str));
        let priorities: Vec<u32> = used.iter().map(|candidate| candidate.priority).collect();
        assert_eq!(priorities, Vec::from_iter((231..=250).rev()));
    }

    proptest! {
        #[test]
        fn remote_candidate_parser_never_panics_on_any_line(line in "\\PC{0,80}", words in proptest::collection::vec("[a-z0-9:.]{0,9}", 0..10)) {
            let _ = remote_candidates([line.as_str(), words.join(" ").as_str()]);
        }
    }
}
