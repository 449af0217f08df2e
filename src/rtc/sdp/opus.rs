//! Opus in an offer (RFC 7587): its payload type, and the limits that the receiving client sets.

use mixer::codec::ReceiverLimits;

use super::lexer::{Lines, attribute_in, attributes_in};

/// The payload type of a section's first Opus format, in the offer's order of preference.
pub(super) fn payload_type(section: &Lines<'_>, formats: &[&str]) -> Option<u8> {
    formats.iter().find_map(|format| {
        let payload_type: u8 = format.parse().ok().filter(|&number| number < 128)?;
        attributes_in(section, "rtpmap")
            .filter_map(|map| map.split_once(' '))
            .any(|(number, codec)| number == *format && is_opus(codec))
            .then_some(payload_type)
    })
}

/// Whether a codec name is `opus/48000/2`, the only form that RFC 7587, section 7, allows, or is
/// the same without the channels.
fn is_opus(codec: &str) -> bool {
    let codec = codec.trim().to_ascii_lowercase();
    codec == "opus/48000/2" || codec == "opus/48000"
}

/// Reads the limits that the client sets for the stream it receives, from the format's `a=fmtp` and
/// the section's packet times.
///
/// Values outside of the ranges of RFC 7587, section 6.1, and unknown parameters are ignored.
pub(super) fn limits(section: &Lines<'_>, payload_type: u8) -> ReceiverLimits {
    let mut limits = ReceiverLimits::default();
    let fmtp = attributes_in(section, "fmtp").filter_map(|line| {
        let (number, parameters) = line.split_once(' ')?;
        (number.parse() == Ok(payload_type)).then_some(parameters)
    });
    for parameter in fmtp.flat_map(|parameters| parameters.split(';')) {
        let Some((name, value)) = parameter.split_once('=') else {
            continue;
        };
        let value = value.trim();
        let number = value.parse::<u32>().ok();
        let flag = value == "1";
        match name.trim().to_ascii_lowercase().as_str() {
            "maxplaybackrate" => {
                if let Some(rate) = number.filter(|rate| (8_000..=48_000).contains(rate)) {
                    limits.max_playback_rate_hz = rate;
                }
            }
            "maxaveragebitrate" => {
                let in_range = number.filter(|bitrate| (6_000..=510_000).contains(bitrate));
                limits.max_average_bitrate_bps = in_range.or(limits.max_average_bitrate_bps);
            }
            "stereo" => limits.stereo = flag,
            "useinbandfec" => limits.fec = flag,
            "usedtx" => limits.dtx = flag,
            "cbr" => limits.cbr = flag,
            _ => {}
        }
    }
    limits.ptime_ms = packet_time(section, "ptime");
    limits.max_ptime_ms = packet_time(section, "maxptime").unwrap_or(limits.max_ptime_ms);
    limits
}

/// Reads the packet time attribute `name`, 2.5 to 120 ms; fractions of a millisecond are rounded
/// up.
fn packet_time(section: &Lines<'_>, name: &str) -> Option<u32> {
    let ms: f32 = attribute_in(section, name)?.parse().ok()?;
    (2.5..=120.0).contains(&ms).then(|| ms.ceil() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(lines: &[&'static str]) -> Lines<'static> {
        lines.iter().map(|line| (b'a', *line)).collect()
    }

    #[test]
    fn opus_payload_type_follows_the_order_of_the_sections_formats() {
        let section = section(&[
            "rtpmap:0 PCMU/8000",
            "rtpmap:109 OPUS/48000/2",
            "rtpmap:111 opus/48000/2",
            "rtpmap:96 opus/16000/1",
            "rtpmap:200 opus/48000/2",
        ]);
        assert_eq!(
            payload_type(&section, &["200", "96", "0", "111", "109"]),
            Some(111)
        );
        assert_eq!(payload_type(&section, &["109", "111"]), Some(109));
        assert_eq!(payload_type(&section, &["0", "96", "200"]), None);
    }

    #[test]
    fn opus_receiver_limits_are_read_from_fmtp_and_packet_times() {
        let section = section(&[
            "fmtp:0 stereo=1",
            "fmtp:111 minptime=10; maxplaybackrate=16000;maxaveragebitrate=20000 ;useinbandfec=1;usedtx=1;cbr=0",
            "ptime:60",
            "maxptime:120",
        ]);
        let limits = limits(&section, 111);
        assert_eq!(limits.max_playback_rate_hz, 16_000);
        assert_eq!(limits.max_average_bitrate_bps, Some(20_000));
        assert!(limits.fec && limits.dtx && !limits.stereo && !limits.cbr);
        assert_eq!((limits.ptime_ms, limits.max_ptime_ms), (Some(60), 120));
    }

    #[test]
    fn opus_receiver_limits_ignore_values_out_of_range() {
        let section = section(&[
            "fmtp:111 maxplaybackrate=4000;maxaveragebitrate=5999;stereo=2;=;usedtx",
            "ptime:0",
            "maxptime:-3",
        ]);
        assert_eq!(limits(&section, 111), ReceiverLimits::default());
    }
}
