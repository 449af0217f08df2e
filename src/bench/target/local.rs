//! The local target: this binary as a server, in a child process.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::Url;
use tokio::time::timeout;

use super::child::{Directory, Process};
use super::netns::Namespace;
use super::whip::Whip;
use super::{TargetError, TargetOptions, loopback_ips};

/// A running `mixminus serve` in a child process. The fields are dropped in the order of their
/// declaration.
pub(super) struct LocalServer {
    process: Process,
    namespace: Option<Namespace>,
    whip: Whip,
}

impl LocalServer {
    /// Starts the server on free ports, on loopback or in a namespace.
    pub(super) async fn start(options: &TargetOptions) -> Result<LocalServer, TargetError> {
        let namespace = options.netns.then(Namespace::new).transpose()?;
        let program = std::env::current_exe().map_err(|source| TargetError::Spawn {
            program: NAME.to_owned(),
            source,
        })?;
        let (mut command, ip) = match &namespace {
            Some(namespace) => (
                namespace.command(program.as_os_str()),
                IpAddr::V4(namespace.server_ip()),
            ),
            None => (
                std::process::Command::new(program),
                IpAddr::from([127, 0, 0, 1]),
            ),
        };
        command.arg("serve").args(arguments(ip, options));
        let (process, mut lines) = Process::start(NAME, command, Directory::new()?)?;
        let http = async {
            while let Some(line) = lines.recv().await {
                if let Some(address) = http_address(&line) {
                    return Some(address);
                }
            }
            None
        };
        let Ok(Some(http)) = timeout(START_TIME, http).await else {
            return Err(process.not_ready());
        };
        let rooms = format!("http://{http}/v1/rooms/{{room}}/participants");
        let url = Url::parse(&rooms).expect("an address in front of a path is a URL");
        Ok(LocalServer {
            process,
            namespace,
            whip: Whip::new(url, options.profile)?,
        })
    }

    /// Returns the WHIP interface of the server.
    pub(super) fn whip(&self) -> &Whip {
        &self.whip
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn local_ips(&self) -> Vec<IpAddr> {
        match &self.namespace {
            Some(namespace) => namespace.local_ips(),
            None => loopback_ips(),
        }
    }
}

fn arguments(ip: IpAddr, options: &TargetOptions) -> Vec<String> {
    let free = SocketAddr::new(ip, 0);
    let in_a_room = options.room_capacity.clamp(1, 10_000);
    let mut arguments = vec![
        format!("--http={free}"),
        format!("--media={free}"),
        format!("--max-participants={in_a_room}"),
        format!("--max-sessions={}", options.room_capacity.clamp(1, 100_000)),
        format!("--max-rooms={}", options.rooms.clamp(1, 100_000)),
    ];
    // All clients have one address, so the limits per address are raised.
    for limit in ["join", "room-change"] {
        arguments.push(format!("--{limit}-burst=1000000"));
        arguments.push(format!("--{limit}-rate=10000"));
    }
    if let Some(profile) = options.profile {
        arguments.push(format!("--default-profile={profile}"));
    }
    if let Some(mixers) = options.mixers {
        arguments.push(format!("--mixers={mixers}"));
    }
    // Flags given by the user take precedence; a flag may occur only once.
    let name_of = |argument: &str| argument.split('=').next().map(str::to_owned);
    let given: Vec<_> = options.server_args.iter().map(|it| name_of(it)).collect();
    arguments.retain(|argument| !given.contains(&name_of(argument)));
    arguments.extend(options.server_args.iter().cloned());
    arguments
}

/// Returns the HTTP address from the line in which the server prints it.
fn http_address(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("http ")?.trim().parse().ok()
}

const NAME: &str = "mixminus serve";

/// How long the server may take to start on a busy machine.
const START_TIME: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_server_address_is_read_from_its_output() {
        let address = SocketAddr::from(([127, 0, 0, 1], 4_711));
        assert_eq!(http_address("http  127.0.0.1:4711"), Some(address));
        assert_eq!(http_address("media 127.0.0.1:4712 (UDP)"), None);
        assert_eq!(
            http_address("mixminus 0.1.0 is ready: http://127.0.0.1:4711/"),
            None
        );
    }

    #[test]
    fn local_server_limits_fit_the_measurement() {
        let options = TargetOptions {
            profile: Some(mixer::codec::Profile::LowDelay),
            mixers: Some(2),
            room_capacity: 20_000,
            server_args: vec!["--max-rooms=7".to_owned(), "--realtime=false".to_owned()],
            ..TargetOptions::default()
        };
        let arguments = arguments(IpAddr::from([127, 0, 0, 1]), &options);
        for expected in [
            "--http=127.0.0.1:0",
            "--max-participants=10000",
            "--max-sessions=20000",
            "--default-profile=low-delay",
            "--mixers=2",
        ] {
            assert!(arguments.iter().any(|it| it == expected), "{expected}");
        }
        assert!(!arguments.iter().any(|it| it == "--max-rooms=100"));
        assert_eq!(
            arguments.last().map(String::as_str),
            Some("--realtime=false")
        );
    }
}
