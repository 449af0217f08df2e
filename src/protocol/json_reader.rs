//! Reads a JSON object field by field, so that every mistake gets an error text written in this
//! project.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use thiserror::Error;

/// A mistake in a JSON message. Its text, written as a sentence, is meant for the sender.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Invalid {
    /// The message is not valid JSON, has a number that cannot be represented, or is nested too
    /// deeply.
    #[error("the message is not valid JSON")]
    NotJson,
    /// The message is valid JSON, but not an object.
    #[error("the message must be a JSON object")]
    NotObject,
    /// A required field is missing.
    #[error("the field \"{key}\" is missing")]
    Missing {
        /// Name of the field.
        key: &'static str,
    },
    /// A field has the wrong type.
    #[error("the field \"{key}\" must be {expected}")]
    WrongType {
        /// Name of the field.
        key: &'static str,
        /// The expected type.
        expected: &'static str,
    },
    /// A number is outside its range.
    #[error("the field \"{key}\" must be from {min} to {max}, not {got}")]
    OutOfRange {
        /// Name of the field.
        key: &'static str,
        /// Smallest allowed value.
        min: f64,
        /// Largest allowed value.
        max: f64,
        /// The value of the field.
        got: f64,
    },
    /// A text is not one of the allowed words.
    #[error("the field \"{key}\" must be one of: {allowed}")]
    NotOneOf {
        /// Name of the field.
        key: &'static str,
        /// The allowed words.
        allowed: String,
    },
    /// A field is not known; unknown fields are refused.
    #[error("unknown field \"{key}\"")]
    Unknown {
        /// Name of the field, shortened to 32 characters.
        key: String,
    },
    /// A list is too long.
    #[error("the list \"{key}\" may have at most {limit} entries, this one has {entries}")]
    TooMany {
        /// Name of the field.
        key: &'static str,
        /// Maximum number of entries.
        limit: usize,
        /// Number of entries of the list.
        entries: usize,
    },
    /// A room is listed twice.
    #[error("the room {room} is listed twice")]
    Twice {
        /// The room that is listed twice.
        room: super::RoomName,
    },
    /// A participant's name is not allowed.
    #[error(transparent)]
    Name(#[from] super::NameError),
    /// A room's name is not allowed.
    #[error(transparent)]
    RoomName(#[from] super::RoomNameError),
}

/// Reads a JSON object: each method takes one field out of it, and a field left over at the end is
/// a mistake.
#[derive(Debug, Clone)]
pub struct JsonReader {
    object: Map<String, Value>,
}

impl JsonReader {
    /// Parses one JSON object.
    ///
    /// # Errors
    /// [`Invalid::NotJson`] or [`Invalid::NotObject`].
    pub fn parse(text: &[u8]) -> Result<JsonReader, Invalid> {
        match serde_json::from_slice(text) {
            Ok(Value::Object(object)) => Ok(JsonReader { object }),
            Ok(_) => Err(Invalid::NotObject),
            Err(_) => Err(Invalid::NotJson),
        }
    }

    /// Starts reading an object that is nested in another.
    ///
    /// # Errors
    /// [`Invalid::NotObject`].
    pub fn of(value: Value) -> Result<JsonReader, Invalid> {
        match value {
            Value::Object(object) => Ok(JsonReader { object }),
            _ => Err(Invalid::NotObject),
        }
    }

    /// Takes a field that must be a list of at most `limit` entries; `None` if it is absent.
    ///
    /// # Errors
    /// [`Invalid::WrongType`] and [`Invalid::TooMany`].
    pub fn list(&mut self, key: &'static str, limit: usize) -> Result<Option<Vec<Value>>, Invalid> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Array(list)) if list.len() <= limit => Ok(Some(list)),
            Some(Value::Array(list)) => Err(Invalid::TooMany {
                key,
                limit,
                entries: list.len(),
            }),
            Some(_) => Err(Invalid::WrongType {
                key,
                expected: "a list",
            }),
        }
    }

    /// Takes a field of any type; `None` if it is absent.
    pub fn value(&mut self, key: &'static str) -> Option<Value> {
        #[cfg(test)]
        asked::note(key);
        self.object.remove(key)
    }

    /// Takes a field that must be a string; `None` if it is absent.
    ///
    /// # Errors
    /// [`Invalid::WrongType`] for any other type.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>, Invalid> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Invalid::WrongType {
                key,
                expected: "a string",
            }),
        }
    }

    /// Takes a field that must be a boolean; `None` if it is absent.
    ///
    /// # Errors
    /// [`Invalid::WrongType`] for any other type.
    pub fn boolean(&mut self, key: &'static str) -> Result<Option<bool>, Invalid> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(Invalid::WrongType {
                key,
                expected: "true or false",
            }),
        }
    }

    /// Takes a field that must be a number within `range`; `None` if it is absent.
    ///
    /// # Errors
    /// [`Invalid::WrongType`] and [`Invalid::OutOfRange`].
    pub fn number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f32>,
    ) -> Result<Option<f32>, Invalid> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let number = value.as_f64().ok_or(Invalid::WrongType {
            key,
            expected: "a number",
        })?;
        if number.is_nan() || number < f64::from(*range.start()) || number > f64::from(*range.end())
        {
            return Err(out_of_range(key, number, *range.start(), *range.end()));
        }
        Ok(Some(number as f32))
    }

    /// Takes a field that must be a whole number within `range`; `None` if it is absent.
    ///
    /// # Errors
    /// [`Invalid::WrongType`] and [`Invalid::OutOfRange`].
    pub fn integer(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
    ) -> Result<Option<u32>, Invalid> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let got = value.as_f64().filter(|_| !value.is_f64());
        let got = got.ok_or(Invalid::WrongType {
            key,
            expected: "a whole number",
        })?;
        value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number))
            .map(Some)
            .ok_or_else(|| out_of_range(key, got, *range.start(), *range.end()))
    }

    /// Takes a field that must be one of the words in `words`, and returns the value that goes with
    /// the word; `None` if the field is absent.
    ///
    /// # Errors
    /// [`Invalid::WrongType`] and [`Invalid::NotOneOf`].
    pub fn one_of<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, Invalid> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| Some(*value))
            .ok_or_else(|| Invalid::NotOneOf {
                key,
                allowed: list(words),
            })
    }

    /// Takes a field, with `take`, that may also be `null`: `None` if absent, `Some(None)` for
    /// `null`.
    ///
    /// # Errors
    /// The errors of `take`.
    pub fn nullable<T>(
        &mut self,
        key: &'static str,
        take: impl FnOnce(&mut JsonReader, &'static str) -> Result<Option<T>, Invalid>,
    ) -> Result<Option<Option<T>>, Invalid> {
        if self.object.get(key) == Some(&Value::Null) {
            self.value(key);
            return Ok(Some(None));
        }
        Ok(take(self, key)?.map(Some))
    }

    /// Ends the reading of the object, which fails if a field was not taken.
    ///
    /// # Errors
    /// [`Invalid::Unknown`] with the name of a field that was not taken.
    pub fn finish(self) -> Result<(), Invalid> {
        match self.object.into_iter().next() {
            None => Ok(()),
            Some((key, _)) => Err(Invalid::Unknown {
                key: key.chars().filter(|c| !c.is_control()).take(32).collect(),
            }),
        }
    }
}

/// Joins the words of a list with commas, for an error text.
pub(super) fn list<T>(words: &[(&str, T)]) -> String {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    words.join(", ")
}

fn out_of_range<N: Into<f64>>(key: &'static str, got: f64, min: N, max: N) -> Invalid {
    Invalid::OutOfRange {
        key,
        min: min.into(),
        max: max.into(),
        got,
    }
}

/// Records which fields are read, for tests that compare them with the documentation.
#[cfg(test)]
pub(crate) mod asked {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static KEYS: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(super) fn note(key: &'static str) {
        KEYS.with_borrow_mut(|keys| keys.insert(key));
    }

    /// Returns the fields that are read while `read` runs.
    pub(crate) fn during(read: impl FnOnce()) -> BTreeSet<&'static str> {
        KEYS.take();
        read();
        KEYS.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_reader_checks_number_types_and_ranges() {
        let mut fields =
            JsonReader::parse(br#"{"a":1,"b":-0,"c":1.5,"d":9223372036854775808,"e":-3}"#)
                .expect("good");
        assert_eq!(fields.integer("a", 1..=2), Ok(Some(1)));
        assert_eq!(fields.number("b", 0.0..=1.0), Ok(Some(0.0)));
        assert!(matches!(
            fields.integer("c", 0..=9),
            Err(Invalid::WrongType { .. })
        ));
        assert!(matches!(
            fields.integer("d", 0..=9),
            Err(Invalid::OutOfRange { .. })
        ));
        assert!(matches!(
            fields.integer("e", 0..=9),
            Err(Invalid::OutOfRange { .. })
        ));
        assert_eq!(fields.integer("f", 0..=9), Ok(None));
        assert_eq!(fields.finish(), Ok(()));
    }

    #[test]
    fn json_reader_refuses_deeply_nested_and_broken_json() {
        let deep = "[".repeat(10_000);
        for text in [deep.as_str(), "{", "{\"a\":1e400}", "\u{0}", "{\"a\":NaN}"] {
            assert!(matches!(
                JsonReader::parse(text.as_bytes()),
                Err(Invalid::NotJson)
            ));
        }
        assert!(matches!(
            JsonReader::parse(b"\xff\xfe"),
            Err(Invalid::NotJson)
        ));
        assert!(matches!(JsonReader::parse(b"3"), Err(Invalid::NotObject)));
    }

    #[test]
    fn json_reader_errors_name_the_field() {
        let mut fields = JsonReader::parse(br#"{"gain_db":99,"x\ny":1}"#).expect("good");
        let error = fields
            .number("gain_db", -60.0..=12.0)
            .expect_err("too loud");
        assert_eq!(
            error.to_string(),
            "the field \"gain_db\" must be from -60 to 12, not 99"
        );
        let error = fields.finish().expect_err("left over");
        assert_eq!(error.to_string(), "unknown field \"xy\"");
    }
}
