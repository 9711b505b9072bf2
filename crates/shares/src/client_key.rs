//! The number by which a client is told apart.

use xxhash_rust::xxh3::xxh3_64;

/// Stands for a client in queues and limits. Two clients whose keys are equal share one share, which
/// is unlikely and changes no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(pub u64);

impl ClientKey {
    /// The requests that no client sends, such as those of the cluster itself.
    pub const NONE: Self = Self(0);

    /// The key of the client with this name: the name of a principal, or an address.
    pub fn of(name: &str) -> Self {
        Self(xxh3_64(name.as_bytes()).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::ClientKey;

    #[test]
    fn a_name_has_one_key_and_never_that_of_the_cluster() {
        assert_eq!(ClientKey::of("a"), ClientKey::of("a"));
        assert_ne!(ClientKey::of("a"), ClientKey::of("b"));
        assert_ne!(ClientKey::of(""), ClientKey::NONE);
    }
}
