//! Reading Ogg Opus files as they occur: damaged, truncated, concatenated, and with other channel
//! mappings.

use std::io::Cursor;
use std::ops::Range;

use ogg::{PacketWriteEndInfo, PacketWriter};
use opus::{Application, Channels, Encoder, MSEncoder};
use proptest::prelude::*;

use super::super::ogg_out::tests::record;
use super::super::read_all;
use super::super::tones::{amplitude, sine};
use super::*;

fn play(bytes: &[u8]) -> Result<Vec<f32>, PcmError> {
    read_all(&mut OggSource::new(Cursor::new(bytes))?)
}

/// Returns the ranges of the pages of an intact file.
fn pages(file: &[u8]) -> Vec<Range<usize>> {
    let mut pages = Vec::new();
    let mut at = 0;
    while at < file.len() {
        let segments = &file[at + 27..at + 27 + usize::from(file[at + 26])];
        let body: usize = segments.iter().map(|bytes| usize::from(*bytes)).sum();
        let end = at + 27 + segments.len() + body;
        pages.push(at..end);
        at = end;
    }
    pages
}

/// Returns the number of packets that end in a page.
fn packets_of(page: &[u8]) -> usize {
    let segments = &page[27..27 + usize::from(page[26])];
    segments.iter().filter(|bytes| **bytes < 255).count()
}

/// Returns a file with this header and these packets of 20 ms as its only stream.
fn stream(head: &[u8], packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = PacketWriter::new(&mut file);
    let end = PacketWriteEndInfo::EndPage;
    writer.write_packet(head.to_vec(), 7, end, 0).unwrap();
    let tags = [&b"OpusTags"[..], &[0; 8]].concat();
    writer.write_packet(tags, 7, end, 0).unwrap();
    for (n, packet) in (1..).zip(packets) {
        let end = match n == packets.len() {
            true => PacketWriteEndInfo::EndStream,
            false => PacketWriteEndInfo::NormalPacket,
        };
        let position = n as u64 * 960;
        writer
            .write_packet(packet.clone(), 7, end, position)
            .unwrap();
    }
    file
}

/// Returns an identification header with this number of channels and channel mapping, without a
/// pre-skip.
fn head(channels: u8, family: u8, mapping: &[u8]) -> Vec<u8> {
    let mut head = b"OpusHead".to_vec();
    head.extend([1, channels, 0, 0]);
    head.extend(48_000u32.to_le_bytes());
    head.extend([0, 0, family]);
    head.extend(mapping);
    head
}

/// One second of a tone of amplitude 0.5, in packets of 20 ms.
fn tone(channels: Channels) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(48_000, channels, Application::Audio).unwrap();
    let pcm = sine(440.0, 48_000, 48_000);
    pcm.chunks(960)
        .map(|frame| {
            let frame: Vec<f32> = frame
                .iter()
                .flat_map(|sample| vec![*sample; channels as usize])
                .collect();
            encoder.encode_vec_float(&frame, 1_500).unwrap()
        })
        .collect()
}

#[test]
fn damaged_ogg_page_costs_only_its_own_packets() {
    let samples = 264_000;
    let file = record(&sine(440.0, 48_000, samples));
    assert_eq!(play(&file).unwrap().len(), samples);
    let pages = pages(&file);
    // The identification header and the comments have pages of their own.
    for (n, page) in pages.iter().enumerate().skip(1) {
        let lost = match n {
            1 => 0,
            _ => 960 * packets_of(&file[page.clone()]),
        };
        // The byte is in the pattern, the version, the position, the sequence number, the lengths
        // or the audio.
        for at in [0, 3, 4, 6, 18, 23, 26, 27, 40, page.len() - 1] {
            let mut damaged = file.clone();
            damaged[page.start + at] ^= 0x10;
            let pcm = play(&damaged).unwrap_or_else(|error| panic!("page {n}, byte {at}: {error}"));
            let expected = samples - lost;
            // If the page before the end of the stream is lost, the last packet is played whole.
            let most = match n + 2 >= pages.len() {
                true => expected + 960,
                false => expected,
            };
            let played = pcm.len();
            assert!(
                (expected..=most).contains(&played),
                "page {n}, byte {at}: {played}, not {expected}"
            );
            assert!((amplitude(&pcm[..48_000], 440.0) - 0.5).abs() < 0.1);
        }
    }
}

#[test]
fn missing_ogg_page_does_not_join_parts_of_different_packets() {
    // Each page holds 42 packets and a half: it ends in the middle of a packet.
    let packets: Vec<Vec<u8>> = (0..200u8).map(|n| vec![n; 1_275]).collect();
    let file = stream(&head(1, 0, &[]), &packets);
    let pages = pages(&file);
    assert!(pages.len() > 3);
    for page in &pages[2..pages.len() - 1] {
        let without = [&file[..page.start], &file[page.end..]].concat();
        let mut all = Pages::new(Cursor::new(without));
        let mut stream = Packets::new();
        while let Some(page) = all.next_page().unwrap() {
            stream.push(page);
            while let Some(packet) = stream.next_packet() {
                let is_whole = packet.data.starts_with(b"Opus") || packets.contains(&packet.data);
                assert!(is_whole, "{} bytes", packet.data.len());
            }
        }
    }
}

#[test]
fn truncated_ogg_file_ends_where_it_is_cut() {
    let samples = 100_000;
    let file = record(&sine(440.0, 48_000, samples));
    let start = pages(&file)[1].start;
    let mut played = 0;
    for length in (start..file.len()).step_by(61) {
        let pcm = play(&file[..length]).unwrap_or_else(|error| panic!("{length} bytes: {error}"));
        assert!(
            pcm.len() >= played && pcm.len() <= samples,
            "{length} bytes"
        );
        played = pcm.len();
    }
    assert!(played >= 48_000, "{played}");
}

#[test]
fn concatenated_ogg_streams_all_play() {
    let (first, second) = (
        record(&sine(440.0, 48_000, 60_000)),
        record(&sine(440.0, 48_000, 30_000)),
    );
    // Concatenating a file with itself repeats its serial number.
    for (files, samples) in [
        (vec![&first, &second], 90_000),
        (vec![&first, &first], 120_000),
        (vec![&second, &first, &second], 120_000),
    ] {
        let files: Vec<u8> = files.into_iter().flatten().copied().collect();
        let mut source = OggSource::new(Cursor::new(files)).unwrap();
        for _ in 0..2 {
            assert_eq!(read_all(&mut source).unwrap().len(), samples);
            assert!(source.rewind().unwrap());
        }
    }
    // The first file is cut within its second page of audio.
    let cut = pages(&first)[3].start + 100;
    let file = [&first[..cut], &second].concat();
    let samples = play(&file).unwrap().len();
    assert!((77_000..78_001).contains(&samples), "{samples}");
}

#[test]
fn parallel_ogg_stream_is_skipped() {
    let (first, second) = (
        record(&sine(440.0, 48_000, 100_000)),
        record(&sine(1_000.0, 48_000, 100_000)),
    );
    let (ours, theirs) = (pages(&first), pages(&second));
    let mut file = Vec::new();
    for (our, their) in ours.iter().zip(&theirs) {
        file.extend(&first[our.clone()]);
        file.extend(&second[their.clone()]);
    }
    let pcm = play(&file).unwrap();
    assert_eq!(pcm.len(), 100_000);
    assert!((amplitude(&pcm[..48_000], 440.0) - 0.5).abs() < 0.05);
    assert!(amplitude(&pcm[..48_000], 1_000.0) < 0.01);
}

#[test]
fn ogg_opus_mono_and_stereo_of_mapping_families_0_and_1_play() {
    let (mono, stereo) = (tone(Channels::Mono), tone(Channels::Stereo));
    for (head, packets, expected) in [
        (head(1, 0, &[]), &mono, 0.5),
        (head(2, 0, &[]), &stereo, 0.5),
        (head(1, 1, &[1, 0, 0]), &mono, 0.5),
        (head(2, 1, &[1, 1, 0, 1]), &stereo, 0.5),
        (head(2, 1, &[1, 1, 1, 0]), &stereo, 0.5),
        (head(2, 1, &[1, 0, 0, 0]), &mono, 0.5),
        // One of the two channels is silent.
        (head(2, 1, &[1, 0, 0, 255]), &mono, 0.25),
    ] {
        let pcm = play(&stream(&head, packets)).unwrap();
        assert_eq!(pcm.len(), 48_000, "{head:?}");
        let level = amplitude(&pcm[4_800..], 440.0);
        assert!((level - expected).abs() < 0.03, "{head:?}: {level}");
    }
    // Two streams of one channel each, with a tone each.
    let mut encoder = MSEncoder::new(48_000, 2, 0, &[0, 1], Application::Audio).unwrap();
    let tones = sine(440.0, 48_000, 48_000)
        .into_iter()
        .zip(sine(1_000.0, 48_000, 48_000));
    let pcm: Vec<f32> = tones.flat_map(|(left, right)| [left, right]).collect();
    let packets: Vec<Vec<u8>> = pcm
        .chunks(1_920)
        .map(|frame| encoder.encode_vec_float(frame, 3_000).unwrap())
        .collect();
    let pcm = play(&stream(&head(2, 1, &[2, 0, 0, 1]), &packets)).unwrap();
    for hz in [440.0, 1_000.0] {
        let level = amplitude(&pcm[4_800..], hz);
        assert!((level - 0.25).abs() < 0.03, "{hz} Hz: {level}");
    }
}

#[test]
fn unplayable_ogg_file_is_refused_with_the_reason() {
    let mut version = head(1, 0, &[]);
    version[8] = 16;
    for (head, what) in [
        (
            head(7, 1, &[4, 3, 0, 1, 2, 3, 4, 5, 6]),
            "7 channels of mapping family 1",
        ),
        (head(3, 0, &[]), "3 channels of mapping family 0"),
        (
            head(2, 255, &[1, 1, 0, 1]),
            "2 channels of mapping family 255",
        ),
        (head(0, 0, &[]), "0 channels"),
        (
            head(2, 1, &[1, 1, 0]),
            "header of the Opus stream is broken",
        ),
        (
            head(2, 1, &[0, 0, 0, 1]),
            "header of the Opus stream is broken",
        ),
        (
            head(2, 1, &[1, 2, 0, 1]),
            "header of the Opus stream is broken",
        ),
        (
            head(2, 1, &[1, 1, 0, 9]),
            "header of the Opus stream is broken",
        ),
        (
            head(1, 0, &[])[..15].to_vec(),
            "header of the Opus stream is broken",
        ),
        (b"OpusHead".to_vec(), "header of the Opus stream is broken"),
        (version, "version 16"),
        (b"OpusNone".to_vec(), "no Opus stream"),
    ] {
        let error = play(&stream(&head, &[])).unwrap_err().to_string();
        assert!(error.contains(what), "{error}, not {what}");
    }
    assert!(
        play(&[])
            .unwrap_err()
            .to_string()
            .contains("no Opus stream")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// However a file is damaged, cut or incomplete, reading it causes no panic and no error after
    /// the header, and yields no more audio than the file holds.
    #[test]
    fn damaged_ogg_file_never_plays_more_than_it_holds(
        at in 0usize..9_000,
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        kept in 0usize..9_000,
        taken_out in 0usize..200,
    ) {
        let mut file = record(&sine(440.0, 48_000, 48_000));
        let at = at.min(file.len() - bytes.len());
        file[at..at + bytes.len()].copy_from_slice(&bytes);
        let gap = at.min(file.len() - taken_out);
        file.drain(gap..gap + taken_out);
        file.truncate(kept);
        if let Ok(mut source) = OggSource::new(Cursor::new(file)) {
            for _ in 0..2 {
                // The last packet counts whole if the page that trims it is lost.
                let samples = read_all(&mut source).unwrap().len();
                prop_assert!(samples < 48_000 + 960, "{samples}");
                prop_assert!(source.rewind().unwrap());
            }
        }
    }

    /// A checksum detects nearly all damage; here the checksum is valid and the content is damaged.
    #[test]
    fn ogg_file_with_valid_checksums_plays_at_most_what_its_packets_hold(
        place in 8usize..30,
        value: u8,
        family in prop::sample::select(vec![0u8, 1]),
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
    ) {
        let mut head = head(2, family, &[1, 1, 0, 1]);
        if let Some(byte) = head.get_mut(place) {
            *byte = value;
        }
        // An Opus packet holds at most 120 ms.
        let most = packets.len() * 5_760;
        if let Ok(mut source) = OggSource::new(Cursor::new(stream(&head, &packets))) {
            let pcm = read_all(&mut source).unwrap();
            prop_assert!(pcm.len() <= most, "{} of {most}", pcm.len());
        }
    }
}
