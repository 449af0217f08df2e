//! `application/trickle-ice-sdpfrag` (RFC 8840): a client's new ICE candidates or ICE restart, and
//! the server's answer to a restart.

use thiserror::Error;

use crate::conference::IceUpdate;

/// Maximum number of candidates kept of one fragment; the others are ignored (RFC 8445, 6.1.2.5).
pub const MAX_CANDIDATES: usize = 100;

/// A client's trickle ICE fragment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    /// First ICE user name fragment in the text; all media sections of a bundle share it.
    pub ufrag: Option<String>,
    /// ICE password that belongs to the user name fragment.
    pub pwd: Option<String>,
    /// Identifier (`a=mid`) of the media section that the candidates belong to.
    pub mid: Option<String>,
    /// Candidates without `a=`, for instance `candidate:1 1 udp 2130706431 192.0.2.1 5000 typ
    /// host`.
    pub candidates: Vec<String>,
    /// Whether the client has no further candidates.
    pub end_of_candidates: bool,
}

/// A text that is not a trickle ICE fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FragmentError {
    /// A line is not of the form `x=text`, or an ICE user name or password is malformed.
    #[error("line {line} of the SDP fragment is invalid")]
    Malformed {
        /// Number of the line, from 1.
        line: usize,
    },
    /// The fragment has no ICE attributes.
    #[error("the SDP fragment has neither candidates nor ICE credentials")]
    Empty,
}

/// Parses a fragment. Lines may end in CR LF or LF; lines without ICE attributes are ignored.
///
/// # Errors
/// [`FragmentError`] if a line is malformed, whose number it contains, or if no line has ICE
/// attributes.
pub fn parse(text: &str) -> Result<Fragment, FragmentError> {
    let mut fragment = Fragment::default();
    for (at, line) in text.lines().enumerate() {
        let malformed = FragmentError::Malformed { line: at + 1 };
        let line = line.trim_end();
        if line.is_empty() {
            continue;
        }
        let (kind, value) = line.split_once('=').ok_or(malformed)?;
        if kind.len() != 1 || !kind.is_ascii() {
            return Err(malformed);
        }
        if kind == "a" {
            fragment.attribute(value, malformed)?;
        }
    }
    if fragment == Fragment::default() {
        return Err(FragmentError::Empty);
    }
    Ok(fragment)
}

impl Fragment {
    fn attribute(
        &mut self,
        attribute: &str,
        malformed: FragmentError,
    ) -> Result<(), FragmentError> {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name {
            "ice-ufrag" => keep(&mut self.ufrag, value, 4, malformed),
            "ice-pwd" => keep(&mut self.pwd, value, 22, malformed),
            "mid" => {
                self.mid.get_or_insert_with(|| {
                    value
                        .chars()
                        .filter(char::is_ascii_graphic)
                        .take(32)
                        .collect()
                });
                Ok(())
            }
            "end-of-candidates" => {
                self.end_of_candidates = true;
                Ok(())
            }
            "candidate" => {
                if self.candidates.len() < MAX_CANDIDATES {
                    self.candidates.push(attribute.to_owned());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl From<Fragment> for IceUpdate {
    fn from(fragment: Fragment) -> IceUpdate {
        IceUpdate {
            ufrag: fragment.ufrag,
            pwd: fragment.pwd,
            candidates: fragment.candidates,
        }
    }
}

/// Writes the server's answer to an ICE restart: the server's credentials and all its candidates.
pub(super) fn write(ufrag: &str, pwd: &str, mid: &str, candidates: &[String]) -> String {
    let mut text = format!(
        "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pwd}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{mid}\r\n"
    );
    for candidate in candidates {
        let candidate = candidate.strip_prefix("a=").unwrap_or(candidate);
        text += &format!("a={candidate}\r\n");
    }
    text += "a=end-of-candidates\r\n";
    text
}

/// Stores an ICE credential in `slot` unless `slot` already has one.
///
/// An ICE credential has `min` to 256 of the characters `A-Z a-z 0-9 + /` (RFC 8839, 5.4). A dash
/// or an underscore, which some stacks use, is accepted too.
fn keep(
    slot: &mut Option<String>,
    value: &str,
    min: usize,
    malformed: FragmentError,
) -> Result<(), FragmentError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
    if !(min..=256).contains(&value.len()) || !value.bytes().all(allowed) {
        return Err(malformed);
    }
    slot.get_or_insert_with(|| value.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRICKLE: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\na=end-of-candidates\r\n";

    #[test]
    fn trickle_fragment_of_a_browser_is_parsed() {
        let fragment = parse(TRICKLE).expect("good");
        assert_eq!(fragment.ufrag.as_deref(), Some("EsAw"));
        assert_eq!(fragment.pwd.as_deref(), Some("P2uYro0UCOQ4zxjKXaWCBui1"));
        assert_eq!(fragment.mid.as_deref(), Some("0"));
        assert_eq!(fragment.candidates.len(), 1);
        assert!(fragment.candidates[0].starts_with("candidate:1387637174 1 udp"));
        assert!(fragment.end_of_candidates);
        assert_eq!(parse(&TRICKLE.replace("\r\n", "\n")), Ok(fragment));
    }

    #[test]
    fn trickle_fragment_parser_refuses_malformed_text() {
        let cases = [
            ("", FragmentError::Empty),
            ("m=audio 9 RTP/AVP 0\r\n", FragmentError::Empty),
            ("hello\r\n", FragmentError::Malformed { line: 1 }),
            ("a=mid:0\nab=c\n", FragmentError::Malformed { line: 2 }),
            ("a=ice-ufrag:abc\n", FragmentError::Malformed { line: 1 }),
            (
                "a=ice-ufrag:abc\u{7}d\n",
                FragmentError::Malformed { line: 1 },
            ),
            ("a=ice-pwd:short\n", FragmentError::Malformed { line: 1 }),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn trickle_fragment_parser_ignores_candidates_beyond_a_hundred() {
        let line = "a=candidate:1 1 udp 1 192.0.2.1 1 typ host\n";
        for (lines, kept) in [(100, 100), (101, 100), (1_000, 100)] {
            let fragment = parse(&line.repeat(lines)).expect("good");
            assert_eq!(fragment.candidates.len(), kept);
        }
    }

    #[test]
    fn written_trickle_fragment_is_parsed_again() {
        let candidates = ["candidate:1 1 udp 1 192.0.2.1 1 typ host".to_owned()];
        let text = write("abcd", "abcdefghijklmnopqrstuv", "audio", &candidates);
        let fragment = parse(&text).expect("our own");
        assert_eq!(fragment.candidates, candidates);
        assert_eq!(fragment.mid.as_deref(), Some("audio"));
        assert!(fragment.end_of_candidates);
    }

    proptest! {
        #[test]
        fn trickle_fragment_parser_never_panics(text in "(a=(ice-ufrag|ice-pwd|mid|candidate):?[ -~]{0,20}\r?\n|\\PC{0,30}\n){0,12}") {
            if let Ok(fragment) = parse(&text) {
                prop_assert!(fragment.candidates.len() <= MAX_CANDIDATES);
            }
        }
    }
}
