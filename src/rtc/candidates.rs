//! The server's own addresses and the `a=candidate` lines made of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Lists the addresses at which clients can reach a socket bound to `bound`, best first.
///
/// The addresses in `announce` replace the host's own. A host that has only a loopback address is
/// reachable at that address.
///
/// # Errors
///
/// Returns an error if the host's interfaces cannot be listed.
pub(super) fn reachable(bound: SocketAddr, announce: &[IpAddr]) -> io::Result<Vec<SocketAddr>> {
    let mut addresses = if !announce.is_empty() {
        announce.to_vec()
    } else if bound.ip().is_unspecified() {
        of_interfaces(bound.is_ipv6())?
    } else {
        vec![bound.ip()]
    };
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    Ok(addresses
        .into_iter()
        .map(|ip| SocketAddr::new(ip, bound.port()))
        .collect())
}

fn of_interfaces(dual_stack: bool) -> io::Result<Vec<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs()?.into_iter();
    let global =
        interfaces.filter(|interface| !interface.is_loopback() && !interface.is_link_local());
    let addresses = global.map(|interface| interface.ip()).collect();
    Ok(in_order(addresses, dual_stack))
}

/// Sorts addresses for an answer: IPv4 first, as the smallest clients read only the first
/// candidate. Keeps IPv6 only if the socket is dual-stack, and adds loopback only if no address is
/// left.
fn in_order(mut addresses: Vec<IpAddr>, dual_stack: bool) -> Vec<IpAddr> {
    addresses.retain(|ip| ip.is_ipv4() || dual_stack);
    addresses.sort_by_key(|ip| ip.is_ipv6());
    if addresses.is_empty() {
        addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    addresses
}

/// Formats `addresses` as values of `a=candidate` lines (RFC 8839, section 5.1), best first.
pub(super) fn lines(addresses: &[SocketAddr]) -> Vec<String> {
    addresses
        .iter()
        .enumerate()
        .map(|(index, address)| {
            format!(
                "candidate:{} 1 udp {} {} {} typ host",
                index + 1,
                priority(index),
                address.ip(),
                address.port()
            )
        })
        .collect()
}

/// Candidate priority (RFC 8445, section 5.1.2.1): host type preference 126, component 1, and a
/// local preference that falls with each address.
const fn priority(index: usize) -> u32 {
    (126 << 24) | ((65_535 - index as u32) << 8) | 255
}

/// The one local address of each family (IPv4, IPv6) that the WebRTC core knows.
///
/// The core has one local candidate per family, however many addresses the host has: all of them
/// belong to one socket, and the system chooses the source address by its routes.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalAddresses {
    v4: SocketAddr,
    v6: Option<SocketAddr>,
}

impl LocalAddresses {
    /// Chooses the addresses for a socket bound to `bound` and reachable at `addresses`.
    pub(super) fn new(bound: SocketAddr, addresses: &[SocketAddr]) -> LocalAddresses {
        let first = |v4: bool| {
            addresses
                .iter()
                .copied()
                .find(|address| address.is_ipv4() == v4)
        };
        LocalAddresses {
            v4: first(true).unwrap_or(SocketAddr::new(
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                bound.port(),
            )),
            v6: bound.is_ipv6().then(|| {
                first(false).unwrap_or(SocketAddr::new(
                    IpAddr::V6(Ipv6Addr::LOCALHOST),
                    bound.port(),
                ))
            }),
        }
    }

    /// The server's address of the same family as `remote`.
    pub(super) fn towards(self, remote: SocketAddr) -> SocketAddr {
        if remote.is_ipv4() {
            self.v4
        } else {
            self.v6.unwrap_or(self.v4)
        }
    }

    /// The local address of each family that the server has.
    pub(super) fn each(self) -> impl Iterator<Item = SocketAddr> {
        std::iter::once(self.v4).chain(self.v6)
    }
}

/// Most addresses in an answer; more would make it too long for a client with a 4 kB buffer.
const MAX_ADDRESSES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_list_announced_addresses_instead_of_the_hosts() {
        let bound = "0.0.0.0:7882".parse().expect("address");
        let announce = [
            "192.0.2.1".parse().expect("address"),
            "2001:db8::1".parse().expect("address"),
        ];
        let reachable = reachable(bound, &announce).expect("no interfaces needed");
        assert_eq!(
            lines(&reachable),
            [
                "candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host",
                "candidate:2 1 udp 2130706175 2001:db8::1 7882 typ host"
            ]
        );
    }

    #[test]
    fn candidates_of_a_socket_bound_to_one_address_list_only_that_address() {
        let bound = "127.0.0.1:7882".parse().expect("address");
        assert_eq!(reachable(bound, &[]).expect("listed"), [bound]);
    }

    #[test]
    fn candidates_of_an_unspecified_socket_list_the_interfaces() {
        let own = of_interfaces(false).expect("listed");
        let any = reachable("0.0.0.0:7882".parse().expect("address"), &[]).expect("listed");
        let expected = own.iter().map(|ip| SocketAddr::new(*ip, 7_882));
        assert!(any.iter().copied().eq(expected.take(MAX_ADDRESSES)));
        let has_loopback = own.iter().any(IpAddr::is_loopback);
        assert!(!has_loopback || own.len() == 1, "{own:?}");
    }

    #[test]
    fn candidates_list_ipv4_first_and_loopback_only_as_a_last_resort() {
        let parse = |texts: &[&str]| -> Vec<IpAddr> {
            let ips = texts.iter().map(|text| text.parse().expect("address"));
            ips.collect()
        };
        let (v6, v4) = ("2001:db8::1", "192.0.2.1");
        assert_eq!(in_order(parse(&[v6, v4]), true), parse(&[v4, v6]));
        assert_eq!(in_order(parse(&[v6, v4]), false), parse(&[v4]));
        assert_eq!(in_order(parse(&[v6]), true), parse(&[v6]));
        assert_eq!(in_order(parse(&[v6]), false), parse(&["127.0.0.1"]));
        assert_eq!(in_order(Vec::new(), true), parse(&["127.0.0.1"]));
    }
}
