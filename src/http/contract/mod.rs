//! Checks that `openapi.json` matches the wire types in both directions: every field and value sent
//! is documented, everything documented is sent, and the accepted requests are the documented ones.

mod coverage;
mod document;
mod problems;
mod requests;
mod responses;

use document::Document;

fn document() -> Document {
    Document::new(super::OPENAPI)
}

/// Returns the JSON pointer to the schema named `name`.
fn schema(name: &str) -> String {
    format!("/components/schemas/{name}")
}
