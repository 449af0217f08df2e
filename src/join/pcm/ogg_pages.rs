//! Finds the intact pages of an Ogg file (RFC 3533) and skips everything between them.
//!
//! The packet reader of the `ogg` crate stops at the first page that is damaged, missing or cut,
//! and at a second stream of the same serial number, which `cat a.opus a.opus` makes. Therefore
//! this module searches for pages; the crate checks each page and reads its packets.

use std::io::{self, Read, Seek};

use ogg::Packet;
use ogg::reading::{BasePacketReader, OggPage, PageParser};

/// The pages of a file, in order.
pub(super) struct Pages<R> {
    reader: R,
    /// Bytes that have been read and not used yet.
    window: Vec<u8>,
    /// Where in the window the next page may begin.
    at: usize,
}

/// An intact page.
pub(super) struct Page {
    /// Serial number of the page's stream.
    pub(super) serial: u32,
    /// Sequence number within the stream.
    number: u32,
    /// Whether the page is the first of its stream.
    pub(super) is_first: bool,
    /// Whether a packet ends in the page.
    ends_packet: bool,
    /// The payload of the page.
    pub(super) body: Vec<u8>,
    parsed: OggPage,
}

impl<R: Read> Pages<R> {
    pub(super) fn new(reader: R) -> Pages<R> {
        Pages {
            reader,
            window: Vec::new(),
            at: 0,
        }
    }

    /// Returns the next intact page; `None` at the end of the file. Damaged and cut pages are
    /// skipped.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn next_page(&mut self) -> io::Result<Option<Page>> {
        loop {
            if self.fill(HEADER_BYTES)?.len() < HEADER_BYTES {
                return Ok(None);
            }
            let waiting = &self.window[self.at..];
            if !waiting.starts_with(MAGIC) {
                let next = waiting.windows(MAGIC.len()).position(|four| four == MAGIC);
                // The end of the bytes read so far may be the start of the capture pattern.
                self.at += next.unwrap_or(waiting.len() - (MAGIC.len() - 1));
                continue;
            }
            if let Some(page) = self.parse()? {
                return Ok(Some(page));
            }
            // A damaged length field may have spanned whole pages, so the search continues within
            // them.
            self.at += MAGIC.len();
        }
    }

    /// Returns the page that begins at the current position, if it is intact.
    fn parse(&mut self) -> io::Result<Option<Page>> {
        let header = self.fill(HEADER_BYTES)?;
        let Some(header) = header.first_chunk::<HEADER_BYTES>().copied() else {
            return Ok(None);
        };
        let Ok((mut parser, segments)) = PageParser::new(header) else {
            return Ok(None);
        };
        let head_bytes = HEADER_BYTES + segments;
        let Some(segments) = self.fill(head_bytes)?.get(HEADER_BYTES..head_bytes) else {
            return Ok(None);
        };
        let ends_packet = segments.iter().any(|bytes| *bytes < 255);
        let page_bytes = head_bytes + parser.parse_segments(segments.to_vec());
        let Some(body) = self.fill(page_bytes)?.get(head_bytes..page_bytes) else {
            return Ok(None);
        };
        let body = body.to_vec();
        let Ok(parsed) = parser.parse_packet_data(body.clone()) else {
            return Ok(None);
        };
        self.at += page_bytes;
        let u32_at = |at: usize| {
            let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            u32::from_le_bytes(bytes)
        };
        Ok(Some(Page {
            serial: u32_at(14),
            number: u32_at(18),
            is_first: header[5] & 0x02 != 0,
            ends_packet,
            body,
            parsed,
        }))
    }

    /// Returns the bytes from the current position on, at least `bytes` of them unless the file
    /// ends before.
    fn fill(&mut self, bytes: usize) -> io::Result<&[u8]> {
        let waiting = self.window.len() - self.at;
        if waiting < bytes {
            self.window.drain(..self.at);
            self.at = 0;
            let wanted = (bytes - waiting).max(READ_BYTES) as u64;
            (&mut self.reader)
                .take(wanted)
                .read_to_end(&mut self.window)?;
        }
        Ok(&self.window[self.at..])
    }
}

impl<R: Read + Seek> Pages<R> {
    /// Returns to the start of the file.
    ///
    /// # Errors
    /// The system's error.
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        self.window.clear();
        self.at = 0;
        self.reader.rewind()
    }
}

/// The packets of one stream.
pub(super) struct Packets {
    reader: BasePacketReader,
    /// Sequence number of the latest page.
    number: Option<u32>,
    /// Bytes of a packet that continues on the next page.
    open_bytes: usize,
}

impl Packets {
    pub(super) fn new() -> Packets {
        Packets {
            reader: tolerant_reader(),
            number: None,
            open_bytes: 0,
        }
    }

    /// Adds the stream's next page; returns `true` if pages before it are missing.
    pub(super) fn push(&mut self, page: Page) -> bool {
        let missed = (self.number).is_some_and(|last| page.number != last.wrapping_add(1));
        self.number = Some(page.number);
        self.open_bytes = match page.ends_packet {
            true => 0,
            false => self.open_bytes + page.body.len(),
        };
        if missed || self.open_bytes > MAX_OPEN_BYTES {
            // A packet that began before the gap has no end.
            self.reader = tolerant_reader();
            self.open_bytes = 0;
        }
        if self.reader.push_page(page.parsed).is_err() {
            // A page that claims to begin the stream again has no usable content.
            self.reader = tolerant_reader();
        }
        missed
    }

    /// Returns the next packet that ends in the latest page.
    pub(super) fn next_packet(&mut self) -> Option<Packet> {
        self.reader.read_packet()
    }
}

/// Returns a reader that accepts any page as its first, and skips the end of a packet whose start
/// is missing.
fn tolerant_reader() -> BasePacketReader {
    let mut reader = BasePacketReader::new();
    reader.update_after_seek();
    reader
}

/// The capture pattern of every page.
const MAGIC: &[u8] = b"OggS";

/// Bytes of a page header before its segment table.
const HEADER_BYTES: usize = 27;

/// Bytes read at a time, unless more are needed.
const READ_BYTES: usize = 8_192;

/// The most bytes of a packet that continues over several pages. An Opus packet has at most 62 kB;
/// a comment header with pictures may have more but is not needed.
const MAX_OPEN_BYTES: usize = 1 << 20;
