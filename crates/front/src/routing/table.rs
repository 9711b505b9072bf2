//! The routing table of one read of the shared database; immutable.
//!
//! The highest epoch seen of each partition (P17) outlives a table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use turnpike_mutants::{Check, off};
use turnpike_store::{NodeRow, Observation, PartitionRow};
use turnpike_types::limits::GUIDED_MAX_US;
use turnpike_types::{AccountNumber, Epoch, PartitionId, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

/// The routing table of one read of the database.
#[derive(Debug)]
pub(crate) struct RouteTable {
    /// The number of the read; 0 before the first.
    pub(crate) generation: u64,
    /// When it was read.
    pub(crate) read_at: Instant,
    /// The rows as they were read, with partitions sorted by id.
    pub(crate) observation: Observation,
    /// For how long the counter of each of `observation.nodes` has not advanced.
    pub(crate) silent: Vec<Duration>,
    pub(super) bindings: BindingsSeen,
    /// One route for each of `observation.partitions`, in the same order.
    routes: Vec<Route>,
    /// Sorted by first account: first, last, index into `routes`.
    ranges: Vec<(u64, u64, usize)>,
}

/// The version of the bindings as it was last read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BindingsSeen {
    pub(super) version: u64,
    /// The mark of look-ups: `version` includes every change of bindings that was recorded before
    /// this instant ([`turnpike_store::BindingsMark`]).
    pub(super) guided_through: Timestamp,
    /// How many times the version differed from that of the read before, or may have changed unseen
    /// because that read was too long ago.
    pub(super) changes: u64,
    /// When the read began; `None` before the first read.
    pub(super) asked_at: Option<Instant>,
}

/// The address and epoch of a partition's owner.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) partition: PartitionId,
    pub(crate) epoch: Epoch,
    /// The owner's address; `None` before the first claim, and when the process that claimed the
    /// partition is known to have been replaced (P11).
    pub(crate) address: Option<String>,
    highest: HighestEpoch,
}

/// The highest epoch seen of a partition, shared by all tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct HighestEpoch(Arc<AtomicU64>);

impl HighestEpoch {
    /// Whether an answer under `epoch` is valid (P17). Raises the highest epoch seen to `epoch`.
    pub(crate) fn admits(&self, epoch: u64) -> bool {
        self.0.fetch_max(epoch, Ordering::AcqRel) <= epoch || off(Check::EpochFloor)
    }
}

impl Route {
    /// Whether an answer under `epoch` is valid (P17).
    pub(crate) fn admits(&self, epoch: u64) -> bool {
        self.highest.admits(epoch)
    }
}

/// A mark of look-ups as a sub-batch states it, in microseconds. At least 1, with which an owner
/// refuses the sub-batch as too old: 0 would state that no account was looked up.
pub(crate) fn stated_mark(mark: Timestamp) -> u64 {
    mark.micros().max(1).unsigned_abs()
}

impl RouteTable {
    /// The mark of look-ups (P28). Look-ups that begin after this table was read are valid for
    /// records that start no later than the sum of this instant, [`GUIDED_MAX_US`], and
    /// [`turnpike_types::limits::AHEAD_MAX_US`].
    pub(crate) const fn guided_through(&self) -> Timestamp {
        self.bindings.guided_through
    }

    /// Whether look-ups with this table are valid for records that start now.
    pub(super) fn covers_present_records(&self) -> bool {
        let covered = self.bindings.guided_through.saturating_add(GUIDED_MAX_US / 2);
        self.generation > 0 && (self.observation.now <= covered || off(Check::RecentMark))
    }

    /// The age of the mark of look-ups by the clock of the database; zero before the mark was read.
    pub(crate) fn mark_age(&self) -> Duration {
        if self.bindings.asked_at.is_none() {
            return Duration::ZERO;
        }
        let age = self.observation.now.micros().saturating_sub(self.guided_through().micros());
        // The mark may be ahead of the last read of the clock.
        Duration::from_micros(age.max(0).unsigned_abs())
    }

    /// The table before the first read.
    pub(super) fn empty() -> Self {
        let observation = Observation {
            nodes: Vec::new(),
            partitions: Vec::new(),
            catalogue_version: 0,
            now: Timestamp(0),
        };
        Self {
            generation: 0,
            read_at: Instant::now(),
            observation,
            silent: Vec::new(),
            bindings: BindingsSeen::default(),
            routes: Vec::new(),
            ranges: Vec::new(),
        }
    }

    /// Builds a table from `observation`. `highest` carries over the epochs seen before.
    pub(crate) fn new(
        generation: u64,
        mut observation: Observation,
        silent: Vec<Duration>,
        highest: &mut BTreeMap<PartitionId, HighestEpoch>,
    ) -> Self {
        observation.partitions.sort_by_key(|row| row.spec.id);
        let routes: Vec<Route> = observation
            .partitions
            .iter()
            .map(|row| {
                let highest = highest.entry(row.spec.id).or_default().clone();
                // An epoch in the database raises the highest epoch seen, as an answer does.
                highest.admits(row.epoch.number());
                Route {
                    partition: row.spec.id,
                    epoch: row.epoch,
                    address: address_of_owner(row, &observation.nodes),
                    highest,
                }
            })
            .collect();
        let mut ranges: Vec<(u64, u64, usize)> = observation
            .partitions
            .iter()
            .enumerate()
            .map(|(slot, row)| (row.spec.range.first().0, row.spec.range.last().0, slot))
            .collect();
        ranges.sort_unstable();
        let bindings = BindingsSeen::default();
        let read_at = Instant::now();
        Self { generation, read_at, observation, silent, bindings, routes, ranges }
    }

    /// The number of partitions.
    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }

    /// The slot of the partition that covers `account`. A slot is an index into the partitions
    /// sorted by id.
    pub(crate) fn slot_of(&self, account: AccountNumber) -> Option<usize> {
        self.range_of(account).map(|(_, _, slot)| slot)
    }

    /// The range (first, last, slot) that covers `account`.
    pub(crate) fn range_of(&self, account: AccountNumber) -> Option<(u64, u64, usize)> {
        let after = self.ranges.partition_point(|(first, _, _)| *first <= account.0);
        let range = *self.ranges.get(after.checked_sub(1)?)?;
        (account.0 <= range.1).then_some(range)
    }

    /// The slot of the home partition of an identity (P28).
    pub(crate) fn home_of_identity(&self, identity: &str) -> Option<usize> {
        self.home(identity.as_bytes())
    }

    /// The slot of the home partition of an account that no partition covers (P35).
    pub(crate) fn home_of_account(&self, account: AccountNumber) -> Option<usize> {
        self.home(&account.0.to_le_bytes())
    }

    fn home(&self, key: &[u8]) -> Option<usize> {
        let slot = xxh3_64(key).checked_rem(self.routes.len() as u64)?;
        usize::try_from(slot).ok()
    }

    /// The route in `slot`.
    pub(crate) fn at(&self, slot: usize) -> Option<&Route> {
        self.routes.get(slot)
    }

    /// The route of `partition`.
    pub(crate) fn route(&self, partition: PartitionId) -> Option<&Route> {
        let slot = self.routes.binary_search_by_key(&partition, |route| route.partition).ok()?;
        self.routes.get(slot)
    }

    /// Another member to send to when the addresses in `tried` could not be reached (P16): of the
    /// members with a warm replica and a live heartbeat, the one with the highest priority.
    pub(crate) fn stand_in(
        &self,
        partition: PartitionId,
        tried: &[String],
        suspicion: Duration,
    ) -> Option<String> {
        let rows = &self.observation.partitions;
        let slot = rows.binary_search_by_key(&partition, |row| row.spec.id).ok()?;
        let members = &rows.get(slot)?.spec.members;
        let warm = members.iter().filter_map(|member| {
            let mut beats = self.observation.nodes.iter().map(|row| &row.beat).zip(&self.silent);
            let (beat, silent) = beats.find(|(beat, _)| beat.node == member.node)?;
            let is_warm = beat.replica_of(partition).is_some();
            let may_be_there = *silent < suspicion && !tried.contains(&beat.address);
            (is_warm && may_be_there).then_some((member.priority, &beat.address))
        });
        warm.max().map(|(_, address)| address.clone())
    }

    /// The epoch to complain about when the addresses in `tried` could not be reached; `None`
    /// unless the owner's address is one of them.
    pub(crate) fn complaint(&self, partition: PartitionId, tried: &[String]) -> Option<u64> {
        let route = self.route(partition)?;
        let address = route.address.as_ref()?;
        tried.contains(address).then(|| route.epoch.number())
    }

    /// All routes, sorted by partition.
    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }
}

fn address_of_owner(row: &PartitionRow, nodes: &[NodeRow]) -> Option<String> {
    let (owner, incarnation) = row.owner.as_ref()?;
    let node = nodes.iter().find(|node| node.beat.node == *owner)?;
    (node.beat.incarnation == *incarnation).then(|| node.beat.address.clone())
}
