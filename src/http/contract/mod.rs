//! `openapi.json` and the types of the wire say the same, both ways: what is sent is described with
//! every field and word, what is described is sent, and what is accepted is what is described.

mod coverage;
mod document;
mod problems;
mod requests;
mod responses;

use document::Document;

fn document() -> Document {
    Document::new(super::OPENAPI)
}

/// The JSON pointer to a schema by its name.
fn schema(name: &str) -> String {
    format!("/components/schemas/{name}")
}
