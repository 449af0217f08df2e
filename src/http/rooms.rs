//! `/v1/rooms` and `/v1/rooms/{room}`: listing, creating, configuring and ending rooms.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use warp::Filter;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::problem::Problem;
use super::request::{Request, request};
use super::response;
use super::route::{Routes, answered, with};
use super::state::HttpState;
use crate::conference::Configure;
use crate::conference::rooms::{ConfigureRoom, DeleteRoom, ListRooms, ReadRoom};
use crate::protocol::{JsonReader, RoomChange, RoomLine, RoomName};
use crate::rate_limit::TooMany;

/// The response body of the list of rooms.
#[derive(Serialize)]
struct Rooms {
    rooms: Vec<RoomLine>,
    /// Whether joining a room that does not exist creates it.
    open_rooms: bool,
}

/// Routes the list of rooms, and each room.
pub(super) fn routes(state: &Arc<HttpState>) -> Routes {
    let collection = warp::path!("v1" / "rooms")
        .and(with(state))
        .and(request())
        .then(|state, request| answered(collection(state, request)));
    let one = warp::path!("v1" / "rooms" / String)
        .and(with(state))
        .and(request())
        .then(|room, state, request| answered(one(state, room, request)));
    collection.or(one).unify().boxed()
}

/// Handles a request about the list of rooms.
async fn collection(state: Arc<HttpState>, request: Request) -> Result<Response, Problem> {
    match request.method {
        Method::GET | Method::HEAD => Ok(response::json(
            StatusCode::OK,
            &Rooms {
                rooms: state.conference.ask(ListRooms).await,
                open_rooms: state.conference.makes_rooms(),
            },
        )),
        _ => Err(Problem::method_not_allowed("GET, HEAD, OPTIONS")),
    }
}

/// Handles a request about one room.
async fn one(state: Arc<HttpState>, room: String, request: Request) -> Result<Response, Problem> {
    let room = RoomName::parse(&room)?;
    match request.method {
        Method::GET | Method::HEAD => {
            let shown = state
                .conference
                .ask(ReadRoom { room })
                .await
                .ok_or_else(Problem::unknown_room)?;
            Ok(response::json(StatusCode::OK, &shown))
        }
        Method::PUT => configure(&state, room, request, Configure::Put).await,
        Method::PATCH => configure(&state, room, request, Configure::Merge).await,
        Method::DELETE => {
            count_change(&state, &request)?;
            state.conference.ask(DeleteRoom { room }).await?;
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Problem::method_not_allowed(
            "GET, HEAD, PUT, PATCH, DELETE, OPTIONS",
        )),
    }
}

fn count_change(state: &HttpState, request: &Request) -> Result<(), TooMany> {
    state.limiter.room_change(request.client, Instant::now())
}

async fn configure(
    state: &HttpState,
    room: RoomName,
    mut request: Request,
    how: Configure,
) -> Result<Response, Problem> {
    count_change(state, &request)?;
    let mut fields = JsonReader::parse(&request.json().await?)?;
    let change = RoomChange::read(&mut fields)?;
    fields.finish()?;
    let configure = ConfigureRoom { room, change, how };
    let (shown, made) = state.conference.ask(configure).await?;
    let status = if made {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(response::json(status, &shown))
}
