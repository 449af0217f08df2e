//! The attacks that `tests/hostile.rs` makes: datagrams from strangers, and packets of a malicious
//! participant.

use bytes::Bytes;

/// Datagrams of one kind from a stranger, sent one after the other.
pub struct Attack {
    pub name: &'static str,
    pub datagrams: Vec<Vec<u8>>,
    pub per_second: u32,
    /// A word in the label of the metric that counts the attack.
    pub counted_as: &'static str,
    pub is_dtls: bool,
}

/// RTP packets of one kind that an authenticated participant sends.
pub struct Abuse {
    pub name: &'static str,
    pub payloads: Vec<Vec<u8>>,
    pub packets_in_20_ms: u32,
    /// The step of the media time per packet, in samples.
    pub time_step: u32,
    pub is_undecodable: bool,
}

impl Abuse {
    /// Returns packet number `sent` of the attack.
    pub fn packet(&self, ssrc: u32, sent: u32) -> rtc::rtp::Packet {
        let payload = &self.payloads[sent as usize % self.payloads.len()];
        rtc::rtp::Packet {
            header: rtc::rtp::Header {
                version: 2,
                payload_type: 111,
                sequence_number: sent as u16,
                timestamp: sent.wrapping_mul(self.time_step),
                ssrc,
                ..Default::default()
            },
            payload: Bytes::copy_from_slice(payload),
        }
    }
}

pub fn of_strangers() -> Vec<Attack> {
    let alert = |level, description| {
        vec![
            0x15,
            0xfe,
            0xfd,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            2,
            level,
            description,
        ]
    };
    let attack = |name, per_second, datagrams, counted_as| Attack {
        name,
        datagrams,
        per_second,
        counted_as,
        is_dtls: false,
    };
    let dtls = |name, datagrams| Attack {
        is_dtls: true,
        ..attack(name, 1_000, datagrams, "stranger")
    };
    let random = noise(400)
        .into_iter()
        .chain([vec![0; 1_400], vec![0xff; 1_400]])
        .collect();
    vec![
        dtls("hellos without a cipher", vec![null_hello()]),
        dtls("alerts", vec![alert(2, 0x28), alert(1, 0)]),
        attack("random datagrams", 2_000, random, "malformed"),
        attack("RTP of every length", 2_000, lengths(111), "stranger"),
        attack("RTCP of every length", 2_000, lengths(201), "malformed"),
        attack(
            "RTP with a bad tag",
            5_000,
            vec![rtp(60), rtp(160)],
            "stranger",
        ),
        attack("RTP with lengths that lie", 1_000, lying(), "malformed"),
        attack(
            "oversized datagrams",
            500,
            vec![rtp(1_600), rtp(9_000), rtp(65_000)],
            "oversize",
        ),
        attack("STUN without credentials", 1_000, stun(), "unauthenticated"),
    ]
}

pub fn of_participants() -> Vec<Abuse> {
    let abuse = |name, payloads, is_undecodable| Abuse {
        name,
        payloads,
        packets_in_20_ms: 1,
        time_step: 960,
        is_undecodable,
    };
    let mut bombs = vec![
        vec![0xfb],
        vec![0xfb, 0],
        vec![0xfb, 0x3f],
        vec![0xe3, 0x31],
        vec![0xfa, 0xff],
        vec![0xf9, 1, 2],
        vec![0xfb, 0x41],
    ];
    bombs[6].resize(1_290, 0xff);
    let six = [vec![0xfb, 6], vec![0; 90]].concat();
    vec![
        abuse("Opus that does not decode", bombs, true),
        abuse("random bytes for Opus", noise(300), true),
        abuse("packets without a payload", vec![vec![]], true),
        abuse("packets of 120 ms every 20 ms", vec![six], false),
        Abuse {
            packets_in_20_ms: 10,
            ..abuse("500 packets a second", vec![vec![0xf8; 80]], false)
        },
        Abuse {
            time_step: 0x1234_5678,
            ..abuse("a media clock that jumps", vec![vec![0xf8; 80]], false)
        },
        abuse("payloads longer than any", vec![vec![0xf8; 1_350]], false),
    ]
}

/// Returns a ClientHello that offers only the cipher suite TLS_NULL_WITH_NULL_NULL.
fn null_hello() -> Vec<u8> {
    let mut body = vec![1, 0, 0, 43, 0, 0, 0, 0, 0, 0, 0, 43, 0xfe, 0xfd];
    body.extend([7; 32]);
    body.extend([0, 0, 0, 2, 0, 0, 1, 0]);
    let mut record = vec![22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, body.len() as u8];
    record.extend(body);
    record
}

fn rtp(length: usize) -> Vec<u8> {
    let mut datagram = vec![0x80, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
    datagram.resize(length, 0xaa);
    datagram
}

/// Returns prefixes of 0 to 64 bytes of an RTP or RTCP packet; `second` is the packet's second
/// byte.
fn lengths(second: u8) -> Vec<Vec<u8>> {
    let whole: Vec<u8> = [0x80, second, 0, 7].into_iter().chain(4..64).collect();
    (0..=whole.len())
        .map(|length| whole[..length].to_vec())
        .collect()
}

/// Returns packets whose headers contradict their length: fifteen contributing sources without
/// space for them, an extension beyond the end, padding longer than the packet.
fn lying() -> Vec<Vec<u8>> {
    let mut sources = rtp(40);
    sources[0] = 0x8f;
    let mut extension = rtp(40);
    extension[0] = 0x90;
    extension[12..16].copy_from_slice(&[0xbe, 0xde, 0xff, 0xff]);
    let mut padding = rtp(40);
    padding[0] = 0xa0;
    padding[39] = 255;
    vec![sources, extension, padding]
}

fn stun() -> Vec<Vec<u8>> {
    let message = |kind: u16, attributes: &[u8]| {
        let mut message = kind.to_be_bytes().to_vec();
        message.extend((attributes.len() as u16).to_be_bytes());
        message.extend([0x21, 0x12, 0xa4, 0x42]);
        message.extend([3; 12]);
        message.extend(attributes);
        message
    };
    let name = [&[0, 6, 0, 8][..], b"abcd:efg"].concat();
    let signed = [&name[..], &[0, 8, 0, 20], &[9; 20]].concat();
    vec![
        message(1, &[]),
        message(1, &name),
        message(1, &signed),
        message(0x0101, &signed),
        message(1, &[0x7f, 0xff, 0, 0].repeat(350)),
    ]
}

/// Returns datagrams of pseudo-random bytes, the same in every run.
fn noise(count: usize) -> Vec<Vec<u8>> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..count)
        .map(|at| (0..1 + at % 300).map(|_| byte()).collect())
        .collect()
}
