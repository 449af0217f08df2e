//! The way in: every status of the contract, problem documents, CORS, rooms, WebSocket, data channel, and requests that
//! no honest client would send. Each test runs a whole server on ports of its own.

#[path = "transport/client.rs"]
mod client;
#[path = "signalling/floor.rs"]
mod floor;
#[path = "signalling/harness.rs"]
mod harness;
#[path = "signalling/joins.rs"]
mod joins;
#[path = "signalling/limits.rs"]
mod limits;
#[path = "signalling/media.rs"]
mod media;
#[path = "signalling/oddities.rs"]
mod oddities;
#[path = "signalling/rooms.rs"]
mod rooms;
#[path = "signalling/websocket.rs"]
mod websocket;
