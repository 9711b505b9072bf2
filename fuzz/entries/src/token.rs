//! Tokens, as a request has them.

use turnpike_access::Unauthenticated;
use turnpike_access::tokens::form::{Claims, SigningKey, key_id, verified};

/// The secret form of the key that signs the tokens of the corpus. It signs nothing else.
const KEY: &[u8] = include_bytes!("../key.pk8");

/// Verifies the input as a token of [`KEY`]. A token that is accepted is exactly the one that the key
/// signs for its claims: no other text stands for the same claims.
///
/// # Panics
/// Another text is accepted.
pub fn token(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let key = SigningKey::from_secret(KEY).expect("the key of the corpus");
    let public_key = key.public_key().expect("the key of the corpus");
    let key_of = |claims: &Claims| match claims.key == key_id(&public_key) {
        true => Ok(public_key),
        false => Err(Unauthenticated::UnknownKey),
    };
    let Ok(claims) = verified(text, key_of) else { return false };
    assert_eq!(key.sign(&claims).as_deref(), Ok(text));
    true
}
