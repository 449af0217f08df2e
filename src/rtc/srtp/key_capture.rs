//! Captures the keying material of DTLS-SRTP (RFC 5764, section 4.2) when the core computes it.
//!
//! The core exports the material for its own use and does not hand it out. But the crypto provider
//! that the core is given computes it: the exporter is a sequence of HMACs whose seed begins with
//! the exporter's label (RFC 5705, section 4). The provider in this module delegates everything to
//! another provider, and keeps the output of those HMACs.
//!
//! Each peer has its own provider. Its lock is taken only during a handshake, because only the
//! handshake uses these HMACs: SRTP's own are SHA-1.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rtc::crypto::{
    ActiveKeyExchange, AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CbcAlgorithm, CbcCipher,
    CryptoAlgorithm, CryptoError, HashAlgorithm, HmacAlgorithm, KeyExchangeAlgorithm, Mac,
    PublicKey, RTCCrypto, RTCCryptoProvider, RTCRandom, SecretVec, SignatureScheme, SigningKey,
    StreamCipher, StreamCipherAlgorithm,
};
use rtc::srtp::config::LABEL_EXTRACTOR_DTLS_SRTP;

/// A crypto provider for one peer that captures the keying material of the peer's handshake.
pub(in crate::rtc) struct KeyCapture {
    base: Arc<dyn RTCCryptoProvider>,
    material: Arc<KeyMaterial>,
}

/// The keying material that was captured last, until it is taken.
#[derive(Default)]
pub(in crate::rtc) struct KeyMaterial(Mutex<Option<SecretVec>>);

impl KeyMaterial {
    /// Takes the material of the last handshake; it may be longer than requested, by less than the
    /// output of one HMAC.
    pub(in crate::rtc) fn take(&self) -> Option<SecretVec> {
        self.lock().take()
    }

    /// Notes that the core begins an export: earlier material is dropped.
    fn begin(&self) {
        *self.lock() = Some(SecretVec::new(Vec::with_capacity(MAX_MATERIAL_BYTES)));
    }

    fn append(&self, output: &[u8]) {
        let mut heard = self.lock();
        if let Some(material) = heard.take() {
            // The capacity is never exceeded, so that no copy of the material is left in freed
            // memory.
            let mut bytes = material.into_bytes();
            let room = MAX_MATERIAL_BYTES.saturating_sub(bytes.len());
            bytes.extend_from_slice(&output[..output.len().min(room)]);
            *heard = Some(SecretVec::new(bytes));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<SecretVec>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyCapture {
    /// Wraps the crypto provider `base`, which does the work.
    pub(in crate::rtc) fn new(base: Arc<dyn RTCCryptoProvider>) -> KeyCapture {
        KeyCapture {
            base,
            material: Arc::default(),
        }
    }

    /// The place where this provider stores the captured material.
    pub(in crate::rtc) fn material(&self) -> Arc<KeyMaterial> {
        self.material.clone()
    }
}

impl RTCCryptoProvider for KeyCapture {
    fn name(&self) -> &'static str {
        self.base.name()
    }

    fn crypto(&self) -> &dyn RTCCrypto {
        self
    }

    fn random(&self) -> &dyn RTCRandom {
        self.base.random()
    }
}

impl RTCCrypto for KeyCapture {
    fn new_hmac(&self, algorithm: HmacAlgorithm, key: &[u8]) -> Result<Box<dyn Mac>, CryptoError> {
        let base = self.base.crypto().new_hmac(algorithm, key)?;
        if algorithm == HmacAlgorithm::Sha1 {
            return Ok(base);
        }
        let material = self.material.clone();
        Ok(Box::new(Overheard { base, material }))
    }

    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        self.base.crypto().supports(algorithm)
    }

    fn hash(&self, algorithm: HashAlgorithm, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.base.crypto().hash(algorithm, data)
    }

    fn block_encrypt(
        &self,
        algorithm: BlockCipherAlgorithm,
        key: &[u8],
        block: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.base.crypto().block_encrypt(algorithm, key, block)
    }

    fn new_stream_cipher(
        &self,
        algorithm: StreamCipherAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn StreamCipher>, CryptoError> {
        self.base.crypto().new_stream_cipher(algorithm, key)
    }

    fn new_aead(
        &self,
        algorithm: AeadAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn AeadCipher>, CryptoError> {
        self.base.crypto().new_aead(algorithm, key)
    }

    fn new_cbc(
        &self,
        algorithm: CbcAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn CbcCipher>, CryptoError> {
        self.base.crypto().new_cbc(algorithm, key)
    }

    fn start_key_exchange(
        &self,
        algorithm: KeyExchangeAlgorithm,
    ) -> Result<Box<dyn ActiveKeyExchange>, CryptoError> {
        self.base.crypto().start_key_exchange(algorithm)
    }

    fn generate_signing_key(
        &self,
        scheme: SignatureScheme,
    ) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.base.crypto().generate_signing_key(scheme)
    }

    fn import_signing_key(
        &self,
        scheme: SignatureScheme,
        pkcs8_der: &[u8],
    ) -> Result<Arc<dyn SigningKey>, CryptoError> {
        self.base.crypto().import_signing_key(scheme, pkcs8_der)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        public_key: PublicKey<'_>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.base
            .crypto()
            .verify_signature(scheme, public_key, message, signature)
    }
}

/// An HMAC of the core, which is watched because it may belong to the exporter.
struct Overheard {
    base: Box<dyn Mac>,
    material: Arc<KeyMaterial>,
}

impl Mac for Overheard {
    fn output_len(&self) -> usize {
        self.base.output_len()
    }

    /// Computes an HMAC, and captures its output if the input is that of P_hash (RFC 5246, section
    /// 5): A(1) is the HMAC of the seed alone; each part of the output is the HMAC of A(i) and the
    /// seed.
    fn sign(&mut self, input: &[&[u8]], output: &mut [u8]) -> Result<(), CryptoError> {
        self.base.sign(input, output)?;
        match input {
            [seed] if seed.starts_with(LABEL) => self.material.begin(),
            [_, seed] if seed.starts_with(LABEL) => self.material.append(output),
            _ => {}
        }
        Ok(())
    }

    fn verify(&mut self, input: &[&[u8]], expected: &[u8]) -> Result<(), CryptoError> {
        self.base.verify(input, expected)
    }
}

const LABEL: &[u8] = LABEL_EXTRACTOR_DTLS_SRTP.as_bytes();

/// Most bytes kept, which are three HMACs: the longest material, that of AES-256, has 92 bytes.
const MAX_MATERIAL_BYTES: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes P_hash as RFC 5246, section 5, defines it.
    fn export(crypto: &dyn RTCCrypto, secret: &[u8], seed: &[u8], parts: usize) -> Vec<u8> {
        let hmac = |input: &[&[u8]]| {
            let mut output = vec![0; 32];
            let mut mac = crypto
                .new_hmac(HmacAlgorithm::Sha256, secret)
                .expect("HMAC");
            mac.sign(input, &mut output).expect("signed");
            output
        };
        let mut a = seed.to_vec();
        let mut out = Vec::new();
        for _ in 0..parts {
            a = hmac(&[&a]);
            out.extend(hmac(&[&a, seed]));
        }
        out
    }

    #[test]
    fn key_capture_stores_only_the_keying_material_of_the_dtls_exporter() {
        let base = rtc::crypto::default_provider().expect("built in");
        let capture = KeyCapture::new(base.clone());
        let material = capture.material();
        let seed = [LABEL, &[7; 64]].concat();
        export(
            capture.crypto(),
            b"secret",
            b"master secret, and randoms",
            2,
        );
        assert!(material.take().is_none());
        for (secret, parts) in [(b"first", 2), (b"other", 3)] {
            let said = export(capture.crypto(), secret, &seed, parts);
            assert_eq!(said, export(base.crypto(), secret, &seed, parts));
            assert_eq!(material.take().expect("heard").as_ref(), said);
        }
        assert!(material.take().is_none(), "taken once");
    }
}
