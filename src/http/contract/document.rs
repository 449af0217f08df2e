//! `openapi.json` as schemas that values are checked against, in unit tests and in `tests/http`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// The OpenAPI document, in which every object is closed: an undocumented field is an error. This
/// is for tests only; for clients the objects stay open, so that fields can be added.
pub struct Document {
    json: Value,
    /// Validators by JSON pointer; kept because building a validator takes longer than using it.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Document {
    /// Parses the document.
    pub fn new(text: &str) -> Document {
        let mut json: Value = serde_json::from_str(text).expect("the document is JSON");
        let parts = parts_of_others(&json);
        let schemas = json["components"]["schemas"].as_object_mut();
        for (name, schema) in schemas.expect("schemas") {
            close(schema, parts.contains(&name.as_str().into()));
        }
        close(&mut json["paths"], false);
        Document {
            json,
            validators: Mutex::default(),
        }
    }

    /// Returns the value at a JSON pointer.
    pub fn at(&self, pointer: &str) -> &Value {
        let found = self.json.pointer(pointer);
        found.unwrap_or_else(|| panic!("nothing at {pointer}"))
    }

    /// Returns the value at a JSON pointer, following references, and the pointer to the value.
    pub fn resolve<'a>(&'a self, pointer: &str) -> (String, &'a Value) {
        let found = self.at(pointer);
        match found["$ref"].as_str() {
            Some(to) => self.resolve(to.trim_start_matches('#')),
            None => (pointer.to_owned(), found),
        }
    }

    /// Returns the validator of the schema at a JSON pointer.
    fn validator(&self, pointer: &str) -> Arc<Validator> {
        let mut validators = self.validators.lock().expect("no test has panicked here");
        let validator = validators.entry(pointer.to_owned()).or_insert_with(|| {
            let schema = json!({
                "components": self.json["components"],
                "allOf": [self.at(pointer)],
            });
            Arc::new(jsonschema::validator_for(&schema).expect("a schema"))
        });
        validator.clone()
    }

    /// Returns the errors of `value` under the schema at a JSON pointer.
    pub fn wrong(&self, pointer: &str, value: &Value) -> Vec<String> {
        let validator = self.validator(pointer);
        let errors = validator.iter_errors(value);
        errors
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect()
    }
}

/// Returns the names of the schemas that other schemas include by `allOf`. Such a schema is closed
/// where it is included, because it describes only a part of the object.
fn parts_of_others(json: &Value) -> Vec<Value> {
    let mut parts = Vec::new();
    for schema in json["components"]["schemas"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let all_of = schema.1["allOf"].as_array();
        parts.extend(all_of.into_iter().flatten().filter_map(|part| {
            let name = part["$ref"].as_str()?.rsplit('/').next()?;
            Some(Value::from(name))
        }));
    }
    parts
}

/// Closes the objects of a schema to undocumented fields, including nested objects.
fn close(schema: &mut Value, is_part: bool) {
    match schema {
        Value::Object(object) => {
            close_one(object, is_part);
            for inner in object.values_mut() {
                close(inner, false);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|inner| close(inner, false)),
        _ => {}
    }
}

fn close_one(object: &mut Map<String, Value>, is_part: bool) {
    let is_object = object.get("type") == Some(&json!("object"));
    let has_properties = object.get("properties").is_some_and(Value::is_object);
    if is_object && has_properties && !is_part && !object.contains_key("additionalProperties") {
        object.insert("unevaluatedProperties".to_owned(), json!(false));
    }
}
