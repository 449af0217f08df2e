//! Certificate fingerprints of a description (RFC 8122, section 5), and their comparison with a
//! certificate.

use ring::digest;

/// The fingerprints of the certificates that one side may present, from its description; never
/// empty.
///
/// A side may list several certificates, each with several hash functions, and presents one of
/// them. One matching fingerprint is enough. SHA-1 and older hash functions are skipped, because
/// certificates can be forged for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprints(Vec<Fingerprint>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint {
    hash: Hash,
    value: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Fingerprints {
    /// Reads the values of `a=fingerprint` lines; `None` if no value can be used.
    ///
    /// Keeps at most `MAX_FINGERPRINTS` different fingerprints and ignores the others.
    pub fn read<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Fingerprints> {
        let mut known: Vec<Fingerprint> = Vec::new();
        for fingerprint in values.into_iter().filter_map(read) {
            if known.len() < MAX_FINGERPRINTS && !known.contains(&fingerprint) {
                known.push(fingerprint);
            }
        }
        (!known.is_empty()).then_some(Fingerprints(known))
    }

    /// Whether one of the fingerprints is that of this certificate (DER).
    pub fn matches(&self, certificate: &[u8]) -> bool {
        self.0.iter().any(|fingerprint| {
            digest::digest(fingerprint.hash.algorithm(), certificate).as_ref() == fingerprint.value
        })
    }
}

impl Hash {
    const ALL: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];

    const fn name(self) -> &'static str {
        match self {
            Hash::Sha256 => "sha-256",
            Hash::Sha384 => "sha-384",
            Hash::Sha512 => "sha-512",
        }
    }

    fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha384 => &digest::SHA384,
            Hash::Sha512 => &digest::SHA512,
        }
    }
}

/// Parses `sha-256 AB:CD:...`, in either case; `None` for other hash functions and wrong lengths.
fn read(line: &str) -> Option<Fingerprint> {
    let (name, value) = line.trim().split_once(' ')?;
    let mut all = Hash::ALL.into_iter();
    let hash = all.find(|hash| name.eq_ignore_ascii_case(hash.name()))?;
    let byte = |pair: &str| {
        let is_hex = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
    };
    let value: Vec<u8> = value.trim().split(':').map(byte).collect::<Option<_>>()?;
    (value.len() == hash.algorithm().output_len()).then_some(Fingerprint { hash, value })
}

/// Most fingerprints kept: a client has one certificate, rarely two, with up to three hash
/// functions each.
const MAX_FINGERPRINTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &[u8] = b"any bytes do";

    /// Returns the value of the `a=fingerprint` line of a certificate.
    fn line(hash: Hash, certificate: &[u8]) -> String {
        let value = digest::digest(hash.algorithm(), certificate);
        let pairs: Vec<String> = value.as_ref().iter().map(|b| format!("{b:02X}")).collect();
        format!("{} {}", hash.name(), pairs.join(":"))
    }

    #[test]
    fn certificate_may_match_any_fingerprint_line_of_any_hash_function() {
        for hash in Hash::ALL {
            let right = line(hash, CERTIFICATE);
            let others = Hash::ALL.map(|hash| line(hash, b"another certificate"));
            for at in 0..=others.len() {
                let mut lines = others.to_vec();
                lines.insert(at, right.clone());
                let read = Fingerprints::read(lines.iter().map(String::as_str)).expect("usable");
                assert!(read.matches(CERTIFICATE), "{at} of {lines:?}");
                assert!(!read.matches(b"a third certificate"));
            }
        }
    }

    #[test]
    fn fingerprints_skip_unusable_lines() {
        let right = line(Hash::Sha256, CERTIFICATE);
        let sha1 = format!("sha-1 {}", ["AB"; 20].join(":"));
        for unusable in ["", "sha-256", "sha-256 ", "sha-256 AB:CD", &sha1, "md5 AB"] {
            assert_eq!(Fingerprints::read([unusable]), None, "{unusable}");
            let read = Fingerprints::read([unusable, &right]).expect("usable");
            assert!(read.matches(CERTIFICATE));
        }
        for damaged in [right.replace(':', "-"), right.replacen(' ', " +", 1)] {
            assert_eq!(Fingerprints::read([damaged.as_str()]), None, "{damaged}");
        }
        let lower = right.to_lowercase().replace("sha", "SHA");
        let read = Fingerprints::read([lower.as_str()]).expect("usable");
        assert!(read.matches(CERTIFICATE));
    }

    #[test]
    fn fingerprints_are_bounded_in_number() {
        let lines: Vec<String> = (0..100u8).map(|n| line(Hash::Sha256, &[n])).collect();
        let read = Fingerprints::read(lines.iter().map(String::as_str)).expect("usable");
        assert_eq!(read.0.len(), MAX_FINGERPRINTS);
    }
}
