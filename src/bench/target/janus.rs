//! Janus AudioBridge as operators run it: Debian's package with its defaults and a room of 48 kHz.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::child::{Directory, Process, end_of};
use super::janus_api::Api;
use super::netns::{Namespace, is_root};
use super::{Seat, SeatKind, TargetError, TargetOptions};

/// A Janus server and one session with it. The fields are dropped in the order of their
/// declaration.
pub(super) struct Janus {
    api: Api,
    /// URL of its API, `ws://HOST:PORT`.
    url: String,
    /// The plugin handle over which rooms are created and removed.
    control: u64,
    rooms: Mutex<Rooms>,
    prebuffer: Option<u32>,
    process: Option<Process>,
    namespace: Option<Namespace>,
}

/// The rooms that this benchmark has created, by name. Janus knows rooms by number only.
struct Rooms {
    numbers: HashMap<String, u64>,
    next: u64,
}

impl Janus {
    /// Installs Janus if needed and starts it in a namespace, because it takes no part in ICE over
    /// loopback.
    pub(super) async fn start(options: &TargetOptions) -> Result<Janus, TargetError> {
        if !is_root() {
            return Err(TargetError::NotRoot {
                what: "starting janus in a network namespace",
            });
        }
        if !Path::new(PROGRAM).exists() {
            let installed = tokio::task::spawn_blocking(install).await;
            installed.unwrap_or_else(|_| {
                Err(TargetError::Install {
                    said: "the installation was interrupted".to_owned(),
                })
            })?;
        }
        let namespace = Namespace::new()?;
        let directory = Directory::new()?;
        let api_address = SocketAddr::new(IpAddr::V4(namespace.server_ip()), WEBSOCKET_PORT);
        configure(&directory)?;
        let mut command = namespace.command(OsStr::new(PROGRAM));
        command.arg("-o").arg("-F").arg(directory.path());
        let (mut process, lines) = Process::start("janus", command, directory)?;
        // The output of Janus is not used; without a reader it is dropped.
        drop(lines);
        let started = Instant::now();
        let api = loop {
            match Api::connect(api_address, None).await {
                Ok(api) => break api,
                Err(_) if started.elapsed() < START_TIME && !process.has_ended() => {
                    sleep(Duration::from_millis(50)).await;
                }
                Err(_) => return Err(process.not_ready()),
            }
        };
        let url = format!("ws://{api_address}");
        Janus::with(api, url, options, Some(process), Some(namespace)).await
    }

    /// Connects to a running Janus.
    pub(super) async fn find(url: &Url, options: &TargetOptions) -> Result<Janus, TargetError> {
        let addresses = url
            .socket_addrs(|| Some(WEBSOCKET_PORT))
            .unwrap_or_default();
        let silent = TargetError::Silent { request: "connect" };
        let address = addresses.first().ok_or(silent)?;
        let api = Api::connect(*address, Some(url)).await?;
        Janus::with(api, url.to_string(), options, None, None).await
    }

    async fn with(
        api: Api,
        url: String,
        options: &TargetOptions,
        process: Option<Process>,
        namespace: Option<Namespace>,
    ) -> Result<Janus, TargetError> {
        let control = api.attach().await?;
        Ok(Janus {
            api,
            url,
            control,
            rooms: Mutex::new(Rooms {
                numbers: HashMap::new(),
                // A shared server has other rooms: the numbers start at random.
                next: rand::random_range(1..1 << 31) * 100_000,
            }),
            prebuffer: options.prebuffer,
            process,
            namespace,
        })
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Returns the addresses from which the Janus started here is reached.
    pub(super) fn local_ips(&self) -> Vec<IpAddr> {
        self.namespace
            .as_ref()
            .map(Namespace::local_ips)
            .unwrap_or_default()
    }

    pub(super) async fn join(
        &self,
        room: &str,
        name: &str,
        offer: &str,
    ) -> Result<(String, Seat), TargetError> {
        let room = self.room(room).await?;
        let handle = self.api.attach().await?;
        let mut body = json!({"request": "join", "room": room, "display": name, "muted": false});
        self.with_prebuffer(&mut body, "prebuffer");
        let jsep = json!({"type": "offer", "sdp": offer, "trickle": false});
        let joined = self.api.message("join", handle, body, Some(jsep)).await;
        let answer = match joined {
            Ok(joined) => joined["jsep"]["sdp"].as_str().map(str::to_owned),
            Err(error) => {
                self.leave(handle).await;
                return Err(error);
            }
        };
        let answer = answer.ok_or(TargetError::Silent { request: "join" })?;
        Ok((answer, Seat(SeatKind::Janus(handle))))
    }

    pub(super) async fn leave(&self, handle: u64) {
        let _ = self.api.detach(handle).await;
    }

    pub(super) async fn make_room(&self, room: &str) -> Result<(), TargetError> {
        self.room(room).await.map(|_| ())
    }

    /// Returns the address of a room for the libwebrtc client, which needs the room's number.
    pub(super) async fn foreign_address(&self, room: &str) -> Result<String, TargetError> {
        let number = self.room(room).await?;
        Ok(format!("janus:{}#{number}", self.url))
    }

    /// Removes the created rooms from a server that continues to run.
    pub(super) async fn clear(&self) {
        if self.process.is_some() {
            return;
        }
        for number in self.rooms.lock().await.numbers.values() {
            let body = json!({"request": "destroy", "room": number});
            let _ = self.api.message("destroy", self.control, body, None).await;
        }
    }

    /// Returns the number of a room, which is created if it is new. The lock keeps two joins from
    /// creating it twice.
    async fn room(&self, name: &str) -> Result<u64, TargetError> {
        let mut rooms = self.rooms.lock().await;
        if let Some(number) = rooms.numbers.get(name) {
            return Ok(*number);
        }
        let number = rooms.next;
        let mut body = json!({
            "request": "create", "room": number, "permanent": false, "description": name,
            "sampling_rate": 48_000, "record": false,
        });
        self.with_prebuffer(&mut body, "default_prebuffering");
        self.api.message("create", self.control, body, None).await?;
        rooms.next += 1;
        rooms.numbers.insert(name.to_owned(), number);
        Ok(number)
    }

    fn with_prebuffer(&self, body: &mut Value, key: &str) {
        if let Some(prebuffer) = self.prebuffer {
            body[key] = json!(prebuffer);
        }
    }
}

/// Enables only the AudioBridge and the WebSocket, because nothing else is measured.
fn configure(directory: &Directory) -> Result<(), TargetError> {
    let folder = directory.path().display();
    directory.write(
        "janus.jcfg",
        &format!(
            "general: {{ configs_folder = \"{folder}\"; plugins_folder = \"{LIBRARIES}/plugins\"; \
             transports_folder = \"{LIBRARIES}/transports\"; events_folder = \"{LIBRARIES}/events\"; \
             loggers_folder = \"{LIBRARIES}/loggers\"; debug_level = 3; session_timeout = 0; }}\n\
             media: {{ rtp_port_range = \"20000-59999\"; }}\n\
             plugins: {{ disable = \"{OTHER_PLUGINS}\"; }}\n\
             transports: {{ disable = \"{OTHER_TRANSPORTS}\"; }}\n"
        ),
    )?;
    directory.write(
        "janus.plugin.audiobridge.jcfg",
        "general: { local_ip = \"127.0.0.1\"; }\n",
    )?;
    directory.write(
        "janus.transport.websockets.jcfg",
        &format!("general: {{ ws = true; ws_port = {WEBSOCKET_PORT}; }}\nadmin: {{ admin_ws = false; }}\n"),
    )
}

fn install() -> Result<(), TargetError> {
    let apt = |arguments: &[&str]| {
        Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
    };
    // The package lists may be missing or old: they are updated only if the first attempt fails.
    let wanted = ["install", "-y", "--no-install-recommends", "janus"];
    let tried = apt(&wanted).and_then(|output| {
        if output.status.success() {
            return Ok(output);
        }
        apt(&["update"])?;
        apt(&wanted)
    });
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(TargetError::Install {
            said: end_of(&output.stderr),
        }),
        Err(source) => Err(TargetError::Spawn {
            program: "apt-get".to_owned(),
            source,
        }),
    }
}

const PROGRAM: &str = "/usr/bin/janus";
const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu/janus";
const OTHER_PLUGINS: &str = "libjanus_videoroom.so,libjanus_videocall.so,libjanus_voicemail.so,libjanus_recordplay.so,\
    libjanus_echotest.so,libjanus_textroom.so,libjanus_nosip.so,libjanus_sip.so,libjanus_streaming.so,libjanus_lua.so,\
    libjanus_duktape.so";
const OTHER_TRANSPORTS: &str =
    "libjanus_http.so,libjanus_pfunix.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_rabbitmq.so";

/// The default port of Janus; no other server uses it in the namespace.
const WEBSOCKET_PORT: u16 = 8_188;

const START_TIME: Duration = Duration::from_secs(20);
