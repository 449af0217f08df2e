//! `/v1/rooms` and `/v1/rooms/{room}`: listing, making, configuring and ending rooms.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::context::Context;
use super::problem::Problem;
use super::reply;
use super::request::Request;
use crate::conference::Configure;
use crate::protocol::{Fields, RoomChange, RoomLine, RoomName};
use crate::rate_limit::TooMany;

/// The body of the list.
#[derive(Serialize)]
struct Rooms {
    rooms: Vec<RoomLine>,
    /// Whether a join makes a room that is not there.
    open_rooms: bool,
}

/// The list of rooms.
pub(super) async fn collection(
    context: Arc<Context>,
    request: Request,
) -> Result<Response, Problem> {
    match request.method {
        Method::GET | Method::HEAD => Ok(reply::json(
            StatusCode::OK,
            &Rooms {
                rooms: context.conference.rooms(),
                open_rooms: context.conference.makes_rooms(),
            },
        )),
        _ => Err(Problem::method_not_allowed("GET, HEAD, OPTIONS")),
    }
}

/// One room.
pub(super) async fn one(
    context: Arc<Context>,
    room: String,
    request: Request,
) -> Result<Response, Problem> {
    let room = RoomName::parse(&room)?;
    match request.method {
        Method::GET | Method::HEAD => {
            let state = context
                .conference
                .room(&room)
                .ok_or_else(Problem::unknown_room)?;
            Ok(reply::json(StatusCode::OK, &state))
        }
        Method::PUT => configure(&context, &room, request, Configure::Put).await,
        Method::PATCH => configure(&context, &room, request, Configure::Merge).await,
        Method::DELETE => {
            count_change(&context, &request)?;
            context.conference.delete(&room)?;
            Ok(reply::empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Problem::method_not_allowed(
            "GET, HEAD, PUT, PATCH, DELETE, OPTIONS",
        )),
    }
}

fn count_change(context: &Context, request: &Request) -> Result<(), TooMany> {
    let limiter = context.conference.limiter();
    limiter.room_change(request.client, Instant::now())
}

async fn configure(
    context: &Context,
    room: &RoomName,
    mut request: Request,
    how: Configure,
) -> Result<Response, Problem> {
    count_change(context, &request)?;
    let mut fields = Fields::parse(&request.json().await?)?;
    let change = RoomChange::read(&mut fields)?;
    fields.finish()?;
    let (state, made) = context.conference.configure(room, change, how)?;
    let status = if made {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(reply::json(status, &state))
}
