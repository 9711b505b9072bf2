//! Proofs: a hash of everything that makes a record the same one when it is sent again, by which a
//! duplicate is recognised without a look into the log.
//!
//! A proof is of the key and the content together (P27). Equal proofs of equal fingerprints are the same
//! record: 128 bits agree, 64 of them by a seed that no client knows. Different proofs show nothing (the
//! content may differ, or only its spelling): the record in the log is compared then. Each process draws
//! its own seed, so proofs are neither stored nor sent.

use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU64;

use turnpike_mutants::{Check, off};
use turnpike_segment::RecordRow;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The fixed fields, of eight bytes each.
const FIELDS: usize = 6;

/// The proof of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof(NonZeroU64);

/// Makes proofs.
#[derive(Debug)]
pub(crate) struct Prover {
    seed: u64,
}

impl Default for Prover {
    fn default() -> Self {
        Self { seed: RandomState::new().hash_one(0_u64) }
    }
}

impl Prover {
    /// The proof of a record; its outcome does not count.
    pub(crate) fn proof(&self, record: &RecordRow<'_>) -> Proof {
        let (id, usage_type) = (record.record_id.as_bytes(), record.usage_type.as_bytes());
        // Lengths and fixed fields come first, so that different records never give the same bytes. A
        // quantity is never negative.
        let mut fixed = [0; FIELDS * 8];
        let quantity = record.quantity.unwrap_or(-1);
        let content = [record.start.0, record.duration_us, quantity].map(i64::cast_unsigned);
        let key = [record.account.0, id.len() as u64, usage_type.len() as u64];
        let content_counts = !off(Check::ProvenContent);
        let fields =
            key.into_iter().chain(content.map(|field| if content_counts { field } else { 0 }));
        for (place, field) in fixed.chunks_exact_mut(8).zip(fields) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        let extra = if content_counts { record.extra } else { &[] };
        // Each part is hashed with the hash of those before it as its seed.
        let parts = [&fixed, id, usage_type, extra];
        let hash = parts.into_iter().fold(self.seed, |seed, part| xxh3_64_with_seed(part, seed));
        Proof(NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN))
    }
}
