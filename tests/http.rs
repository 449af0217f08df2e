//! Tests of the HTTP interface: every status of the contract, problem documents, CORS, rooms,
//! WebSocket, data channel, and requests that no well-behaved client sends. Each test runs a whole
//! server on ports of its own.

#[path = "transport/client.rs"]
mod client;
#[path = "http/contract.rs"]
mod contract;
#[path = "http/floor.rs"]
mod floor;
#[path = "http/harness.rs"]
mod harness;
#[path = "http/joins.rs"]
mod joins;
#[path = "http/limits.rs"]
mod limits;
#[path = "http/malformed_http.rs"]
mod malformed_http;
#[path = "http/media.rs"]
mod media;
#[path = "http/refusals.rs"]
mod refusals;
#[path = "http/restarts.rs"]
mod restarts;
#[path = "http/rooms.rs"]
mod rooms;
#[path = "http/statuses.rs"]
mod statuses;
#[path = "http/websocket.rs"]
mod websocket;
