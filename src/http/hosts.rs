//! The names that this server answers to.
//!
//! A web page that makes its own name point to this server (DNS rebinding) is of the same origin as the server in the
//! browser's eyes, so the browser lets it do everything. Its requests carry its name in the Host header, which is none
//! of ours. IP addresses are always accepted: nobody can make one point elsewhere.

use std::net::IpAddr;

use warp::http::uri::Authority;

/// Host names that requests may be sent to, in lower case.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    /// Everything that this machine is called.
    own: Vec<String>,
    /// What the operator says it is called elsewhere.
    configured: Vec<String>,
}

impl Hosts {
    /// The machine's name, the names in the certificate and the configured ones.
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

    /// Whether requests may be sent to this host, with or without a port.
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

    /// Whether a page of this origin's authority is ours although the request was sent to another host: a proxy in
    /// front may send its own idea of the host. Only configured names on the default port.
    pub(super) fn is_public(&self, authority: &str) -> bool {
        let names = self.configured.iter().filter(|name| *name != EVERY);
        let host = authority.to_ascii_lowercase();
        names.into_iter().any(|name| covers(name, &host))
    }

    fn lists_every(&self) -> bool {
        self.configured.iter().any(|name| name == EVERY)
    }
}

/// Stands for every host name.
pub(super) const EVERY: &str = "*";

/// The host of an authority, in lower case and without the dot of the root.
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

/// Whether a name, or a wildcard for one label as in certificates, stands for a host.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        None => name == host,
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
    }
}

/// What a machine of this name is called: in full, by its first label, and with multicast DNS.
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
    fn addresses_and_own_names_are_admitted() {
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
    fn other_names_are_not() {
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
    fn every_name_can_be_admitted() {
        let every = Hosts::new(&[EVERY.to_owned()], &[]);
        assert!(every.admit("evil.example"));
        assert!(!every.is_public("evil.example"));
    }

    #[test]
    fn certificate_and_machine_are_asked() {
        let hosts = Hosts::new(&[], &["tls.example".to_owned()]);
        assert!(hosts.admit("tls.example:8443"));
        let machine = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        assert!(hosts.admit(&machine));
    }

    #[test]
    fn only_configured_names_on_the_default_port_are_public() {
        assert!(hosts().is_public("mix.example"));
        assert!(!hosts().is_public("mix.example:8080"));
        assert!(!hosts().is_public("box"));
        assert!(!hosts().is_public("evil.example"));
    }
}
