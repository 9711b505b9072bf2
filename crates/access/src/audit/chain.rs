//! The chain of hashes.

use turnpike_store::AuditHash;

/// The words at the beginning of everything that is hashed.
const DOMAIN: &[u8] = b"turnpike audit 1";

/// The hash of an entry: over the hash of the entry before, the sequence number, and the body.
pub fn hash_of(prev_hash: &AuditHash, sequence: u64, body: &[u8]) -> AuditHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN).update(prev_hash).update(&sequence.to_le_bytes()).update(body);
    *hasher.finalize().as_bytes()
}

/// A hash, hexadecimal.
pub fn hexadecimal(hash: &[u8]) -> String {
    use std::fmt::Write as _;
    hash.iter().fold(String::with_capacity(hash.len() * 2), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The bytes of a hexadecimal text; `None` if it is none.
pub fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    // Numbers may begin with a sign, hexadecimal digits may not.
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) || !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries of earlier releases stay verifiable: this hash never changes.
    #[test]
    fn the_hash_of_an_entry_is_stable() {
        let first = hash_of(&[0; 32], 1, b"body");
        assert_eq!(
            hexadecimal(&first),
            "eb9dc63c7c82f71514ed83c96c6713074f88befd9db27beff1841ff8c3316cd0"
        );
        let other = [
            hash_of(&[1; 32], 1, b"body"),
            hash_of(&[0; 32], 2, b"body"),
            hash_of(&[0; 32], 1, b"bodx"),
        ];
        assert!(other.iter().all(|hash| *hash != first));
        assert_eq!(from_hexadecimal(&hexadecimal(&first)), Some(first.to_vec()));
        for bad in ["0", "zz", "+1", "é0"] {
            assert_eq!(from_hexadecimal(bad), None, "{bad}");
        }
    }
}
