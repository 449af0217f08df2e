//! A client's ICE candidates (RFC 8839, 5.1): which are used, and how they are handed on.

use std::net::{IpAddr, SocketAddr};

/// Candidates read of one offer or one message; with more, the whole is refused.
pub const MAX_CANDIDATES: usize = 100;

/// Candidates that are tried. Each costs up to seven checks to an address that anybody may have written there, so a
/// join must not become a way to have strangers shot at.
const MAX_USED: usize = 20;

/// The usable ones of `lines`, rewritten for the core; the others are dropped in silence.
///
/// Usable is UDP, component 1, a literal unicast address. What mDNS hides (RFC 8828) is found by its checks, and TCP
/// is not served. `lines` may start with `a=candidate:`, `candidate:` or neither.
pub fn remote_candidates<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut seen: Vec<SocketAddr> = Vec::new();
    let mut candidates = Vec::new();
    for line in lines {
        let Some((address, priority)) = parse(line) else {
            continue;
        };
        if candidates.len() == MAX_USED {
            break;
        }
        if !seen.contains(&address) {
            seen.push(address);
            // Written as a host candidate whatever it was: the core treats them alike once it has the address.
            candidates.push(format!(
                "{} 1 udp {priority} {} {} typ host",
                seen.len(),
                address.ip(),
                address.port()
            ));
        }
    }
    candidates
}

fn parse(line: &str) -> Option<(SocketAddr, u32)> {
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
    usable.then(|| (SocketAddr::new(ip.to_canonical(), port), priority))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn takes_udp_and_drops_the_rest() {
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
        assert_eq!(
            remote_candidates(lines),
            [
                "1 1 udp 2122260223 192.0.2.5 50000 typ host",
                "2 1 udp 1686052607 198.51.100.7 50001 typ host",
                "3 1 udp 2122260223 2001:db8::5 50000 typ host",
            ]
        );
    }

    #[test]
    fn tries_a_bounded_number() {
        let lines: Vec<String> = (1..=90)
            .map(|n| format!("candidate:1 1 udp 1 192.0.2.{n} 5 typ host"))
            .collect();
        assert_eq!(
            remote_candidates(lines.iter().map(String::as_str)).len(),
            MAX_USED
        );
    }

    proptest! {
        #[test]
        fn never_panics(line in "\\PC{0,80}", words in proptest::collection::vec("[a-z0-9:.]{0,9}", 0..10)) {
            let _ = remote_candidates([line.as_str(), words.join(" ").as_str()]);
        }
    }
}
