//! Chooses the codec of an answer: Opus, or else G.711 (RFC 3551) for clients that cannot afford
//! Opus.
//!
//! Opus is chosen wherever it is offered, even in a later position: clients that support Opus list
//! G.711 too, and Opus sounds better for an eighth of the bits. RFC 3264, section 6.1, lets the
//! answerer choose; a client that does not want Opus omits it. Between PCMU and PCMA the offer's
//! order decides.

use mixer::codec::Codec;

use super::lexer::{Lines, attributes_in};
use super::opus;

/// Chooses the codec of a section's answer; returns it with the client's payload type.
pub(super) fn choose(section: &Lines<'_>, formats: &[&str]) -> Option<(Codec, u8)> {
    let opus = opus::payload_type(section, formats).map(|payload_type| (Codec::Opus, payload_type));
    opus.or_else(|| formats.iter().find_map(|format| g711(section, format)))
}

/// Reads a G.711 format, given by its name, or without a name by payload type 0 or 8 (RFC 3551,
/// section 6); `None` for any other format.
fn g711(section: &Lines<'_>, format: &str) -> Option<(Codec, u8)> {
    let payload_type: u8 = format.parse().ok().filter(|&number| number < 128)?;
    let mut names = attributes_in(section, "rtpmap").filter_map(|map| {
        let (number, name) = map.split_once(' ')?;
        (number.parse() == Ok(payload_type)).then_some(name)
    });
    let codec = match (names.next(), payload_type) {
        (Some(name), _) => of_name(name)?,
        (None, 0) => Codec::Pcmu,
        (None, 8) => Codec::Pcma,
        (None, _) => return None,
    };
    Some((codec, payload_type))
}

/// Matches `PCMU/8000` or `PCMA/8000`, with or without the channel count of one.
fn of_name(name: &str) -> Option<Codec> {
    let name = name.trim().to_ascii_uppercase();
    match name.strip_suffix("/1").unwrap_or(&name) {
        "PCMU/8000" => Some(Codec::Pcmu),
        "PCMA/8000" => Some(Codec::Pcma),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codec_choice_falls_back_to_g711_only_without_opus() {
        let section: Lines<'_> = [
            "rtpmap:111 opus/48000/2",
            "rtpmap:0 PCMU/8000",
            "rtpmap:9 G722/8000",
            "rtpmap:97 pcma/8000/1",
            "rtpmap:98 PCMA/16000",
            "rtpmap:99 PCMU/8000/2",
            "rtpmap:13 CN/8000",
        ]
        .map(|line| (b'a', line))
        .into();
        for (formats, chosen) in [
            (&["0", "8", "111"][..], Some((Codec::Opus, 111))),
            (&["13", "9", "0", "8"], Some((Codec::Pcmu, 0))),
            // The payload type alone, without a name.
            (&["8", "0"], Some((Codec::Pcma, 8))),
            (&["97"], Some((Codec::Pcma, 97))),
            (&["98", "99", "9", "13", "18", "x", "-0", "300"], None),
        ] {
            assert_eq!(choose(&section, formats), chosen, "{formats:?}");
        }
    }
}
