//! Splits SDP into lines, sections and attributes, within limits. No other grammar is enforced.

use super::error::OfferError;

/// Longest offer accepted, in bytes.
pub const MAX_OFFER_BYTES: usize = 64 * 1024;

/// Most media sections of an offer; a browser with a camera and a screen has four.
const MAX_SECTIONS: usize = 32;

/// The lines of the session part or of one media section, each as its type letter and its value.
pub(super) type Lines<'a> = Vec<(u8, &'a str)>;

/// Splits `sdp` into the session part and its media sections.
///
/// Line ends may be CRLF or LF. Text with lines other than `x=value` is not SDP.
pub(super) fn sections(sdp: &str) -> Result<(Lines<'_>, Vec<Lines<'_>>), OfferError> {
    if sdp.len() > MAX_OFFER_BYTES || !sdp.starts_with("v=0") {
        return Err(OfferError::Unparsable);
    }
    let mut session = Lines::new();
    let mut media: Vec<Lines<'_>> = Vec::new();
    for line in sdp.lines().filter(|line| !line.is_empty()) {
        let (&[kind, b'='], value) = line
            .as_bytes()
            .split_first_chunk::<2>()
            .map(|(head, _)| (head, line.get(2..)))
            .ok_or(OfferError::Unparsable)?
        else {
            return Err(OfferError::Unparsable);
        };
        let value = value.ok_or(OfferError::Unparsable)?.trim_end();
        if !kind.is_ascii_lowercase() || value.contains(|c: char| c.is_control() && c != '\t') {
            return Err(OfferError::Unparsable);
        }
        if kind == b'm' {
            if media.len() == MAX_SECTIONS {
                return Err(OfferError::Unsupported {
                    what: "more than 32 media sections",
                });
            }
            media.push(Lines::new());
        }
        media.last_mut().unwrap_or(&mut session).push((kind, value));
    }
    Ok((session, media))
}

/// The value of the first attribute `name` in `lines`; empty if the attribute has no value.
pub(super) fn attribute_in<'a>(lines: &[(u8, &'a str)], name: &str) -> Option<&'a str> {
    attributes_in(lines, name).next()
}

/// The values of all attributes `name` in `lines`.
pub(super) fn attributes_in<'a: 'b, 'b>(
    lines: &'b [(u8, &'a str)],
    name: &'b str,
) -> impl Iterator<Item = &'a str> + 'b {
    lines
        .iter()
        .filter(|(kind, _)| *kind == b'a')
        .filter_map(move |(_, value)| {
            let rest = value.strip_prefix(name)?;
            if rest.is_empty() {
                Some(rest)
            } else {
                rest.strip_prefix(':').map(str::trim)
            }
        })
}

/// The value of the first attribute `name` anywhere in `sdp`, which must be text of the core.
pub(in crate::rtc) fn attribute<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    sdp.lines().find_map(|line| {
        let value = line
            .strip_prefix("a=")?
            .strip_prefix(name)?
            .strip_prefix(':')?;
        Some(value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdp_lexer_splits_sections_and_finds_attributes() {
        let sdp = "v=0\r\na=setup:actpass\r\nm=audio 9 X 0\r\na=mid:0\na=sendrecv\n\nm=video 9 X 0\r\na=mid:1\r\n";
        let (session, media) = sections(sdp).expect("SDP");
        assert_eq!(attribute_in(&session, "setup"), Some("actpass"));
        assert_eq!(media.len(), 2);
        assert_eq!(attribute_in(&media[0], "sendrecv"), Some(""));
        assert_eq!(attribute_in(&media[0], "send"), None);
        assert_eq!(attribute_in(&media[1], "mid"), Some("1"));
    }

    #[test]
    fn sdp_lexer_rejects_text_that_is_not_sdp() {
        for text in [
            "",
            "{}",
            "v=1\r\n",
            "o=- 1 1\r\n",
            "v=0\r\nhello\r\n",
            "v=0\r\n=\r\n",
            "v=0\r\na=x\0y\r\n",
            "v=0\r\né=\r\n",
        ] {
            assert_eq!(
                sections(text).err(),
                Some(OfferError::Unparsable),
                "{text:?}"
            );
        }
        let long = format!("v=0\r\n{}", "a=x\r\n".repeat(20_000));
        assert_eq!(sections(&long).err(), Some(OfferError::Unparsable));
        let wide = format!("v=0\r\n{}", "m=audio 9 X 0\r\n".repeat(33));
        assert!(matches!(
            sections(&wide),
            Err(OfferError::Unsupported { .. })
        ));
    }
}
