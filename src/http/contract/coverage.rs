//! Counts which fields and values of a schema are covered by a set of samples.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::document::Document;

/// The fields and enumeration values of each schema that samples have covered.
pub(super) struct Coverage<'a> {
    document: &'a Document,
    objects: BTreeMap<String, SeenObject>,
    words: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Default)]
struct SeenObject {
    count: usize,
    fields: BTreeMap<String, usize>,
}

impl<'a> Coverage<'a> {
    pub(super) fn new(document: &'a Document) -> Coverage<'a> {
        Coverage {
            document,
            objects: BTreeMap::new(),
            words: BTreeMap::new(),
        }
    }

    /// Checks that a sample is valid under the schema at a JSON pointer, and counts the fields and
    /// values in the sample.
    pub(super) fn add(&mut self, pointer: &str, sample: &Value) {
        let wrong = self.document.wrong(pointer, sample);
        assert!(wrong.is_empty(), "{sample}: {wrong:#?}");
        self.walk(pointer, sample);
    }

    fn walk(&mut self, pointer: &str, sample: &Value) {
        let (pointer, schema) = self.document.resolve(pointer);
        for at in 0..schema["allOf"].as_array().map_or(0, Vec::len) {
            self.walk(&format!("{pointer}/allOf/{at}"), sample);
        }
        for at in 0..schema["oneOf"].as_array().map_or(0, Vec::len) {
            let alternative = format!("{pointer}/oneOf/{at}");
            if self.document.wrong(&alternative, sample).is_empty() {
                self.walk(&alternative, sample);
            }
        }
        if schema["enum"].is_array() {
            let word = sample.to_string();
            self.words.entry(pointer.clone()).or_default().insert(word);
        }
        if let (Some(fields), Some(sample)) = (schema["properties"].as_object(), sample.as_object())
        {
            self.objects.entry(pointer.clone()).or_default().count += 1;
            for field in fields.keys() {
                let Some(value) = sample.get(field) else {
                    continue;
                };
                let seen = self.objects.entry(pointer.clone()).or_default();
                *seen.fields.entry(field.clone()).or_default() += 1;
                self.walk(&format!("{pointer}/properties/{field}"), value);
            }
        }
        if let (true, Some(sample)) = (schema["items"].is_object(), sample.as_array()) {
            for value in sample {
                self.walk(&format!("{pointer}/items"), value);
            }
        }
    }

    /// Returns what the document promises but no sample has shown, and the fields that are present
    /// or absent in samples in contradiction to `required`.
    pub(super) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (pointer, seen) in &self.objects {
            let schema = self.document.at(pointer);
            let required = schema["required"].as_array().into_iter().flatten();
            let required: BTreeSet<&str> = required.filter_map(Value::as_str).collect();
            for field in schema["properties"].as_object().into_iter().flatten() {
                let field = field.0.as_str();
                let count = seen.fields.get(field).copied().unwrap_or(0);
                if count == 0 {
                    missing.push(format!("{pointer}: no sample has {field}"));
                } else if (count == seen.count) != required.contains(field) {
                    let of = seen.count;
                    missing.push(format!("{pointer}: {count} of {of} samples have {field}"));
                }
            }
        }
        for (pointer, seen) in &self.words {
            let words = self.document.at(pointer)["enum"].as_array();
            let unseen = words.into_iter().flatten().map(Value::to_string);
            for word in unseen.filter(|word| !seen.contains(word)) {
                missing.push(format!("{pointer}: no sample has {word}"));
            }
        }
        missing
    }
}
