//! The host names that requests may name in their Host header.
//!
//! A web page whose own name resolves to this server (DNS rebinding) has the same origin as the
//! server for the browser, so the browser allows the page every request. But these requests carry
//! the page's name in the Host header, and that name is not accepted. IP addresses are always
//! accepted, because DNS cannot redirect an address.

use std::net::IpAddr;

use warp::http::uri::Authority;

/// The host names that requests may be sent to.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    /// The names of this machine and in the TLS certificate, in lower case.
    own: Vec<String>,
    /// The names that the operator has configured, in lower case.
    configured: Vec<String>,
}

impl Hosts {
    /// Collects the machine's names, the certificate's names and the configured names.
    pub(super) fn new(configured: &[String], certificate: &[String]) -> Hosts {
        let mut own = machine_names(
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .as_ref(),
        );
        own.extend(certificate.iter().map(|name| normal(name)));
        Hosts {
            own,
            configured: configured.iter().map(|name| normal(name)).collect(),
        }
    }

    /// Returns whether requests may be sent to the host `authority`, with or without a port.
    pub(super) fn admit(&self, authority: &str) -> bool {
        let Some(host) = host_of(authority) else {
            return false;
        };
        let is_local = host == "localhost" || host.ends_with(".localhost");
        is_address(&host)
            || is_local
            || self.lists_every()
            || self
                .own
                .iter()
                .chain(&self.configured)
                .any(|name| covers(name, &host))
    }

    /// Returns whether the authority of an origin is a configured name on the default port. Pages
    /// of such an origin belong to this server, even if a proxy in front of the server has changed
    /// the Host header.
    pub(super) fn is_public(&self, authority: &str) -> bool {
        let names = self.configured.iter().filter(|name| *name != EVERY);
        let host = authority.to_ascii_lowercase();
        names.into_iter().any(|name| covers(name, &host))
    }

    fn lists_every(&self) -> bool {
        self.configured.iter().any(|name| name == EVERY)
    }
}

/// The configured name that accepts every host name.
pub(super) const EVERY: &str = "*";

/// Returns the host of an authority in lower case, without its port and a trailing dot.
fn host_of(authority: &str) -> Option<String> {
    let parsed: Authority = authority.parse().ok()?;
    if authority.contains('@') {
        return None;
    }
    Some(normal(parsed.host()))
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn is_address(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse::<IpAddr>().is_ok()
}

/// Returns whether a name, or a wildcard for one label as in certificates, matches a host.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        None => name == host,
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
    }
}

/// Returns the names under which a machine is reachable: its full name, the first label of that,
/// and its multicast DNS name.
fn machine_names(name: &str) -> Vec<String> {
    let name = normal(name);
    let label = name.split('.').next().unwrap_or_default().to_owned();
    if label.is_empty() {
        return Vec::new();
    }
    vec![format!("{label}.local"), label, name]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Hosts {
        Hosts {
            own: machine_names("Box.lan"),
            configured: vec!["mix.example".into(), "*.rooms.example".into()],
        }
    }

    #[test]
    fn host_check_admits_ip_addresses_and_names_of_this_server() {
        for host in [
            "127.0.0.1",
            "192.168.1.7:8080",
            "[::1]:8080",
            "[2001:db8::1]",
            "localhost:8080",
            "LOCALHOST.",
            "a.localhost",
            "box",
            "box.lan",
            "box.local:8443",
            "Mix.Example:443",
            "mix.example.",
            "a.rooms.example",
        ] {
            assert!(hosts().admit(host), "{host}");
        }
    }

    #[test]
    fn host_check_refuses_names_of_other_servers() {
        for host in [
            "evil.example:8080",
            "mix.example.evil",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "rooms.example",
            "a.b.rooms.example",
            "evil@127.0.0.1",
            "box.evil",
            "",
            "a b",
        ] {
            assert!(!hosts().admit(host), "{host:?}");
        }
    }

    #[test]
    fn host_check_admits_every_name_with_a_star() {
        let every = Hosts::new(&[EVERY.to_owned()], &[]);
        assert!(every.admit("evil.example"));
        assert!(!every.is_public("evil.example"));
    }

    #[test]
    fn host_check_admits_the_names_of_the_certificate_and_the_machine() {
        let hosts = Hosts::new(&[], &["tls.example".to_owned()]);
        assert!(hosts.admit("tls.example:8443"));
        let machine = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        assert!(hosts.admit(&machine));
    }

    #[test]
    fn host_is_public_only_if_configured_and_on_the_default_port() {
        assert!(hosts().is_public("mix.example"));
        assert!(!hosts().is_public("mix.example:8080"));
        assert!(!hosts().is_public("box"));
        assert!(!hosts().is_public("evil.example"));
    }
}
