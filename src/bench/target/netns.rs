//! A network namespace, connected by a pair of virtual interfaces, in which a server runs on this
//! machine with an address of its own.
//!
//! Some servers take no part in ICE over loopback, so they need such an interface. All addresses
//! are in the range reserved for benchmarks (RFC 2544): `198.18.N.1` is the host, `.2` the server
//! in the namespace, `.64` and up are the clients. The kernel removes the interfaces, addresses and
//! routes together with the namespace.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use rustix::process::geteuid;

use super::{SHARED_ADDRESSES, TargetError};

/// A network namespace for one server. Dropping it removes the namespace.
pub(super) struct Namespace {
    number: u16,
}

impl Namespace {
    /// Creates a namespace that no other process uses.
    pub(super) fn new() -> Result<Namespace, TargetError> {
        if !is_root() {
            return Err(TargetError::NotRoot {
                what: "creating a network namespace",
            });
        }
        let taken: Vec<IpAddr> = if_addrs::get_if_addrs()
            .map(|interfaces| interfaces.iter().map(if_addrs::Interface::ip).collect())
            .unwrap_or_default();
        let mut tries = 0;
        let namespace = loop {
            let number = rand::random_range(0..NUMBERS);
            tries += 1;
            if taken.contains(&IpAddr::V4(address(number, HOST))) && tries < TRIES {
                continue;
            }
            // Adding the namespace fails if the name exists, so that two runs cannot use the same
            // one.
            match ip(&format!("netns add {}", name(number))) {
                Ok(()) => break Namespace { number },
                Err(_) if tries < TRIES => {}
                Err(error) => return Err(error),
            }
        };
        namespace.furnish()?;
        Ok(namespace)
    }

    fn furnish(&self) -> Result<(), TargetError> {
        let name = name(self.number);
        let (ours, theirs) = (self.interface('h'), self.interface('n'));
        let (host, server) = (self.host_ip(), self.server_ip());
        let clients = address(self.number, FIRST_CLIENT);
        for step in [
            format!("link add {ours} type veth peer name {theirs} netns {name}"),
            format!("addr add {host}/24 dev {ours}"),
            format!("link set {ours} up"),
            // Makes every address of the range local, without configuring each one.
            format!("route add local {clients}/{CLIENT_PREFIX_BITS} dev {ours}"),
            format!("-n {name} addr add {server}/24 dev {theirs}"),
            format!("-n {name} link set lo up"),
            format!("-n {name} link set {theirs} up"),
        ] {
            ip(&step)?;
        }
        Ok(())
    }

    /// Returns the address of the server in the namespace.
    pub(super) fn server_ip(&self) -> Ipv4Addr {
        address(self.number, SERVER)
    }

    /// Returns the addresses of the host from which clients can reach the server.
    pub(super) fn local_ips(&self) -> Vec<IpAddr> {
        let clients = (0..SHARED_ADDRESSES - 1).map(|n| address(self.number, FIRST_CLIENT + n));
        std::iter::once(self.host_ip())
            .chain(clients)
            .map(IpAddr::V4)
            .collect()
    }

    /// Returns a command that runs `program` in this namespace. `ip netns exec` enters the
    /// namespace and then becomes `program`, so that the process id is that of `program`.
    pub(super) fn command(&self, program: &std::ffi::OsStr) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &name(self.number)])
            .arg(program);
        command
    }

    fn host_ip(&self) -> Ipv4Addr {
        address(self.number, HOST)
    }

    fn interface(&self, side: char) -> String {
        format!("mixb{}{side}", self.number)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The host's interface is removed first, because the kernel keeps the namespace as long as
        // one of its sockets is open.
        let _ = ip(&format!("link del {}", self.interface('h')));
        let namespace = name(self.number);
        if let Err(error) = ip(&format!("netns del {namespace}")) {
            tracing::warn!(%error, namespace, "cannot remove a network namespace");
        }
    }
}

/// Whether this process may create namespaces.
pub(super) fn is_root() -> bool {
    geteuid().is_root()
}

fn name(number: u16) -> String {
    format!("mixminus-bench-{number}")
}

fn address(number: u16, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18 + (number >> 8) as u8, number as u8, last)
}

fn ip(step: &str) -> Result<(), TargetError> {
    let failed = |said: String| TargetError::Namespace {
        step: format!("ip {step}"),
        said,
    };
    let output = Command::new("ip")
        .args(step.split(' '))
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
    }
}

/// The number of networks of 256 addresses in 198.18.0.0/15.
const NUMBERS: u16 = 512;
const TRIES: u32 = 64;
const HOST: u8 = 1;
const SERVER: u8 = 2;
const FIRST_CLIENT: u8 = 64;
const CLIENT_PREFIX_BITS: u8 = 26;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespace_addresses_stay_in_their_range() {
        assert_eq!(address(0, HOST), Ipv4Addr::new(198, 18, 0, 1));
        assert_eq!(address(NUMBERS - 1, 95), Ipv4Addr::new(198, 19, 255, 95));
        let last = FIRST_CLIENT + SHARED_ADDRESSES - 2;
        assert_eq!(last >> (32 - CLIENT_PREFIX_BITS), FIRST_CLIENT >> 6);
        // The system permits 15 characters.
        assert!(Namespace::NAME_PROBE.len() <= 15);
    }

    impl Namespace {
        const NAME_PROBE: &str = "mixb511h";
    }
}
