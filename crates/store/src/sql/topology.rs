//! A cache of the partitions' settings (specs) and members, which do not change once a partition is
//! created. A process reads them again only when the topology number has changed. So an
//! observation, which is made several times a second, reads only rows that may have changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use turnpike_types::{AccountRange, NodeName, PartitionId, Priority, Timestamp};

use super::errors::corrupt;
use super::rows::{loaded, partition_id};
use crate::{Member, PartitionSpec, StoreResult};

/// Columns: id, first_account, last_account, horizon_us, accept_since.
pub(crate) type SpecTuple = (i64, i64, i64, i64, Option<i64>);

/// Columns: partition, node, priority; sorted by descending priority within a partition.
pub(crate) type MemberTuple = (i64, String, i64);

/// The settings of every partition.
pub(crate) type Specs = Arc<BTreeMap<PartitionId, PartitionSpec>>;

/// Joins specs with their members.
pub(crate) fn specs(
    specs: Vec<SpecTuple>,
    members: Vec<MemberTuple>,
    doing: &'static str,
) -> StoreResult<BTreeMap<PartitionId, PartitionSpec>> {
    let mut all = BTreeMap::new();
    for (id, first, last, horizon_us, accept_since) in specs {
        let id = partition_id(id, doing)?;
        let range = AccountRange::new(loaded(first), loaded(last))
            .map_err(|wrong| corrupt(doing, wrong.to_string()))?;
        let accept_since = accept_since.map(Timestamp);
        let spec = PartitionSpec { id, range, horizon_us, accept_since, members: Vec::new() };
        all.insert(id, spec);
    }
    for (partition, node, priority) in members {
        let priority =
            u32::try_from(priority).map_err(|_| corrupt(doing, format!("priority {priority}")))?;
        if let Some(spec) = all.get_mut(&partition_id(partition, doing)?) {
            spec.members.push(Member { node: NodeName(node), priority: Priority(priority) });
        }
    }
    Ok(all)
}

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
