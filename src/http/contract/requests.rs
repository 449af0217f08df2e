//! Contract tests of requests: for every field, the document and the parser accept the same values.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::document::Document;
use super::{document, schema};
use crate::protocol::{
    Change, CommandMessage, Invalid, JsonReader, RoomChange, asked, read_request,
};

/// A request that the document describes, with its minimal body.
struct Described {
    schema: String,
    least: Value,
    read: fn(&Value) -> Result<(), Invalid>,
}

fn read_room(json: &Value) -> Result<(), Invalid> {
    let mut fields = JsonReader::of(json.clone())?;
    RoomChange::read(&mut fields)?;
    fields.finish()
}

fn read_participant(json: &Value) -> Result<(), Invalid> {
    Change::parse(json.to_string().as_bytes()).map(drop)
}

fn read_floor(json: &Value) -> Result<(), Invalid> {
    let mut fields = JsonReader::of(json.clone())?;
    read_request(&mut fields)?;
    fields.finish()
}

fn read_command(json: &Value) -> Result<(), Invalid> {
    let read = CommandMessage::parse(&json.to_string());
    read.map(drop).map_err(|(invalid, _)| invalid)
}

/// Returns all commands that the document lists, each with the fields that its schema requires.
fn commands(document: &Document) -> Vec<Described> {
    let union = document.at(&schema("Command"));
    let mapping = union["discriminator"]["mapping"].as_object();
    let commands = mapping.expect("a mapping").iter().map(|(word, pointer)| {
        let pointer = pointer.as_str().expect("a pointer").trim_start_matches('#');
        let mut least = json!({ "command": word });
        for field in document.at(pointer)["required"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let field = field.as_str().expect("a name");
            least[field] = match field {
                "command" => json!(word),
                "gain_db" => json!(1),
                "name" => json!("Ann"),
                "participant" => json!("00c0ffee"),
                "rooms" => json!(["hall"]),
                other => panic!("no value for {other}"),
            };
        }
        Described {
            schema: pointer.to_owned(),
            least,
            read: read_command,
        }
    });
    commands.collect()
}

fn requests(document: &Document) -> Vec<Described> {
    let of = |name, read| Described {
        schema: schema(name),
        least: json!({}),
        read,
    };
    let mut requests = vec![
        of("RoomChange", read_room as fn(&Value) -> _),
        of("ParticipantChange", read_participant),
        of("FloorRequest", read_floor),
    ];
    requests.extend(commands(document));
    requests
}

/// Returns values to try for a field: one of each type, and values at and just beyond its bounds.
fn candidates(document: &Document, field: &Value) -> Vec<Value> {
    let long = |length| Value::from("x".repeat(length));
    let rooms = |count: u32| (0..count).map(|at| format!("room-{at}")).collect::<Value>();
    let mut candidates = vec![
        json!(null),
        json!(true),
        json!(0.5),
        json!(-1),
        json!(1_000_000_000),
        json!({}),
        json!([]),
        json!([3]),
        json!(["a b"]),
        json!([{ "room": "hall", "gain_db": 12, "priority": 255 }]),
        json!([{ "room": "hall", "gain_db": 12.5 }]),
        json!([{ "gain_db": 12 }]),
        rooms(16),
        rooms(17),
        long(0),
        long(64),
        long(65),
    ];
    for word in [
        "hall",
        "a b",
        "00c0ffee",
        "00C0FFEE",
        "multi:1",
        "multi:100",
        "multi:101",
    ] {
        candidates.push(word.into());
    }
    for word in [
        "open",
        "ptt",
        "cut-in",
        "broadcast",
        "moderated",
        "multi:0",
        "multi",
    ] {
        candidates.push(word.into());
    }
    for bound in ["minimum", "maximum"] {
        if let Some(bound) = field[bound].as_i64() {
            candidates.extend([bound - 1, bound, bound + 1].map(Value::from));
        }
    }
    candidates.extend(field["enum"].as_array().into_iter().flatten().cloned());
    if let Some(to) = field["$ref"].as_str() {
        let target = document.at(to.trim_start_matches('#'));
        candidates.extend(self::candidates(document, target));
    }
    candidates
}

#[test]
fn request_parser_reads_exactly_the_documented_fields() {
    let document = document();
    for Described {
        schema,
        least,
        read,
    } in requests(&document)
    {
        let asked = asked::during(|| read(&least).expect(&schema));
        let mut entry = least.clone();
        if let Some(rooms) = entry.get_mut("rooms") {
            *rooms = json!([{ "room": "hall" }]);
        }
        let fields = document.at(&schema)["properties"]
            .as_object()
            .expect(&schema);
        let described: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
        assert_eq!(asked, described, "{schema}");
        // Some fields are read only in the entries of a list.
        let inner = asked::during(|| read(&entry).expect(&schema));
        let inner: BTreeSet<&str> = inner.difference(&asked).copied().collect();
        if !inner.is_empty() {
            let entry = document.at(&super::schema("MonitorEntry"));
            let fields = entry["properties"].as_object().expect("an entry");
            let described: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
            assert_eq!(inner, described);
        }
    }
}

#[test]
fn request_parser_accepts_exactly_the_documented_values() {
    let document = document();
    let mut checked = 0;
    for Described {
        schema,
        least,
        read,
    } in requests(&document)
    {
        let fields = document.at(&schema)["properties"]
            .as_object()
            .expect(&schema);
        for (name, field) in fields.iter().filter(|(name, _)| *name != "command") {
            let mut outcomes = BTreeSet::new();
            for value in candidates(&document, field) {
                let mut request = least.clone();
                request[name] = value;
                let wrong = document.wrong(&schema, &request);
                let read = read(&request);
                assert_eq!(
                    wrong.is_empty(),
                    read.is_ok(),
                    "{request}: {read:?} {wrong:?}"
                );
                outcomes.insert(read.is_ok());
                checked += 1;
            }
            assert_eq!(outcomes.len() == 2, name != "id", "{schema} {name}");
        }
    }
    assert!(checked > 1_000, "{checked}");
}

#[test]
fn request_parser_requires_the_documented_fields_and_refuses_others() {
    let document = document();
    for Described {
        schema,
        least,
        read,
    } in requests(&document)
    {
        let without = |field: &str| -> Value {
            let mut fields: Map<String, Value> = least.as_object().expect("an object").clone();
            fields.remove(field);
            fields.into()
        };
        let mut requests: Vec<Value> = vec![least.clone()];
        requests.extend(
            least
                .as_object()
                .expect("an object")
                .keys()
                .map(|it| without(it)),
        );
        let mut other = least.clone();
        other["colour"] = json!("red");
        requests.push(other);
        for (at, request) in requests.iter().enumerate() {
            let wrong = document.wrong(&schema, request);
            let read = read(request);
            assert_eq!(
                wrong.is_empty(),
                read.is_ok(),
                "{request}: {read:?} {wrong:?}"
            );
            assert_eq!(read.is_ok(), at == 0, "{request}");
        }
    }
}
