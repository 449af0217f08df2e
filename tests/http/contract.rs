//! Checks every response and event that a test receives against `openapi.json`: status, headers,
//! media type and body.

#[path = "../../src/http/contract/document.rs"]
mod document;

use std::sync::LazyLock;

use document::Document;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::harness::Answer;

/// The contract: the OpenAPI document of the server.
pub static CONTRACT: LazyLock<Document> =
    LazyLock::new(|| Document::new(include_str!("../../src/http/openapi.json")));

/// Headers that any response may have. `info.description` of the contract describes those that the
/// server itself defines.
const GENERAL_HEADERS: [&str; 9] = [
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "connection",
    "content-length",
    "date",
    "vary",
];

/// Returns the JSON pointer to the item of a path; `None` if the contract has no such path.
pub fn path_item(path: &str) -> Option<String> {
    let path = path.split('?').next().unwrap_or_default();
    let fits = |template: &str| {
        let (parts, wanted) = (path.split('/'), template.split('/'));
        let same = |(part, wanted): (&str, &str)| match wanted.starts_with('{') {
            true => !part.is_empty(),
            false => part == wanted,
        };
        parts.clone().count() == wanted.clone().count() && parts.zip(wanted).all(same)
    };
    let paths = CONTRACT.at("/paths").as_object().expect("paths");
    let template = paths.keys().find(|template| fits(template))?;
    Some(format!("/paths/{}", template.replace('/', "~1")))
}

/// Panics if a response violates the contract.
pub fn check(method: &str, path: &str, answer: &Answer) {
    let what = format!("{method} {path}: {answer:?}");
    // The contract does not describe the files of the page, percent-encoded paths or paths that do
    // not exist.
    let Some(item) = path_item(path) else {
        return;
    };
    let method = method.to_lowercase();
    let documented = |method: &str| CONTRACT.at(&item)[method].is_object();
    let operation = match method.as_str() {
        _ if documented(&method) => method.as_str(),
        "head" if documented("get") => "get",
        "options" => {
            let status = answer.status.as_u16();
            return assert!([204, 400, 421].contains(&status), "{what}");
        }
        _ => {
            let problem = "/components/schemas/Problem";
            assert!(answer.status.is_client_error(), "{what}");
            return assert_eq!(CONTRACT.wrong(problem, &answer.json()), [""; 0], "{what}");
        }
    };
    let status = answer.status.as_u16();
    let responses = &CONTRACT.at(&item)[operation]["responses"];
    assert!(
        responses[status.to_string()].is_object(),
        "not documented: {what}"
    );
    let pointer = format!("{item}/{operation}/responses/{status}");
    let (pointer, _) = CONTRACT.resolve(&pointer);
    check_headers(&pointer, &answer.headers, &what);
    check_body(&pointer, method == "head", answer, &what);
}

fn check_headers(pointer: &str, headers: &HeaderMap, what: &str) {
    let documented = CONTRACT.at(pointer)["headers"].as_object();
    let documented = documented.into_iter().flatten();
    let mut names = Vec::new();
    for (name, _) in documented {
        let (header, value) = CONTRACT.resolve(&format!("{pointer}/headers/{name}"));
        let given = headers.get(name).map(|it| it.to_str().expect("text"));
        assert!(
            given.is_some() || value["required"] != true,
            "no {name}: {what}"
        );
        if let Some(given) = given {
            let given = match value["schema"]["type"] == "integer" {
                true => given.parse::<u64>().expect(what).into(),
                false => Value::from(given),
            };
            let wrong = CONTRACT.wrong(&format!("{header}/schema"), &given);
            assert!(wrong.is_empty(), "{wrong:?}: {what}");
        }
        names.push(name.to_lowercase());
    }
    for name in headers.keys().map(|name| name.as_str()) {
        let is_general = GENERAL_HEADERS.contains(&name) || name == "content-type";
        let is_documented = is_general || names.iter().any(|it| it == name);
        assert!(is_documented, "{name} is not documented: {what}");
    }
}

fn check_body(pointer: &str, is_head: bool, answer: &Answer, what: &str) {
    let media_type = answer.headers.get("content-type");
    let media_type = media_type.map(|it| it.to_str().expect("text"));
    let media_type = media_type.and_then(|it| it.split(';').next());
    let content = CONTRACT.at(pointer)["content"].as_object();
    let Some(media_type) = media_type else {
        let is_empty = content.is_none() && answer.body.is_empty();
        return assert!(is_empty, "no type: {what}");
    };
    // A 304 response for the page has a content type but no body.
    if answer.status == 304 {
        return assert!(answer.body.is_empty(), "{what}");
    }
    let documented = content.is_some_and(|content| content.contains_key(media_type));
    if is_head {
        return assert!(answer.body.is_empty(), "{what}");
    }
    assert!(documented, "{media_type} is not documented: {what}");
    if media_type.ends_with("json") {
        let schema = media_type.replace('/', "~1");
        let schema = format!("{pointer}/content/{schema}/schema");
        let wrong = CONTRACT.wrong(&schema, &answer.json());
        assert!(wrong.is_empty(), "{wrong:#?}: {what}");
    }
}

/// Panics if an event violates the contract.
pub fn check_event(event: &Value) {
    let wrong = CONTRACT.wrong("/components/schemas/Event", event);
    assert!(wrong.is_empty(), "{event}: {wrong:#?}");
}
