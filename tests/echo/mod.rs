//! A peer that accepts offers over HTTP and echoes every packet that it receives, like a server
//! with one room and one voice.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MIME_TYPE_OPUS;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RtpCodecKind,
};
use tokio::sync::watch;
use warp::Filter;
use warp::http::{Response, StatusCode};
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCIceGatheringState, RTCSessionDescription, Registry, SettingEngineBuilder,
    configure_rtcp_reports,
};

/// A running peer that echoes packets.
pub struct Echo {
    /// The URL to which offers are posted.
    pub url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    peers: Mutex<HashMap<u32, Arc<dyn PeerConnection>>>,
    offers: Mutex<Vec<String>>,
    queries: Mutex<Vec<String>>,
    deleted: Mutex<usize>,
    channels: Mutex<Vec<Arc<dyn DataChannel>>>,
    messages: Mutex<Vec<serde_json::Value>>,
}

impl Echo {
    /// Starts the peer on a free port of loopback.
    pub async fn start() -> Echo {
        let state = Arc::new(State::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(
            warp::serve(routes(Arc::clone(&state)))
                .incoming(listener)
                .run(),
        );
        Echo {
            url: format!("http://{address}/v1/rooms/lobby/participants"),
            state,
        }
    }

    /// Returns the offers that the peer has received so far.
    pub fn offers(&self) -> Vec<String> {
        self.state.offers.lock().unwrap().clone()
    }

    /// Returns the query strings of the offers received so far.
    pub fn queries(&self) -> Vec<String> {
        self.state.queries.lock().unwrap().clone()
    }

    /// Returns the number of sessions that clients have deleted.
    pub fn deleted(&self) -> usize {
        *self.state.deleted.lock().unwrap()
    }

    /// Closes all connections and forgets their sessions, like a server that is restarted.
    pub async fn forget_everyone(&self) {
        self.state.channels.lock().unwrap().clear();
        let peers: Vec<_> = self.state.peers.lock().unwrap().drain().collect();
        for (_, peer) in peers {
            peer.close().await.unwrap();
        }
    }

    /// Waits until a client has opened its data channel; returns whether that happened in time.
    pub async fn wait_for_channel(&self) -> bool {
        for _ in 0..300 {
            if !self.state.channels.lock().unwrap().is_empty() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }

    /// Returns the commands with this name that arrived over data channels.
    pub fn heard(&self, command: &str) -> Vec<serde_json::Value> {
        let messages = self.state.messages.lock().unwrap();
        let of_kind = messages.iter().filter(|it| it["command"] == command);
        of_kind.cloned().collect()
    }

    /// Waits for the first command with this name.
    pub async fn hear(&self, command: &str) -> serde_json::Value {
        for _ in 0..500 {
            if let Some(first) = self.heard(command).into_iter().next() {
                return first;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no {command} came");
    }

    /// Sends a text on every data channel.
    pub async fn say(&self, text: &str) {
        assert!(self.wait_for_channel().await, "no data channel came");
        let channels = self.state.channels.lock().unwrap().clone();
        for channel in channels {
            channel.send_text(text).await.unwrap();
        }
    }
}

type Reply = Response<String>;

fn routes(state: Arc<State>) -> impl Filter<Extract = (Reply,), Error = warp::Rejection> + Clone {
    let state = warp::any().map(move || Arc::clone(&state));
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    let post = warp::path!("v1" / "rooms" / String / "participants")
        .and(warp::post())
        .and(warp::header::exact("content-type", "application/sdp"))
        .and(query)
        .and(warp::body::bytes())
        .and(state.clone())
        .then(
            |room: String, query, offer: warp::hyper::body::Bytes, state| async move {
                match room.as_str() {
                    "full" => full(),
                    _ => join(query, String::from_utf8(offer.to_vec()).unwrap(), state).await,
                }
            },
        );
    let session = warp::path!("v1" / "sessions" / u32);
    let patch = session
        .and(warp::patch())
        .and(state.clone())
        .map(|id, state: Arc<State>| {
            let known = state.peers.lock().unwrap().contains_key(&id);
            status(if known { 204 } else { 404 })
        });
    let delete = session
        .and(warp::delete())
        .and(state)
        .then(|id, state: Arc<State>| async move {
            let peer = state.peers.lock().unwrap().remove(&id);
            match peer {
                Some(peer) => {
                    *state.deleted.lock().unwrap() += 1;
                    peer.close().await.unwrap();
                    status(200)
                }
                None => status(404),
            }
        });
    post.or(patch).unify().or(delete).unify()
}

fn status(status: u16) -> Reply {
    let mut reply = Response::new(String::new());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
}

fn full() -> Reply {
    Response::builder()
        .status(409)
        .header("content-type", "application/problem+json")
        .body(r#"{"type":"urn:mixminus:problem:room-full","title":"Room full","status":409,"detail":"The room full takes 2 participants"}"#.to_owned())
        .unwrap()
}

async fn join(query: String, offer: String, state: Arc<State>) -> Reply {
    state.queries.lock().unwrap().push(query);
    state.offers.lock().unwrap().push(offer.clone());
    let (peer, answer) = answer(offer, Arc::clone(&state)).await;
    let id = state.offers.lock().unwrap().len() as u32;
    state.peers.lock().unwrap().insert(id, peer);
    Response::builder()
        .status(201)
        .header("content-type", "application/sdp")
        .header("location", format!("/v1/sessions/{id}"))
        .header("participant-id", "0000abcd")
        .body(answer)
        .unwrap()
}

struct Handler {
    gathered: watch::Sender<bool>,
    track: Arc<TrackLocalStaticRTP>,
    state: Arc<State>,
}

const SSRC: u32 = 0x1234_5678;

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, gathering: RTCIceGatheringState) {
        self.gathered
            .send_replace(gathering == RTCIceGatheringState::Complete);
    }
    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        self.state
            .channels
            .lock()
            .unwrap()
            .push(Arc::clone(&channel));
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            while let Some(event) = channel.poll().await {
                if let DataChannelEvent::OnMessage(message) = event {
                    let message = serde_json::from_slice(&message.data).unwrap();
                    state.messages.lock().unwrap().push(message);
                }
            }
        });
    }
    async fn on_track(&self, remote: Arc<dyn TrackRemote>) {
        let track = Arc::clone(&self.track);
        tokio::spawn(async move {
            while let Some(event) = remote.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(mut packet) = event {
                    packet.header.ssrc = SSRC;
                    packet.header.csrc = vec![0xabcd];
                    packet.header.extension = false;
                    packet.header.extensions.clear();
                    let _ = track.write_rtp(packet).await;
                }
            }
        });
    }
}

async fn answer(offer: String, state: Arc<State>) -> (Arc<dyn PeerConnection>, String) {
    let codec = RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        rtcp_feedback: vec![],
    };
    let mut media = MediaEngine::default();
    let parameters = RTCRtpCodecParameters {
        rtp_codec: codec.clone(),
        payload_type: 111,
    };
    media
        .register_codec(parameters, RtpCodecKind::Audio)
        .unwrap();
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(SSRC),
            ..Default::default()
        },
        codec,
        ..Default::default()
    };
    let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
        "mix".into(),
        "mix".into(),
        "mix".into(),
        RtpCodecKind::Audio,
        vec![encoding],
    )));
    let (gathered_in, mut gathered) = watch::channel(false);
    let handler = Handler {
        gathered: gathered_in,
        track: Arc::clone(&track),
        state,
    };
    let settings = SettingEngineBuilder::new()
        .with_answering_dtls_role(RTCDtlsRole::Server)
        .build();
    let peer: Arc<dyn PeerConnection> = Arc::new(
        PeerConnectionBuilder::new()
            .with_media_engine(media)
            .with_setting_engine(settings)
            .with_interceptor_registry(configure_rtcp_reports(Registry::new()))
            .with_handler(Arc::new(handler))
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build()
            .await
            .unwrap(),
    );
    let offer = RTCSessionDescription::offer(offer).unwrap();
    peer.set_remote_description(offer).await.unwrap();
    peer.add_track(track).await.unwrap();
    let answer = peer.create_answer(None).await.unwrap();
    peer.set_local_description(answer).await.unwrap();
    gathered.wait_for(|complete| *complete).await.unwrap();
    let sdp = peer.local_description().await.unwrap().sdp;
    (peer, sdp)
}
