//! SRTP profiles, the master keys of a session, and the derivation of session keys (RFC 3711,
//! section 4.3; RFC 5764, section 4.2).

use rtc::crypto::{BlockCipherAlgorithm, CryptoError, RTCCrypto, SecretVec};

/// An SRTP protection profile: how packets are encrypted and authenticated (RFC 5764, section
/// 4.1.2; RFC 7714, section 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SrtpProfile {
    /// AES-128 in counter mode, HMAC-SHA1 with an 80-bit tag.
    AesCm128Sha80,
    /// AES-128 in counter mode, HMAC-SHA1 with a 32-bit tag.
    AesCm128Sha32,
    /// AES-128 in Galois counter mode.
    Gcm128,
    /// AES-256 in Galois counter mode.
    Gcm256,
}

impl SrtpProfile {
    /// The profile that the core's statistics call `name`; `None` if it is unknown.
    pub(in crate::rtc) fn of_name(name: &str) -> Option<SrtpProfile> {
        match name {
            "SRTP_AES128_CM_HMAC_SHA1_80" => Some(SrtpProfile::AesCm128Sha80),
            "SRTP_AES128_CM_HMAC_SHA1_32" => Some(SrtpProfile::AesCm128Sha32),
            "SRTP_AEAD_AES_128_GCM" => Some(SrtpProfile::Gcm128),
            "SRTP_AEAD_AES_256_GCM" => Some(SrtpProfile::Gcm256),
            _ => None,
        }
    }

    /// Length of the authentication tag in bytes, by which encryption lengthens a packet.
    pub const fn tag_bytes(self) -> usize {
        match self {
            SrtpProfile::AesCm128Sha80 => 10,
            SrtpProfile::AesCm128Sha32 => 4,
            SrtpProfile::Gcm128 | SrtpProfile::Gcm256 => 16,
        }
    }

    /// Length in bytes of a master key, and of a session key derived from it.
    pub const fn key_bytes(self) -> usize {
        match self {
            SrtpProfile::AesCm128Sha80 | SrtpProfile::AesCm128Sha32 | SrtpProfile::Gcm128 => 16,
            SrtpProfile::Gcm256 => 32,
        }
    }

    /// Length in bytes of a master salt, and of a session salt derived from it.
    pub const fn salt_bytes(self) -> usize {
        match self {
            SrtpProfile::AesCm128Sha80 | SrtpProfile::AesCm128Sha32 => 14,
            SrtpProfile::Gcm128 | SrtpProfile::Gcm256 => 12,
        }
    }

    const fn block_cipher(self) -> BlockCipherAlgorithm {
        match self {
            SrtpProfile::Gcm256 => BlockCipherAlgorithm::Aes256,
            _ => BlockCipherAlgorithm::Aes128,
        }
    }
}

/// The master key and salt of one direction.
pub struct MasterKey<'a> {
    /// The profile that the key is used with.
    pub profile: SrtpProfile,
    /// The master key: [`SrtpProfile::key_bytes`] bytes.
    pub key: &'a [u8],
    /// The master salt: [`SrtpProfile::salt_bytes`] bytes.
    pub salt: &'a [u8],
}

impl<'a> MasterKey<'a> {
    /// Splits DTLS keying material into the keys for packets of the DTLS client and of the DTLS
    /// server; `None` if the material is too short.
    pub(in crate::rtc) fn divide(
        profile: SrtpProfile,
        material: &'a [u8],
    ) -> Option<(MasterKey<'a>, MasterKey<'a>)> {
        let (client_key, rest) = material.split_at_checked(profile.key_bytes())?;
        let (server_key, rest) = rest.split_at_checked(profile.key_bytes())?;
        let (client_salt, rest) = rest.split_at_checked(profile.salt_bytes())?;
        let (server_salt, _) = rest.split_at_checked(profile.salt_bytes())?;
        let of = |key, salt| MasterKey { profile, key, salt };
        Some((of(client_key, client_salt), of(server_key, server_salt)))
    }

    /// Derives a session key by AES-CM with key derivation rate 0 (RFC 3711, sections 4.3.1 and
    /// 4.3.3). The profiles of RFC 7714 do the same, with their shorter salt padded (section 11).
    pub(super) fn derive(
        &self,
        crypto: &dyn RTCCrypto,
        label: Label,
        length_bytes: usize,
    ) -> Result<SecretVec, CryptoError> {
        let mut counter = [0; BLOCK_BYTES];
        counter[..self.salt.len().min(SALT_BYTES)]
            .copy_from_slice(&self.salt[..self.salt.len().min(SALT_BYTES)]);
        counter[7] ^= label as u8;
        let mut key = SecretVec::new(vec![0; length_bytes]);
        for (number, part) in key.as_mut().chunks_mut(BLOCK_BYTES).enumerate() {
            let mut block = counter;
            block[BLOCK_BYTES - 1] = number as u8;
            crypto.block_encrypt(self.profile.block_cipher(), self.key, &mut block)?;
            part.copy_from_slice(&block[..part.len()]);
        }
        Ok(key)
    }
}

/// What a session key is used for (RFC 3711, section 4.3.2).
#[derive(Debug, Clone, Copy)]
pub(super) enum Label {
    Encryption = 0,
    Authentication = 1,
    Salt = 2,
}

const BLOCK_BYTES: usize = 16;

/// Longest salt in bytes; the two bytes behind it in an AES block count blocks.
const SALT_BYTES: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal"))
            .collect()
    }

    /// Test vectors of RFC 3711, section B.3.
    #[test]
    fn srtp_key_derivation_matches_the_test_vectors_of_rfc_3711() {
        let provider = rtc::crypto::default_provider().expect("built in");
        let master = MasterKey {
            profile: SrtpProfile::AesCm128Sha80,
            key: &bytes("E1F97A0D3E018BE0D64FA32C06DE4139"),
            salt: &bytes("0EC675AD498AFEEBB6960B3AABE6"),
        };
        let derived = |label, length| {
            let key = master.derive(provider.crypto(), label, length);
            key.expect("derived").as_ref().to_vec()
        };
        assert_eq!(
            derived(Label::Encryption, 16),
            bytes("C61E7A93744F39EE10734AFE3FF7A087")
        );
        assert_eq!(
            derived(Label::Salt, 14),
            bytes("30CBBC08863D8C85D49DB34A9AE1")
        );
        assert_eq!(
            derived(Label::Authentication, 20),
            bytes("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
        );
    }

    #[test]
    fn srtp_keying_material_is_split_in_the_order_of_rfc_5764() {
        let material: Vec<u8> = (0..96).collect();
        let (client, server) =
            MasterKey::divide(SrtpProfile::Gcm128, &material).expect("long enough");
        assert_eq!((client.key[0], server.key[0]), (0, 16));
        assert_eq!((client.salt[0], server.salt[0]), (32, 44));
        assert_eq!((server.key.len(), server.salt.len()), (16, 12));
        assert!(MasterKey::divide(SrtpProfile::AesCm128Sha80, &material[..59]).is_none());
    }
}
