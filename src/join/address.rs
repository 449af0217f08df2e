//! Turns the address of a room, as a person types or pastes it, into the URL to which offers are
//! posted.

use reqwest::Url;
use thiserror::Error;

/// An address that names no room.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddressError {
    /// The text is no URL, or its scheme is not HTTP.
    #[error("invalid URL {given:?}: it must start with http:// or https:// and have a host")]
    NotHttp {
        /// The text that was given.
        given: String,
    },
    /// The URL leads to a server but names no room.
    #[error("the URL {given:?} names no room; use a URL such as {example}")]
    NoRoom {
        /// The URL that was given.
        given: String,
        /// An address that would be accepted.
        example: String,
    },
}

/// Returns the URL of a room's participants for an address that a person gives.
///
/// `http://host/v1/rooms/lobby/participants` is returned unchanged. `http://host/v1/rooms/lobby`
/// and the addresses of the page, `http://host/#room=lobby` or short `http://host/#lobby`, are
/// completed, also below the path prefix of a proxy. A query is kept.
///
/// # Errors
/// [`AddressError`] when the address names no room.
pub fn participants(given: &str) -> Result<Url, AddressError> {
    let mut url = Url::parse(given)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| AddressError::NotHttp {
            given: given.to_owned(),
        })?;
    let room = url
        .fragment()
        .map(|fragment| fragment.strip_prefix("room=").unwrap_or(fragment))
        .filter(|room| is_room(room))
        .map(str::to_owned);
    url.set_fragment(None);
    let mut path: Vec<String> = url
        .path_segments()
        .map(|segments| {
            segments
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default();
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    match (names.as_slice(), room) {
        ([.., "v1", "rooms", _, "participants"], None) => {}
        ([.., "v1", "rooms", _], None) => path.push("participants".to_owned()),
        (names, Some(room)) if !names.contains(&"v1") => {
            path.extend(["v1", "rooms", &room, "participants"].map(str::to_owned));
        }
        _ => {
            let mut example = url.clone();
            example.set_query(None);
            example.set_path("/v1/rooms/lobby/participants");
            return Err(AddressError::NoRoom {
                given: given.to_owned(),
                example: example.to_string(),
            });
        }
    }
    url.set_path(&format!("/{}", path.join("/")));
    Ok(url)
}

/// Returns the room's name in a URL that [`participants`] returned.
pub fn room_of(url: &Url) -> &str {
    let mut names = url.path().rsplit('/').skip(1);
    names.next().unwrap_or_default()
}

/// Whether the server accepts this name for a room.
pub(super) fn is_room(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_url_is_completed_to_the_url_of_its_participants() {
        for (given, expected) in [
            (
                "http://h:8080/v1/rooms/lobby/participants",
                "http://h:8080/v1/rooms/lobby/participants",
            ),
            (
                "http://h/v1/rooms/lobby/participants/",
                "http://h/v1/rooms/lobby/participants",
            ),
            (
                "http://h/v1/rooms/lobby",
                "http://h/v1/rooms/lobby/participants",
            ),
            (
                "https://h/v1/rooms/lobby/?x=1",
                "https://h/v1/rooms/lobby/participants?x=1",
            ),
            (
                "http://127.0.0.1:8080/#lobby",
                "http://127.0.0.1:8080/v1/rooms/lobby/participants",
            ),
            (
                "http://127.0.0.1:8080/#room=lobby",
                "http://127.0.0.1:8080/v1/rooms/lobby/participants",
            ),
            (
                "http://[::1]:8080#a.b-c",
                "http://[::1]:8080/v1/rooms/a.b-c/participants",
            ),
            (
                "https://h/voice/#lobby",
                "https://h/voice/v1/rooms/lobby/participants",
            ),
            (
                "https://h/voice/v1/rooms/lobby",
                "https://h/voice/v1/rooms/lobby/participants",
            ),
        ] {
            let url = participants(given);
            assert_eq!(
                url.clone().map(String::from),
                Ok(expected.to_owned()),
                "{given}"
            );
            let room = url.as_ref().map(room_of);
            assert!(room.is_ok_and(|room| ["lobby", "a.b-c"].contains(&room)));
        }
    }

    #[test]
    fn address_without_a_room_is_refused_with_an_example() {
        for given in [
            "",
            "lobby",
            "127.0.0.1:8080/v1/rooms/lobby",
            "ftp://h/v1/rooms/lobby",
            "http://",
        ] {
            let error = participants(given).unwrap_err();
            assert!(matches!(error, AddressError::NotHttp { .. }), "{given}");
        }
        for given in [
            "http://h:8080",
            "http://h:8080/lobby",
            "http://h:8080/#",
            "http://h:8080/#a room",
            "http://h:8080/#.hidden",
            "http://h:8080/#room=",
            "http://h:8080/#rooms=lobby",
            "http://h:8080/v1/rooms",
            "http://h:8080/v1/rooms/lobby/events",
            "http://h:8080/v1/rooms/lobby#other",
        ] {
            let error = participants(given).unwrap_err().to_string();
            assert!(
                error.ends_with("http://h:8080/v1/rooms/lobby/participants"),
                "{given}: {error}"
            );
        }
    }
}
