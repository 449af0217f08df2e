//! The local target: this binary as a server, in a process of its own.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::Url;
use tokio::time::timeout;

use super::child::{Directory, Process};
use super::netns::Namespace;
use super::whip::Whip;
use super::{TargetError, TargetOptions, loopback_ips};

/// The server in a child process. The order of the fields is the order in which they end.
pub(super) struct LocalServer {
    process: Process,
    namespace: Option<Namespace>,
    whip: Whip,
}

impl LocalServer {
    /// Starts it on free ports: on loopback, or in a namespace.
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

    /// The way to talk to it.
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
    // All clients come from one address.
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
    // What was given by hand counts; a flag may stand there only once.
    let name_of = |argument: &str| argument.split('=').next().map(str::to_owned);
    let given: Vec<_> = options.server_args.iter().map(|it| name_of(it)).collect();
    arguments.retain(|argument| !given.contains(&name_of(argument)));
    arguments.extend(options.server_args.iter().cloned());
    arguments
}

/// The line with which the server says where HTTP is.
fn http_address(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("http ")?.trim().parse().ok()
}

const NAME: &str = "mixminus serve";

/// A busy machine starts it slowly.
const START_TIME: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_what_the_server_says() {
        let address = SocketAddr::from(([127, 0, 0, 1], 4_711));
        assert_eq!(http_address("http  127.0.0.1:4711"), Some(address));
        assert_eq!(http_address("media 127.0.0.1:4712 (UDP)"), None);
        assert_eq!(
            http_address("mixminus 0.1.0 is ready: http://127.0.0.1:4711/"),
            None
        );
    }

    #[test]
    fn limits_follow_what_is_to_be_measured() {
        let options = TargetOptions {
            profile: Some(mixer::profile::Profile::LowDelay),
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
