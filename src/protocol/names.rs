//! Names of rooms and of participants, checked once where they enter the server.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use thiserror::Error;

/// Maximum length of the name of a room or a participant, in characters.
const MAX_CHARS: usize = 64;

/// The name of a room: 1 to 64 of `A-Z a-z 0-9 . _ -`, not starting with a dot, so that it needs no
/// escaping in a URL or a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(Arc<str>);

/// The error for a text that is not allowed as the name of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a room name must have 1 to {MAX_CHARS} ASCII letters, digits, dots, dashes or underscores and must not start with a dot"
)]
pub struct RoomNameError;

impl RoomName {
    /// Parses the name of a room.
    ///
    /// # Errors
    /// [`RoomNameError`] describes the allowed names.
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

    /// Returns the name of the room as text.
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

/// The name of a participant: 1 to 64 characters after trimming, without control or direction
/// characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

/// Why a text is not allowed as the name of a participant. The error text is meant for the person
/// who chose the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NameError {
    /// The name is empty after trimming.
    #[error("a participant's name must have at least one visible character")]
    Empty,
    /// The name is too long.
    #[error(
        "a participant's name may have at most {MAX_CHARS} characters, this one has {got_chars}"
    )]
    TooLong {
        /// Length of the name, in characters.
        got_chars: usize,
    },
    /// The name contains line breaks, control characters or direction characters.
    #[error(
        "a participant's name must not contain line breaks, control characters or characters that change the text direction"
    )]
    Control,
}

impl Name {
    /// Trims and parses the name of a participant.
    ///
    /// # Errors
    /// [`NameError`] describes why the name is not allowed.
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

    /// Returns the name of the participant as text.
    pub fn into_string(self) -> String {
        self.0
    }
}

/// Returns whether a character would affect the text around it. A name must not break a log line in
/// two, nor reverse the direction of a list of names (Unicode Standard Annex 9).
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
    fn room_names_need_no_escaping_in_urls_and_file_names() {
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
    fn participant_names_are_trimmed_and_checked() {
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
