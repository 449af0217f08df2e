//! `/v1/rooms` and `/v1/rooms/{room}`: lists, creates, configures and ends rooms.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::problem::Problem;
use super::request::Request;
use super::response;
use super::state::HttpState;
use crate::conference::Configure;
use crate::protocol::{JsonReader, RoomChange, RoomLine, RoomName};
use crate::rate_limit::TooMany;

/// The response body of the list of rooms.
#[derive(Serialize)]
struct Rooms {
    rooms: Vec<RoomLine>,
    /// Whether joining a room that does not exist creates it.
    open_rooms: bool,
}

/// Handles a request about the list of rooms.
pub(super) async fn collection(
    state: Arc<HttpState>,
    request: Request,
) -> Result<Response, Problem> {
    match request.method {
        Method::GET | Method::HEAD => Ok(response::json(
            StatusCode::OK,
            &Rooms {
                rooms: state.conference.rooms().await,
                open_rooms: state.conference.makes_rooms(),
            },
        )),
        _ => Err(Problem::method_not_allowed("GET, HEAD, OPTIONS")),
    }
}

/// Handles a request about one room.
pub(super) async fn one(
    state: Arc<HttpState>,
    room: String,
    request: Request,
) -> Result<Response, Problem> {
    let room = RoomName::parse(&room)?;
    match request.method {
        Method::GET | Method::HEAD => {
            let shown = state
                .conference
                .room(&room)
                .await
                .ok_or_else(Problem::unknown_room)?;
            Ok(response::json(StatusCode::OK, &shown))
        }
        Method::PUT => configure(&state, &room, request, Configure::Put).await,
        Method::PATCH => configure(&state, &room, request, Configure::Merge).await,
        Method::DELETE => {
            count_change(&state, &request)?;
            state.conference.delete(&room).await?;
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
    room: &RoomName,
    mut request: Request,
    how: Configure,
) -> Result<Response, Problem> {
    count_change(state, &request)?;
    let mut fields = JsonReader::parse(&request.json().await?)?;
    let change = RoomChange::read(&mut fields)?;
    fields.finish()?;
    let (shown, made) = state.conference.configure(room, change, how).await?;
    let status = if made {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(response::json(status, &shown))
}
