//! Servers that accept a posted offer: mixminus, and all others that follow RFC 9725.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mixer::codec::Profile;
use reqwest::{Client, Url};

use super::{Seat, SeatKind, TargetError};
use crate::join::whip_client::{WhipEndpoint, WhipError};

/// A server that is reached over WHIP. `{room}` in the path of its URL stands for the room.
pub(super) struct Whip {
    url: Url,
    profile: Option<Profile>,
    http: Client,
    /// The endpoint of each room, kept because its HTTP connections stay open for the next join.
    rooms: Mutex<HashMap<String, WhipEndpoint>>,
}

impl Whip {
    pub(super) fn new(url: Url, profile: Option<Profile>) -> Result<Whip, TargetError> {
        // Installing the provider fails only if another one is installed, which then is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .timeout(ANSWER_TIME)
            .build()
            .map_err(WhipError::Setup)?;
        Ok(Whip {
            url,
            profile,
            http,
            rooms: Mutex::default(),
        })
    }

    pub(super) async fn join(
        &self,
        room: &str,
        offer: &str,
    ) -> Result<(String, Seat), TargetError> {
        let (session, answer) = self.room(room)?.join(offer.to_owned()).await?;
        Ok((answer, Seat(SeatKind::Whip(session))))
    }

    /// Creates a room or replaces its settings by `PUT` on the resource above its participants,
    /// which only mixminus supports.
    pub(super) async fn put_room(&self, room: &str, settings: String) -> Result<(), TargetError> {
        let mut url = self.url_of(room);
        let above = url.path().strip_suffix("/participants");
        let Some(path) = above.map(str::to_owned) else {
            return Err(TargetError::Unsupported {
                target: url.to_string(),
                what: "creating a room before a participant joins",
            });
        };
        url.set_path(&path);
        let failed = |reason| TargetError::Http {
            what: "creating a room",
            reason,
        };
        let response = self
            .http
            .put(url)
            .header("content-type", "application/json")
            .body(settings)
            .send()
            .await
            .map_err(|error| failed(error.to_string()))?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(failed(response.status().to_string()))
        }
    }

    pub(super) async fn metrics(&self) -> Option<String> {
        let url = self.url.join("/metrics").ok()?;
        let response = self.http.get(url).send().await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        response.text().await.ok()
    }

    fn room(&self, name: &str) -> Result<WhipEndpoint, WhipError> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(name) {
            return Ok(room.clone());
        }
        let profile = self.profile.map(Profile::name);
        let room = WhipEndpoint::new(self.url_of(name), None, profile, false)?;
        rooms.insert(name.to_owned(), room.clone());
        Ok(room)
    }

    /// Returns the URL to which offers for a room are posted, with the profile in its query.
    pub(super) fn asking_url_of(&self, room: &str) -> Url {
        let mut url = self.url_of(room);
        if let Some(profile) = self.profile {
            url.query_pairs_mut().append_pair("profile", profile.name());
        }
        url
    }

    pub(super) fn url_of(&self, room: &str) -> Url {
        let path = self.url.path();
        let path = path.replace("%7Broom%7D", room).replace("{room}", room);
        let mut url = self.url.clone();
        url.set_path(&path);
        url
    }
}

/// The time limit for a response; long because a server under full load answers slowly.
const ANSWER_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whip_url_contains_the_room() {
        let url = |text: &str| Url::parse(text).expect("a URL");
        let whip = Whip::new(url("http://h/v1/rooms/{room}/participants?a=b"), None).expect("HTTP");
        assert_eq!(
            whip.url_of("lobby").as_str(),
            "http://h/v1/rooms/lobby/participants?a=b"
        );
        let asking = Whip::new(url("http://h/{room}"), Some(Profile::Thin)).expect("HTTP");
        assert_eq!(
            asking.asking_url_of("a").as_str(),
            "http://h/a?profile=thin"
        );
        let fixed = Whip::new(url("http://h/whip"), None).expect("HTTP");
        assert_eq!(fixed.url_of("lobby").as_str(), "http://h/whip");
    }
}
