//! Names of rooms and of people, checked once where they come in.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// Longest name, in characters.
const MAX_CHARS: usize = 64;

/// The name of a room: 1 to 64 of `A-Z a-z 0-9 . _ -`, not starting with a dot, so that it can stand in a URL or a file
/// name as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(Arc<str>);

/// A name no room can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "A room's name is 1 to 64 letters, digits, dots, dashes or underscores and does not start with a dot."
)]
pub struct RoomNameError;

impl RoomName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`RoomNameError`] says what a name may be.
    pub fn parse(text: &str) -> Result<RoomName, RoomNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let good = (1..=MAX_CHARS).contains(&text.len())
            && !text.starts_with('.')
            && text.bytes().all(allowed);
        if good {
            Ok(RoomName(text.into()))
        } else {
            Err(RoomNameError)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RoomName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The name of a person: 1 to 64 characters after trimming, none of which controls the text around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// A name nobody can have. Its text is meant for the one who chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing left after trimming.
    #[error("A name must have at least one visible character.")]
    Empty,
    /// Too long.
    #[error("A name may have at most 64 characters, this one has {got_chars}.")]
    TooLong {
        /// Its length.
        got_chars: usize,
    },
    /// Line breaks, control or direction characters.
    #[error(
        "A name must not hold line breaks, control characters or characters that change the direction of writing."
    )]
    Control,
}

impl Name {
    /// Trims and checks a name.
    ///
    /// # Errors
    /// [`NameError`] says why nobody can have it.
    pub fn parse(text: &str) -> Result<Name, NameError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        let got_chars = text.chars().count();
        if got_chars > MAX_CHARS {
            return Err(NameError::TooLong { got_chars });
        }
        if text.chars().any(controls_text) {
            return Err(NameError::Control);
        }
        Ok(Name(text.to_owned()))
    }

    /// The name.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Whether a character would act on the text around it instead of standing in it: a log line must stay one line, and a
/// list of people must not be turned around by one of them (Unicode Standard Annex 9).
fn controls_text(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061c}' | '\u{200e}' | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_names_are_plain() {
        for good in ["lobby", "a", "Team-7_b.c", &"x".repeat(64)] {
            assert!(RoomName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "a b",
            "a/b",
            "%2e%2e",
            "ä",
            "a\0",
            &"x".repeat(65),
        ] {
            assert!(RoomName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_trimmed_and_checked() {
        assert_eq!(
            Name::parse("  Ann Ä 李 ").map(Name::into_string),
            Ok("Ann Ä 李".into())
        );
        assert_eq!(Name::parse(" \t "), Err(NameError::Empty));
        assert_eq!(
            Name::parse(&"é".repeat(65)),
            Err(NameError::TooLong { got_chars: 65 })
        );
        assert!(Name::parse(&"é".repeat(64)).is_ok());
        for bad in [
            "a\nb",
            "a\r\nb",
            "a\0",
            "\u{202e}nnA",
            "a\u{2066}b",
            "a\u{7f}",
        ] {
            assert_eq!(Name::parse(bad), Err(NameError::Control), "{bad:?}");
        }
    }
}
