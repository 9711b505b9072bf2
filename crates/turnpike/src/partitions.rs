//! The account ranges, the members and the acceptance of new partitions.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use turnpike_access::Actor;
use turnpike_access::audit::{Action, AuditLog, Intent};
use turnpike_proto::audit::v1::AuditOutcome;
use turnpike_store::{Member, PartitionSpec, SharedDatabase};
use turnpike_types::{AccountRange, Must, NodeName, PartitionId, Priority, Timestamp, capped};

use crate::defaults::HORIZON;
use crate::exit::usage;
use crate::settings::Setting;
use crate::values;

/// The start times of records that a partition accepts.
#[derive(Clone, Debug, Args)]
pub(crate) struct AcceptanceArgs {
    /// The acceptance horizon: how long ago a record may start, with a unit (35d, 12h), at least a
    /// minute; a partition keeps it [default: 35d]
    #[arg(long, value_name = "TIME", value_parser = values::horizon)]
    horizon: Option<Duration>,
    /// Accept records since this time in spite of the horizon, for a backfill; not in the future
    #[arg(long, value_name = "TIME", value_parser = values::instant)]
    accept_since: Option<Timestamp>,
}

/// The resolved start times of records that new partitions accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acceptance {
    horizon: Setting<Duration>,
    accept_since: Option<Timestamp>,
}

/// Creates partitions, with entries in the audit log.
pub(crate) async fn create(
    database: &Arc<dyn SharedDatabase>,
    specs: &[PartitionSpec],
) -> anyhow::Result<()> {
    let audit = AuditLog::start(Arc::clone(database), rand::random());
    let shown = |spec: &PartitionSpec| format!("{}: accounts {}", spec.id, spec.range);
    let listed: Vec<String> = specs.iter().map(shown).collect();
    let intent = Intent::of(format!("{} partitions", specs.len())).with(listed.join("; "));
    let operation = audit.begin(&Actor::local(), Action::PartitionCreate, &intent).await?;
    let done = database.create_partitions(specs).await;
    let (outcome, detail) = match &done {
        Ok(()) => (AuditOutcome::Applied, String::new()),
        Err(error) if error.is_unknown() => (AuditOutcome::Unknown, error.to_string()),
        Err(error) => (AuditOutcome::Refused, error.to_string()),
    };
    operation.end(outcome, &detail, &[]).await;
    Ok(done?)
}

impl AcceptanceArgs {
    /// Refuses a start of acceptance in the future: until that instant it would not extend the
    /// horizon, and the keys of all records would be kept.
    pub(crate) fn resolve(self) -> anyhow::Result<Acceptance> {
        if let Some(since) = self.accept_since.filter(|since| since.micros() > values::now_us()) {
            let since = values::show_instant(since.micros());
            return Err(usage(format!(
                "--accept-since {since} is in the future; give the start of the backfill"
            )));
        }
        let horizon = Setting::of_option("--horizon", self.horizon, HORIZON);
        Ok(Acceptance { horizon, accept_since: self.accept_since })
    }
}

impl Acceptance {
    /// Accepts all records since `since`.
    pub(crate) const fn since(since: Timestamp) -> Self {
        Self { horizon: Setting::fixed(HORIZON), accept_since: Some(since) }
    }

    /// The first option, as written, that differs from the settings of an existing partition.
    pub(crate) fn unlike(&self, spec: &PartitionSpec) -> Option<String> {
        let horizon = &self.horizon;
        if horizon.is_given() && i64::try_from(horizon.value.as_micros()) != Ok(spec.horizon_us) {
            return Some(format!("--horizon {:?}", horizon.value));
        }
        let since = self.accept_since.filter(|since| spec.accept_since != Some(*since))?;
        Some(format!("--accept-since {}", values::show_instant(since.micros())))
    }
}

/// Splits the range evenly; the first parts are larger by one if there is a remainder.
pub(crate) fn split(accounts: AccountRange, count: u32) -> anyhow::Result<Vec<AccountRange>> {
    let (first, last, parts) = (accounts.first().0, accounts.last().0, u128::from(count.max(1)));
    let total = u128::from(last - first) + 1;
    if total < parts {
        return Err(usage(format!("{accounts} has fewer accounts than {count} partitions")));
    }
    let bound = |part: u128| -> u64 {
        let before = part * (total / parts) + part.min(total % parts);
        // The largest bound is `last - first + 1`.
        u64::try_from(before).must("account numbers start at 1, so there are fewer than 2^64")
    };
    let ranges = (0..parts).map(|part| {
        let (from, next) = (bound(part), bound(part + 1));
        AccountRange::new(first + from, first + (next - 1))
    });
    Ok(ranges.collect::<Result<_, _>>()?)
}

/// Partitions of these ranges; `members` gives the members of the partition at an index, from 0.
pub(crate) fn specs(
    ranges: &[AccountRange],
    first_id: u32,
    acceptance: &Acceptance,
    members: impl Fn(usize) -> Vec<Member>,
) -> anyhow::Result<Vec<PartitionSpec>> {
    let horizon_us = i64::try_from(acceptance.horizon.value.as_micros())
        .map_err(|_| usage("--horizon is too long; write for example 35d"))?;
    let last = u32::try_from(ranges.len()).ok().and_then(|count| first_id.checked_add(count));
    let last = last.ok_or_else(|| usage("--first-id leaves too few numbers"))?;
    let places = (first_id..last).zip(ranges).enumerate();
    Ok(places
        .map(|(place, (id, &range))| PartitionSpec {
            id: PartitionId(id),
            range,
            horizon_us,
            accept_since: acceptance.accept_since,
            members: members(place),
        })
        .collect())
}

/// The members of the partition at index `place`. The member at index `place` modulo the number of
/// members has the highest priority; the members after it follow in order.
pub(crate) fn rotated(names: &[String], place: usize) -> Vec<Member> {
    let count = names.len();
    let ranks = (1..=capped::<u32>(count)).rev();
    names
        .iter()
        .cycle()
        .skip(place % count.max(1))
        .take(count)
        .zip(ranks)
        .map(|(name, rank)| Member {
            node: NodeName(name.trim().to_owned()),
            priority: Priority(rank * 100),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_split_leaves_no_gap_and_differs_by_one_at_most() {
        for (first, last, count) in [(1, 10, 3), (5, 5, 1), (1, u64::MAX, 7), (1, 4, 4)] {
            let ranges = split(AccountRange::new(first, last).unwrap(), count).unwrap();
            assert_eq!(ranges.len(), count as usize);
            assert_eq!(ranges[0].first().0, first);
            assert_eq!(ranges[ranges.len() - 1].last().0, last);
            let sizes: Vec<u64> = ranges.iter().map(|r| r.last().0 - r.first().0).collect();
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].last().0 + 1, pair[1].first().0);
            }
        }
        assert!(split(AccountRange::new(1, 3).unwrap(), 4).is_err());
    }

    #[test]
    fn members_are_preferred_in_turn() {
        let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let order = |place| -> Vec<(String, u32)> {
            rotated(&names, place).into_iter().map(|m| (m.node.0, m.priority.0)).collect()
        };
        assert_eq!(order(0)[0], ("a".to_owned(), 300));
        assert_eq!(order(1), [("b".to_owned(), 300), ("c".to_owned(), 200), ("a".to_owned(), 100)]);
        assert_eq!(order(3), order(0));
    }
}
