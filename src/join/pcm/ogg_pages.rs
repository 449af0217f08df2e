//! Finds the intact pages of an Ogg file (RFC 3533), whatever lies between them.
//!
//! The packet reader of the `ogg` crate gives up at the first page that is damaged, missing or cut, and
//! at a second stream of the same serial number, which `cat a.opus a.opus` makes. So the search for
//! pages is made here; the check of a page and the packets in it are the crate's.

use std::io::{self, Read, Seek};

use ogg::Packet;
use ogg::reading::{BasePacketReader, OggPage, PageParser};

/// The pages of a file, one after the other.
pub(super) struct Pages<R> {
    reader: R,
    /// What has been read and not been used yet.
    window: Vec<u8>,
    /// Where in the window the next page may begin.
    at: usize,
}

/// An intact page.
pub(super) struct Page {
    /// The stream it belongs to.
    pub(super) serial: u32,
    /// Its number within the stream.
    number: u32,
    /// Whether it is the first of its stream.
    pub(super) is_first: bool,
    /// Whether a packet ends in it.
    ends_packet: bool,
    /// What it holds.
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

    /// The next intact page; `None` at the end of the file. What is cut or damaged is passed over.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn next_page(&mut self) -> io::Result<Option<Page>> {
        loop {
            if self.fill(HEADER_BYTES)?.len() < HEADER_BYTES {
                return Ok(None);
            }
            let waiting = &self.window[self.at..];
            if !waiting.starts_with(MAGIC) {
                let next = waiting.windows(MAGIC.len()).position(|four| four == MAGIC);
                // The beginning of a pattern may end what has been read so far.
                self.at += next.unwrap_or(waiting.len() - (MAGIC.len() - 1));
                continue;
            }
            if let Some(page) = self.parse()? {
                return Ok(Some(page));
            }
            // A damaged length may have swallowed whole pages: look for them inside.
            self.at += MAGIC.len();
        }
    }

    /// Takes the page that begins here, if it is intact.
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

    /// What follows, at least `bytes` of it unless the file ends before.
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
    /// Goes back to the beginning of the file.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        self.window.clear();
        self.at = 0;
        self.reader.rewind()
    }
}

/// The packets of one stream.
pub(super) struct Packets {
    reader: BasePacketReader,
    /// The number of the page taken last.
    number: Option<u32>,
    /// Bytes of a packet that has not ended yet.
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

    /// Takes the stream's next page; `true` if pages before it are missing.
    pub(super) fn push(&mut self, page: Page) -> bool {
        let missed = (self.number).is_some_and(|last| page.number != last.wrapping_add(1));
        self.number = Some(page.number);
        self.open_bytes = match page.ends_packet {
            true => 0,
            false => self.open_bytes + page.body.len(),
        };
        if missed || self.open_bytes > MAX_OPEN_BYTES {
            // What was begun before has no end.
            self.reader = tolerant_reader();
            self.open_bytes = 0;
        }
        if self.reader.push_page(page.parsed).is_err() {
            // A page that claims to begin the stream once more: there is nothing in it for us.
            self.reader = tolerant_reader();
        }
        missed
    }

    /// The next packet that ends in the page pushed last.
    pub(super) fn next_packet(&mut self) -> Option<Packet> {
        self.reader.read_packet()
    }
}

/// A reader that takes any page as its first, and leaves out the end of a packet without a beginning.
fn tolerant_reader() -> BasePacketReader {
    let mut reader = BasePacketReader::new();
    reader.update_after_seek();
    reader
}

/// Begins every page.
const MAGIC: &[u8] = b"OggS";

/// Bytes before the list of segments.
const HEADER_BYTES: usize = 27;

/// Bytes read at a time, unless more are needed.
const READ_BYTES: usize = 8_192;

/// No packet of Opus has more than 62 kB, and the comments, with their pictures, are not needed.
const MAX_OPEN_BYTES: usize = 1 << 20;
