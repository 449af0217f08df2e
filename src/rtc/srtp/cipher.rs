//! The cipher of one direction, with its key: encrypts and decrypts packets in place (RFC 3711,
//! section 4; RFC 7714, section 8).

use rtc::crypto::{
    AeadAlgorithm, AeadCipher, CryptoError, HmacAlgorithm, Mac, RTCCrypto, StreamCipher,
    StreamCipherAlgorithm, constant_time_eq,
};

use super::keys::{Label, MasterKey, SrtpProfile};

/// Packet index of an SSRC: roll-over counter and sequence number, 48 bits (RFC 3711, section
/// 3.3.1).
pub(super) type Index = u64;

/// The SRTP cipher of one direction, with the session keys derived from a master key.
pub(super) struct Cipher {
    mode: Mode,
    tag_bytes: usize,
}

enum Mode {
    Counter {
        stream: Box<dyn StreamCipher>,
        mac: Box<dyn Mac>,
        salt: [u8; 16],
    },
    Galois {
        aead: Box<dyn AeadCipher>,
        salt: [u8; 12],
    },
}

impl Cipher {
    /// Derives the session keys of `master`. Set-up only (allocates).
    pub(super) fn new(
        crypto: &dyn RTCCrypto,
        master: &MasterKey<'_>,
    ) -> Result<Cipher, CryptoError> {
        let profile = master.profile;
        let key = master.derive(crypto, Label::Encryption, profile.key_bytes())?;
        let salt = master.derive(crypto, Label::Salt, profile.salt_bytes())?;
        let mode = match profile {
            SrtpProfile::AesCm128Sha80 | SrtpProfile::AesCm128Sha32 => {
                let auth = master.derive(crypto, Label::Authentication, AUTH_KEY_BYTES)?;
                Mode::Counter {
                    stream: crypto
                        .new_stream_cipher(StreamCipherAlgorithm::Aes128Ctr, key.as_ref())?,
                    mac: crypto.new_hmac(HmacAlgorithm::Sha1, auth.as_ref())?,
                    salt: padded(salt.as_ref()),
                }
            }
            SrtpProfile::Gcm128 => Mode::Galois {
                aead: crypto.new_aead(AeadAlgorithm::Aes128Gcm, key.as_ref())?,
                salt: padded(salt.as_ref()),
            },
            SrtpProfile::Gcm256 => Mode::Galois {
                aead: crypto.new_aead(AeadAlgorithm::Aes256Gcm, key.as_ref())?,
                salt: padded(salt.as_ref()),
            },
        };
        Ok(Cipher {
            mode,
            tag_bytes: profile.tag_bytes(),
        })
    }

    /// Length of the authentication tag at a packet's end, in bytes.
    pub(super) fn tag_bytes(&self) -> usize {
        self.tag_bytes
    }

    /// Encrypts the bytes of a packet between the header and the space for the tag, and writes the
    /// tag.
    pub(super) fn seal(
        &mut self,
        packet: &mut [u8],
        header_bytes: usize,
        ssrc: u32,
        index: Index,
    ) -> Result<(), CryptoError> {
        let (packet, tag) = divide(packet, header_bytes, self.tag_bytes)?;
        match &mut self.mode {
            Mode::Counter { stream, mac, salt } => {
                stream.apply_keystream(&counter(salt, ssrc, index), &mut packet[header_bytes..])?;
                let mut whole = [0; SHA1_BYTES];
                mac.sign(&[packet, &roll_over(index)], &mut whole)?;
                tag.copy_from_slice(&whole[..tag.len()]);
            }
            Mode::Galois { aead, salt } => {
                let (header, payload) = packet.split_at_mut(header_bytes);
                aead.seal_in_place(&nonce(salt, ssrc, index), header, payload, tag)?;
            }
        }
        Ok(())
    }

    /// Checks the tag of a packet, and decrypts the bytes between the header and the tag.
    pub(super) fn open(
        &mut self,
        packet: &mut [u8],
        header_bytes: usize,
        ssrc: u32,
        index: Index,
    ) -> Result<(), CryptoError> {
        let (packet, tag) = divide(packet, header_bytes, self.tag_bytes)?;
        match &mut self.mode {
            Mode::Counter { stream, mac, salt } => {
                let mut whole = [0; SHA1_BYTES];
                mac.sign(&[packet, &roll_over(index)], &mut whole)?;
                if !constant_time_eq(&whole[..tag.len()], tag) {
                    return Err(CryptoError::AuthenticationFailed);
                }
                stream.apply_keystream(&counter(salt, ssrc, index), &mut packet[header_bytes..])
            }
            Mode::Galois { aead, salt } => {
                let (header, payload) = packet.split_at_mut(header_bytes);
                aead.open_in_place(&nonce(salt, ssrc, index), header, payload, tag)
            }
        }
    }
}

/// Splits a packet into its part with header and payload, and its tag.
fn divide(
    packet: &mut [u8],
    header_bytes: usize,
    tag_bytes: usize,
) -> Result<(&mut [u8], &mut [u8]), CryptoError> {
    match packet.len().checked_sub(tag_bytes) {
        Some(end) if end >= header_bytes => Ok(packet.split_at_mut(end)),
        _ => Err(CryptoError::AuthenticationFailed),
    }
}

/// The initial counter (RFC 3711, section 4.1.1): `(salt * 2^16) XOR (ssrc * 2^64) XOR (index *
/// 2^16)`.
fn counter(salt: &[u8; 16], ssrc: u32, index: Index) -> [u8; 16] {
    let value = u128::from_be_bytes(*salt)
        ^ (u128::from(ssrc) << 64)
        ^ (u128::from(index & INDEX_MASK) << 16);
    value.to_be_bytes()
}

/// The nonce (RFC 7714, section 8.1): two zero bytes, the SSRC and the index, XORed with the salt.
fn nonce(salt: &[u8; 12], ssrc: u32, index: Index) -> [u8; 12] {
    let mut nonce = *salt;
    let words = (u128::from(ssrc) << 48) | u128::from(index & INDEX_MASK);
    for (byte, word) in nonce[2..].iter_mut().zip(&words.to_be_bytes()[6..]) {
        *byte ^= word;
    }
    nonce
}

fn roll_over(index: Index) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut padded = [0; N];
    let length = bytes.len().min(N);
    padded[..length].copy_from_slice(&bytes[..length]);
    padded
}

const INDEX_MASK: Index = (1 << 48) - 1;
const AUTH_KEY_BYTES: usize = 20;
const SHA1_BYTES: usize = 20;
