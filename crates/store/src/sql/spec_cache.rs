//! A cache of the partitions' settings (specs) and members, which do not change once a partition is
//! created. A process reads them again only when the topology number has changed. So an
//! observation, which is made several times a second, reads only rows that may have changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use turnpike_types::PartitionId;

use crate::PartitionSpec;

/// The settings of every partition.
pub(crate) type Specs = Arc<BTreeMap<PartitionId, PartitionSpec>>;

/// The settings that were read last, and the topology number to which they belong.
#[derive(Default)]
pub(crate) struct SpecCache(Mutex<Option<(i64, Specs)>>);

impl SpecCache {
    /// The cached settings, if they belong to `topology`.
    pub(crate) fn get(&self, topology: i64) -> Option<Specs> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(of, _)| *of == topology).map(|(_, specs)| Arc::clone(specs))
    }

    /// Caches settings that were read after the topology number `topology`.
    pub(crate) fn put(&self, topology: i64, specs: &Specs) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((topology, Arc::clone(specs)));
    }
}
