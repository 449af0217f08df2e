//! schemathesis, a client that knows only `/v1/openapi.json`, sends requests that the document
//! allows and many that it forbids: no response is a server error, undocumented, or different from
//! its documentation.

mod common {
    pub mod tools;
}

use mixminus::config::Config;
use mixminus::rate_limit::{Rate, Rates};
use mixminus::server::Server;

use common::tools;

/// How often each operation is tried with random requests, besides the examples and the edge values
/// of every parameter.
const TRIES: &str = "20";

/// The checks that schemathesis makes of every response.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_answers_random_requests_as_its_contract_says() {
    // The rate limits are so high that no request is refused for its rate, which would hide every
    // other response.
    let often = Rate::new(1_000_000, 10_000);
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let server = Server::start(Config {
        http: loopback,
        media: loopback,
        realtime: false,
        max_rooms: 100_000,
        rates: Rates {
            joins: often,
            room_changes: often,
            participant_changes: often,
            messages: often,
        },
        ..Config::default()
    });
    let server = server.expect("loopback ports are free");
    let contract = format!("{}v1/openapi.json", server.url());
    let arguments = [
        "run",
        &contract,
        "--phases=examples,coverage,fuzzing",
        "--checks",
        CHECKS,
        "--max-examples",
        TRIES,
        "--seed=1",
        "--continue-on-failure",
        "--no-color",
    ]
    .map(str::to_owned);
    let tried = tokio::task::spawn_blocking(move || tools::schemathesis(arguments));
    let output = tried.await.expect("it does not panic");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    // A run that tested no operation is a failure.
    let tested = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("Tested: "));
    let tested: usize = tested.and_then(|count| count.parse().ok()).unwrap_or(0);
    assert!(tested >= 20, "{text}");
    server.stop().await;
}
