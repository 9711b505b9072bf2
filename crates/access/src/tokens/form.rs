//! The form of a token, and its signature.
//!
//! ```text
//!  tpt1. base64url( key id 8 | token id 16 | not before 8 | expires 8 | n audience | n subject
//!                   | signature 64 )
//! ```
//!
//! Numbers are big-endian, instants are microseconds, `n` is a length of one byte. The signature is
//! Ed25519 over a fixed prefix and everything before it. There is one form and one algorithm: a
//! token can't choose another. Roles are not in a token but in the grants of `token:SUBJECT`, so
//! that a revoked grant counts at once for tokens that were issued before. A token's signature is
//! checked with public keys alone: no secret is compared.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use turnpike_types::Timestamp;

use crate::principal::{SUBJECT_BYTES_MAX, check_subject};
use crate::refusal::Unauthenticated;

/// A token may be used this long before its first instant, because clocks differ.
pub(crate) const CLOCK_SKEW_US: i64 = 60_000_000;
/// The first characters of a token. Another form gets another number.
pub const PREFIX: &str = "tpt1.";
/// The most bytes of a cluster's name.
pub const AUDIENCE_BYTES_MAX: usize = 64;
/// What is signed begins with this, so that the signature is valid for nothing else.
const SIGNED_PREFIX: &[u8] = b"turnpike token 1\0";
const SIGNATURE_BYTES: usize = 64;
const CLAIMS_BYTES_MAX: usize = 8 + 16 + 8 + 8 + 1 + AUDIENCE_BYTES_MAX + 1 + SUBJECT_BYTES_MAX;
/// The most characters of a token; longer text is refused before it is decoded.
pub const TOKEN_CHARS_MAX: usize =
    PREFIX.len() + (CLAIMS_BYTES_MAX + SIGNATURE_BYTES).div_ceil(3) * 4;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The key that signs it.
    pub key: u64,
    /// The token's random id, by which it is revoked.
    pub id: [u8; 16],
    /// The first instant at which the token is valid.
    pub not_before: Timestamp,
    /// The first instant at which the token is not valid any more.
    pub expires: Timestamp,
    /// The name of the cluster.
    pub audience: String,
    /// The name in the principal `token:NAME`.
    pub subject: String,
}

impl Claims {
    /// The token's id in hexadecimal digits.
    pub fn id_text(&self) -> String {
        self.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn encoded(&self) -> Result<Vec<u8>, String> {
        check_subject(&self.subject)?;
        check_audience(&self.audience)?;
        let mut out = Vec::with_capacity(CLAIMS_BYTES_MAX + SIGNATURE_BYTES);
        out.extend_from_slice(&self.key.to_be_bytes());
        out.extend_from_slice(&self.id);
        out.extend_from_slice(&self.not_before.micros().to_be_bytes());
        out.extend_from_slice(&self.expires.micros().to_be_bytes());
        for text in [&self.audience, &self.subject] {
            let length = u8::try_from(text.len()).map_err(|_| "the name is too long")?;
            out.push(length);
            out.extend_from_slice(text.as_bytes());
        }
        Ok(out)
    }

    /// `None` unless `bytes` is exactly the encoding of claims.
    fn decoded(bytes: &[u8]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (not_before, rest) = rest.split_first_chunk()?;
        let (expires, rest) = rest.split_first_chunk()?;
        let (audience, rest) = text(rest)?;
        let (subject, rest) = text(rest)?;
        let claims = Self {
            key: u64::from_be_bytes(*key),
            id: *id,
            not_before: Timestamp(i64::from_be_bytes(*not_before)),
            expires: Timestamp(i64::from_be_bytes(*expires)),
            audience: audience.to_owned(),
            subject: subject.to_owned(),
        };
        let is_sound = check_subject(subject).is_ok() && check_audience(audience).is_ok();
        (rest.is_empty() && is_sound).then_some(claims)
    }
}

/// A text with its length in the first byte, and what follows.
fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// Refuses text that is no name of a cluster.
///
/// # Errors
/// What a name looks like.
pub fn check_audience(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=AUDIENCE_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    Err(format!(
        "the name of a cluster has 1 to {AUDIENCE_BYTES_MAX} letters, digits, `-`, `_` and `.`"
    ))
}

/// The id of a public key: the first eight bytes of its hash.
pub fn key_id(public_key: &[u8; 32]) -> u64 {
    let hash = ring::digest::digest(&ring::digest::SHA256, public_key);
    hash.as_ref().iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

/// A key that signs tokens.
#[derive(Debug)]
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// A new key, and its secret form.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn generate() -> Result<(Self, Vec<u8>), String> {
        let secret = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .map_err(|_| "the system gives no random numbers")?;
        Ok((Self::from_secret(secret.as_ref())?, secret.as_ref().to_vec()))
    }

    /// The key with this secret form (PKCS #8).
    ///
    /// # Errors
    /// The bytes are not such a key.
    pub fn from_secret(secret: &[u8]) -> Result<Self, String> {
        Ed25519KeyPair::from_pkcs8(secret)
            .map(Self)
            .map_err(|why| format!("not an Ed25519 key ({why})"))
    }

    /// The public part of the key.
    ///
    /// # Errors
    /// Never for an Ed25519 key.
    pub fn public_key(&self) -> Result<[u8; 32], String> {
        let bytes = self.0.public_key().as_ref();
        bytes.try_into().map_err(|_| "an Ed25519 public key has 32 bytes".to_owned())
    }

    /// The token with these claims.
    ///
    /// # Errors
    /// A name in the claims is not valid.
    pub fn sign(&self, claims: &Claims) -> Result<String, String> {
        let mut bytes = claims.encoded()?;
        let signature = self.0.sign(&[SIGNED_PREFIX, &bytes].concat());
        bytes.extend_from_slice(signature.as_ref());
        Ok(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)))
    }
}

/// A random token id.
///
/// # Errors
/// The system has no random numbers.
pub fn new_id() -> Result<[u8; 16], String> {
    let mut id = [0; 16];
    SystemRandom::new().fill(&mut id).map_err(|_| "the system gives no random numbers")?;
    Ok(id)
}

/// The claims of a token whose signature is that of the key which `key_of` returns for its claims. It
/// is called before the signature is checked, which takes longer than everything else. Times, audience
/// and registration are checked by the caller.
///
/// # Errors
/// The first check that fails.
pub fn verified(
    token: &str,
    key_of: impl FnOnce(&Claims) -> Result<[u8; 32], Unauthenticated>,
) -> Result<Claims, Unauthenticated> {
    if token.len() > TOKEN_CHARS_MAX {
        return Err(Unauthenticated::BadHeader);
    }
    let encoded = token.strip_prefix(PREFIX).ok_or(Unauthenticated::NotAToken)?;
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Unauthenticated::MalformedToken)?;
    let at = bytes.len().checked_sub(SIGNATURE_BYTES).ok_or(Unauthenticated::MalformedToken)?;
    let (signed, signature) = bytes.split_at_checked(at).ok_or(Unauthenticated::MalformedToken)?;
    let claims = Claims::decoded(signed).ok_or(Unauthenticated::MalformedToken)?;
    let public_key = key_of(&claims)?;
    UnparsedPublicKey::new(&ED25519, public_key)
        .verify(&[SIGNED_PREFIX, signed].concat(), signature)
        .map_err(|_| Unauthenticated::BadSignature)?;
    Ok(claims)
}
