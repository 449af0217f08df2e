//! Finds the address of the client that made a request, behind trusted proxies.
//!
//! Reads the headers `Forwarded` (RFC 7239) and `X-Forwarded-For`, each from the end: every proxy
//! appends the address of its own client, so entries before the last untrusted address may be
//! invented.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use warp::http::HeaderMap;
use warp::http::header::{self, HeaderName};

/// The client's address, stored in a request as an extension for handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientAddress(pub(super) IpAddr);

/// The networks of the trusted proxies.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxies {
    trusted: Vec<IpNet>,
}

impl Proxies {
    pub(super) fn new(trusted: Vec<IpNet>) -> Proxies {
        Proxies { trusted }
    }

    /// Returns whether the address `peer` is that of a proxy that is trusted to name its clients.
    pub(super) fn trust(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// Returns the address of the client whose request came over a connection from `peer`.
    ///
    /// A proxy that sets one of the two headers passes the other on as the client wrote it. So if
    /// both headers are present and disagree, neither is believed, and the result is the proxy's
    /// own address.
    pub(super) fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trust(peer) {
            return peer;
        }
        let told = [
            forwarded(headers).map(|nodes| self.last_untrusted(peer, &nodes)),
            x_forwarded_for(headers).map(|nodes| self.last_untrusted(peer, &nodes)),
        ];
        match told {
            [Some(one), Some(other)] if one != other => peer,
            [Some(client), _] | [None, Some(client)] => client,
            [None, None] => peer,
        }
    }

    /// Follows the addresses in a header from the end, as long as each is known and the one after
    /// it is a trusted proxy; returns the last address reached.
    fn last_untrusted(&self, peer: IpAddr, nodes: &[Option<IpAddr>]) -> IpAddr {
        let mut client = peer;
        for node in nodes.iter().rev() {
            match node {
                Some(address) if self.trust(client) => client = *address,
                _ => break,
            }
        }
        client
    }
}

/// Returns the addresses in `X-Forwarded-For`, in order; `None` if the header is missing.
fn x_forwarded_for(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let name = HeaderName::from_static("x-forwarded-for");
    let values = headers.get_all(name);
    values.iter().next()?;
    let values = values
        .iter()
        .map(|value| value.to_str().unwrap_or_default());
    Some(
        values
            .flat_map(|value| value.split(','))
            .map(node)
            .collect(),
    )
}

/// Returns the addresses of the `for` parameters of `Forwarded`, in order; `None` if the header is
/// missing.
fn forwarded(headers: &HeaderMap) -> Option<Vec<Option<IpAddr>>> {
    let values = headers.get_all(header::FORWARDED);
    values.iter().next()?;
    let values = values
        .iter()
        .map(|value| value.to_str().unwrap_or_default());
    let elements = values.flat_map(|value| split_unquoted(value, ','));
    Some(elements.map(for_node).collect())
}

/// Returns the address in the `for` parameter of one element of `Forwarded`.
fn for_node(element: &str) -> Option<IpAddr> {
    split_unquoted(element, ';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let is_for = name.trim().eq_ignore_ascii_case("for");
        is_for.then(|| node(value))?
    })
}

/// Parses one node of the headers: an address, with or without port, quotes and brackets.
/// Obfuscated and unknown nodes (RFC 7239, 6) give `None`.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"').trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse::<IpAddr>();
    let address = address.or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    Some(address.ok()?.to_canonical())
}

/// Splits a text at a separator, except within quotes.
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use warp::http::HeaderValue;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn proxies() -> Proxies {
        Proxies::new(vec!["10.0.0.0/8".parse().expect("a network")])
    }

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let headers = headers.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a value");
            (HeaderName::from_static(name), value)
        });
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        let peer = peer.parse().expect("an address");
        proxies().client_of(peer, &map).to_string()
    }

    #[test]
    fn client_address_headers_are_believed_only_from_trusted_proxies() {
        let headers = [("x-forwarded-for", "192.0.2.1")];
        assert_eq!(client(PROXY, &headers), "192.0.2.1");
        assert_eq!(client("::ffff:10.0.0.1", &headers), "192.0.2.1");
        assert_eq!(client("198.51.100.1", &headers), "198.51.100.1");
        assert_eq!(client(PROXY, &[]), PROXY);
    }

    #[test]
    fn client_address_is_the_last_untrusted_entry_of_the_forwarding_header() {
        for list in [
            "203.0.113.9, 192.0.2.1",
            "203.0.113.9, 192.0.2.1, 10.0.0.7",
            "nonsense, 192.0.2.1:4711",
        ] {
            assert_eq!(
                client(PROXY, &[("x-forwarded-for", list)]),
                "192.0.2.1",
                "{list}"
            );
        }
        let twice = [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        assert_eq!(client(PROXY, &twice), "192.0.2.1");
        assert_eq!(
            client(PROXY, &[("x-forwarded-for", "192.0.2.1, junk")]),
            PROXY
        );
        assert_eq!(client(PROXY, &[("x-forwarded-for", "")]), PROXY);
    }

    #[test]
    fn forwarded_header_is_parsed_in_all_its_forms() {
        for (value, expected) in [
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=\"[2001:db8::1]\"", "2001:db8::1"),
            ("by=\"a,b;c\";for=192.0.2.43, for=10.1.2.3", "192.0.2.43"),
            ("for=203.0.113.1, for=192.0.2.43;host=x", "192.0.2.43"),
            ("for=_hidden", PROXY),
            ("for=unknown", PROXY),
            ("proto=https", PROXY),
        ] {
            assert_eq!(client(PROXY, &[("forwarded", value)]), expected, "{value}");
        }
    }

    #[test]
    fn client_address_headers_that_disagree_are_not_believed() {
        let agree = [
            ("forwarded", "for=192.0.2.1"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        assert_eq!(client(PROXY, &agree), "192.0.2.1");
        let disagree = [
            ("forwarded", "for=192.0.2.7"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        assert_eq!(client(PROXY, &disagree), PROXY);
    }

    proptest! {
        #[test]
        fn forwarded_header_parser_never_panics(text in "[ -~]{0,200}") {
            client(PROXY, &[("forwarded", &text), ("x-forwarded-for", &text)]);
        }
    }
}
