//! `/v1/rooms/{room}/participants` and `/v1/rooms/{room}/participants/{participant}`: joining a
//! room, and moderating its participants.
//!
//! A join is one POST in the form of WHIP (RFC 9725), but for audio in both directions: the client
//! sends its audio, and receives the mix without its own (mix-minus).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::timeout;
use warp::Filter;
use warp::http::header::{self, HeaderName};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::reply::Response;

use super::problem::Problem;
use super::request::{Request, request};
use super::response;
use super::route::{Routes, answered, with};
use super::state::HttpState;
use crate::conference::participants::{ChangeParticipant, KickParticipant};
use crate::conference::sessions::Leave;
use crate::conference::{Join, Joined};
use crate::config::IceServer;
use crate::floor::Mode;
use crate::protocol::{Change, MonitorEntry, Name, PROFILES, PublicId, RoomName, profile_named};
use crate::rate_limit::{Limiter, TooMany};

/// The media type of an SDP offer.
const SDP: &str = "application/sdp";

/// Longest time that a join waits for its turn before its offer is processed.
const TURN_TIME: Duration = Duration::from_secs(5);

/// Routes the participants of a room: the collection, and each participant.
pub(super) fn routes(state: &Arc<HttpState>) -> Routes {
    let collection = warp::path!("v1" / "rooms" / String / "participants")
        .and(with(state))
        .and(request())
        .then(|room, state, request| answered(collection(state, room, request)));
    let one = warp::path!("v1" / "rooms" / String / "participants" / String)
        .and(with(state))
        .and(request())
        .then(|room, id, state, request| answered(one(state, room, id, request)));
    collection.or(one).unify().boxed()
}

/// Routes `OPTIONS` of a room's participants, whose answer has more headers than that of other
/// paths.
pub(super) fn options_route(state: &Arc<HttpState>) -> Routes {
    warp::path!("v1" / "rooms" / String / "participants")
        .and(warp::options())
        .and(with(state))
        .and(warp::header::headers_cloned())
        .map(|_, state: Arc<HttpState>, headers: HeaderMap| options(&state, &headers))
        .boxed()
}

/// Handles a request about a room's participants; a POST joins.
async fn collection(
    state: Arc<HttpState>,
    room: String,
    request: Request,
) -> Result<Response, Problem> {
    let room = RoomName::parse(&room)?;
    match request.method {
        Method::POST => join(&state, room, request).await,
        // The answer to a GET tells the client that this path accepts SDP (RFC 9725, 4.1).
        Method::GET => Ok(described(&state, StatusCode::NO_CONTENT)),
        Method::HEAD => Ok(described(&state, StatusCode::OK)),
        _ => Err(Problem::method_not_allowed("POST, GET, HEAD, OPTIONS")),
    }
}

/// Handles a request about one participant, named by its public id.
async fn one(
    state: Arc<HttpState>,
    room: String,
    participant: String,
    mut request: Request,
) -> Result<Response, Problem> {
    let room = RoomName::parse(&room)?;
    let allowed = matches!(request.method, Method::PATCH | Method::DELETE);
    if !allowed {
        return Err(Problem::method_not_allowed("PATCH, DELETE, OPTIONS"));
    }
    let id =
        PublicId::parse(&participant).ok_or(crate::conference::UnknownParticipant::Participant)?;
    if request.method == Method::DELETE {
        let kick = KickParticipant {
            room,
            participant: id,
        };
        state.conference.ask(kick).await?;
        return Ok(response::empty(StatusCode::NO_CONTENT));
    }
    let change = Change::parse(&request.json().await?)?;
    count_change(&state.limiter, &change, request.client, Instant::now())?;
    let change = ChangeParticipant {
        room,
        participant: id,
        change,
    };
    let changed = state.conference.ask(change).await?;
    Ok(response::json(StatusCode::OK, &changed))
}

/// Counts a change of a participant against the address of the client that asks for it, so that no
/// client can use up the rate of another. A change that only mutes is not counted and never
/// refused.
fn count_change(
    limiter: &Limiter,
    change: &Change,
    from: IpAddr,
    now: Instant,
) -> Result<(), TooMany> {
    if change.only_mutes() {
        return Ok(());
    }
    limiter.participant_change(from, now)
}

/// Answers `OPTIONS` on a room's participants: a CORS preflight response, with the accepted media
/// type and the ICE servers.
fn options(state: &HttpState, headers: &HeaderMap) -> Response {
    let mut response = super::cors::preflight();
    response
        .headers_mut()
        .insert(ACCEPT_POST, HeaderValue::from_static(SDP));
    // A preflight carries no credentials, so its answer contains no TURN password.
    if !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        link_ice_servers(&state.ice_servers, response.headers_mut());
    }
    response
}

async fn join(
    state: &Arc<HttpState>,
    room: RoomName,
    mut request: Request,
) -> Result<Response, Problem> {
    let counted = state.limiter.join(request.client, Instant::now());
    if let Err(too_many) = counted {
        state.conference.refuse_too_many().await;
        return Err(too_many.into());
    }
    if !request.is_of(SDP) {
        let problem = Problem::wrong_type("application/sdp");
        return Err(problem.header(ACCEPT_POST, HeaderValue::from_static(SDP)));
    }
    let name = request
        .parameter("name")
        .filter(|name| !name.trim().is_empty());
    let name = name.map(Name::parse).transpose()?;
    let profile = match request.parameter("profile") {
        None => None,
        Some(name) => Some(profile_named(name).ok_or_else(unknown_profile)?),
    };
    let priority = match request.parameter("priority") {
        None => 0,
        Some(priority) => priority.parse().map_err(|_| bad_priority())?,
    };
    // `listen` is the former name of `monitor`.
    let monitored = request.parameter("monitor");
    let listen = match monitored.or_else(|| request.parameter("listen")) {
        None => Vec::new(),
        Some(rooms) => MonitorEntry::parse(rooms)?,
    };
    let mode = match request.parameter("mode") {
        None => None,
        Some(mode) => Some(Mode::parse(mode).ok_or_else(unknown_mode)?),
    };
    let join = Join {
        offer: request.description().await?,
        room: room.clone(),
        name,
        profile,
        priority,
        listen,
        mode,
    };
    // Processing an offer takes milliseconds of CPU time, so only as many offers as there are cores
    // are processed at a time. The others wait for their turn.
    let turn = timeout(TURN_TIME, state.turns.clone().acquire_owned()).await;
    let Ok(Ok(turn)) = turn else {
        return Err(state.conference.refuse_waiting().await.into());
    };
    let conference = state.conference.clone();
    let (tell, told) = oneshot::channel();
    // The join runs in a task of its own, so that it continues when the client disconnects.
    tokio::spawn(async move {
        let joined = conference.join(join).await;
        drop(turn);
        // The client has disconnected meanwhile, so nobody will use this session: leave at once.
        if let Err(Ok(joined)) = tell.send(joined) {
            let session = joined.session;
            let _ = conference.ask(Leave { session }).await;
        }
    });
    let joined = told.await.map_err(|_| Problem::internal())??;
    Ok(created(state, &room, joined))
}

fn unknown_profile() -> Problem {
    Problem::bad_request(format!(
        "The query parameter \"profile\" must be one of: {PROFILES}."
    ))
}

fn unknown_mode() -> Problem {
    let names = Mode::NAMES;
    Problem::bad_request(format!(
        "The query parameter \"mode\" must be one of: {names}."
    ))
}

fn bad_priority() -> Problem {
    Problem::bad_request("The query parameter \"priority\" must be a whole number from 0 to 255.")
}

fn created(state: &HttpState, room: &RoomName, joined: Joined) -> Response {
    let mut response = Response::new(joined.answer.into());
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(
        header::LOCATION,
        response::value(format!("/v1/sessions/{}", joined.session)),
    );
    headers.insert(
        header::ETAG,
        response::value(format!("\"{}\"", joined.etag)),
    );
    headers.insert(
        PARTICIPANT_ID,
        response::value(joined.participant.to_string()),
    );
    headers.insert(
        ACCEPT_PATCH,
        HeaderValue::from_static("application/trickle-ice-sdpfrag"),
    );
    // The response contains the session secret, so no cache may store it.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.append(
        header::LINK,
        response::value(format!("</v1/rooms/{room}/events>; rel=\"events\"")),
    );
    link_ice_servers(&state.ice_servers, headers);
    response
}

fn described(state: &HttpState, status: StatusCode) -> Response {
    let mut response = response::empty(status);
    let headers = response.headers_mut();
    headers.insert(ACCEPT_POST, HeaderValue::from_static(SDP));
    if status == StatusCode::OK {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    }
    link_ice_servers(&state.ice_servers, headers);
    response
}

/// Adds one `Link` header for each STUN and TURN server (RFC 9725, 4.6).
fn link_ice_servers(servers: &[IceServer], headers: &mut HeaderMap) {
    for server in servers {
        let mut link = format!("<{}>; rel=\"ice-server\"", server.url);
        if let Some((user, password)) = &server.credentials {
            link += &format!(
                "; username=\"{user}\"; credential=\"{password}\"; credential-type=\"password\""
            );
        }
        headers.append(header::LINK, response::value(link));
    }
}

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const PARTICIPANT_ID: HeaderName = HeaderName::from_static("participant-id");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_limit::Rates;

    const MODERATOR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn muted(muted: bool) -> Change {
        Change {
            muted: Some(muted),
            ..Change::default()
        }
    }

    #[test]
    fn participant_change_limiter_counts_every_change_but_muting() {
        let (limiter, now) = (Limiter::new(&Rates::default()), Instant::now());
        let count = |change, from| count_change(&limiter, &change, from, now);
        let some = (0..600).map_while(|n| count(muted(n % 2 == 0), MODERATOR).ok());
        assert_eq!(some.count(), 401, "only unmuting is counted");
        assert!(count(muted(false), MODERATOR).is_err());
        assert!(count(muted(true), MODERATOR).is_ok());
    }

    #[test]
    fn participant_change_limiter_counts_each_address_separately() {
        let (limiter, now) = (Limiter::new(&Rates::default()), Instant::now());
        let gain = |gain_db| Change {
            gain_db: Some(gain_db),
            ..Change::default()
        };
        let other = IpAddr::from([192, 0, 2, 2]);
        let count = |change, from| count_change(&limiter, &change, from, now);
        let some = (0..1_000).map_while(|n| count(gain((n % 10) as f32), other).ok());
        assert_eq!(some.count(), 200);
        assert!(count(gain(-6.0), MODERATOR).is_ok());
        assert!(count(muted(true), other).is_ok());
    }
}
