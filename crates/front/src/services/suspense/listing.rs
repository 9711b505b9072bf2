//! Lists suspended records from their owners.

use tokio::sync::mpsc;
use tonic::Status;
use turnpike_proto::node::v1::NodeSuspenseRequest;
use turnpike_proto::suspense::v1::{ListRequest, SuspendedRecord, SuspensePosition};
use turnpike_types::text::{IDENTITY, RECORD_ID, shown};
use turnpike_types::{AccountNumber, PartitionId, SuspenseReason, capped};

use crate::FrontError;
use crate::core::Core;
use crate::routing::table::RouteTable;
use crate::services::suspense::lists::{SuspenseList, SuspensePage};

/// The number of records listed when the request gives none, and the maximum.
const RECORDS_DEFAULT: u32 = 10_000;
const RECORDS_MAX: u32 = 100_000;

/// Changes `filter` so that it no longer selects the records that were listed.
pub(crate) fn note_listed(
    filter: &mut ListRequest,
    partition: PartitionId,
    listed: &[SuspendedRecord],
) {
    let count = capped(listed.len());
    filter.records_max = filter.records_max.saturating_sub(count);
    if let Some(last) = listed.last() {
        filter.after = Some(position(partition, last));
    }
}

fn position(partition: PartitionId, record: &SuspendedRecord) -> SuspensePosition {
    let identity = if record.account_number == 0 { record.identity.clone() } else { String::new() };
    SuspensePosition {
        partition: partition.0,
        account_number: record.account_number,
        identity,
        record_id: record.record_id.clone(),
    }
}

/// The order of a list within a partition.
fn order(position: &SuspensePosition) -> (u64, &str, &str) {
    (position.account_number, &position.identity, &position.record_id)
}

/// The filter with its defaults, unless it asks for what does not exist.
pub(crate) fn checked(mut filter: ListRequest) -> Result<ListRequest, FrontError> {
    if filter.records_max == 0 {
        filter.records_max = RECORDS_DEFAULT;
    }
    if filter.records_max > RECORDS_MAX {
        return Err(FrontError::Invalid(format!("records_max is at most {RECORDS_MAX}")));
    }
    let is_reason = SuspenseReason::ALL.iter().any(|reason| reason.word() == filter.reason);
    if !filter.reason.is_empty() && !is_reason {
        let words: Vec<&str> = SuspenseReason::ALL.iter().map(|reason| reason.word()).collect();
        let (reason, words) = (shown(&filter.reason), words.join(", "));
        return Err(FrontError::Invalid(format!("unknown reason {reason}; use one of {words}")));
    }
    if let Some(after) = &filter.after {
        let illegal = RECORD_ID.bytes_max < after.record_id.len()
            || IDENTITY.bytes_max < after.identity.len();
        if illegal {
            return Err(FrontError::Invalid(
                "after names no record that can be listed: send the position of the last answer"
                    .to_owned(),
            ));
        }
    }
    Ok(filter)
}

/// The partitions that may hold the records that `filter` selects, sorted.
pub(crate) fn partitions(table: &RouteTable, filter: &ListRequest) -> Vec<PartitionId> {
    let behind = filter.after.as_ref().map_or(0, |after| after.partition);
    if filter.account_number == 0 {
        let all = table.routes().iter().map(|route| route.partition);
        return all.filter(|partition| partition.0 >= behind).collect();
    }
    // A partition that covers the account may have been created after the record arrived. The
    // record then waits in its home partition.
    let account = AccountNumber(filter.account_number);
    let mut slots: Vec<usize> =
        table.slot_of(account).into_iter().chain(table.home_of_account(account)).collect();
    slots.sort_unstable();
    slots.dedup();
    let found = slots.into_iter().filter_map(|slot| table.at(slot)).map(|route| route.partition);
    found.filter(|partition| partition.0 >= behind).collect()
}

/// The first records of a partition that `filter` selects, and whether more match behind them.
pub(crate) async fn list_one(
    core: &Core,
    partition: PartitionId,
    filter: &ListRequest,
) -> Result<(Vec<SuspendedRecord>, bool), FrontError> {
    let mut filter = filter.clone();
    filter.after = filter.after.filter(|after| after.partition == partition.0);
    let after = filter.after.clone();
    let most = filter.records_max as usize;
    let request = NodeSuspenseRequest { partition: partition.0, filter: Some(filter) };
    let answer =
        core.owners
            .ask(partition, request, |mut node, request| async move {
                node.list_suspense(request).await
            })
            .await?;
    let (mut records, more) = (answer.records, answer.more);
    if let Some(after) = after
        && records.iter().any(|record| order(&position(partition, record)) <= order(&after))
    {
        let message =
            "a node of an earlier release lists suspended records from the first one on: \
                       upgrade the node"
                .to_owned();
        return Err(FrontError::Refused { partition, message });
    }
    let is_cut = records.len() > most;
    records.truncate(most);
    Ok((records, more || is_cut))
}

/// Sends the records that `filter` selects, partition after partition. Returns once the client has
/// disconnected.
pub(crate) async fn list_into(
    core: &Core,
    table: &RouteTable,
    mut filter: ListRequest,
    (list, pages): (&SuspenseList, &mpsc::Sender<Result<SuspensePage, Status>>),
    may_go_on: impl Fn(&ListRequest) -> Result<(), Status>,
) -> Result<(), Status> {
    for partition in partitions(table, &filter) {
        let mut more = true;
        while more && filter.records_max > 0 {
            may_go_on(&filter)?;
            let share = list.room().await?;
            let records;
            (records, more) = list_one(core, partition, &filter).await?;
            note_listed(&mut filter, partition, &records);
            if pages.send(Ok(SuspensePage { records, share })).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// P35: suspense of an account is searched both in its home partition, where records wait that
    /// arrived when no partition covered it, and in the partition that covers it now.
    #[test]
    fn p35_suspense_of_an_account_is_looked_for_in_its_home_and_in_its_partition() {
        let table =
            crate::ingest::split::tests::table(&[(1, 1, 100), (2, 101, 200), (3, 201, 300)]);
        let found = |account_number| {
            partitions(&table, &ListRequest { account_number, ..ListRequest::default() })
        };
        let mut homes = BTreeMap::new();
        for account in 1001..1200 {
            // No partition covers the account: its records wait in its home partition.
            let home = table.home_of_account(AccountNumber(account)).and_then(|at| table.at(at));
            assert_eq!(found(account), [home.unwrap().partition]);
            *homes.entry(home.unwrap().partition).or_insert(0) += 1;
        }
        assert_eq!(homes.len(), 3, "{homes:?}");
        let mut elsewhere = BTreeSet::new();
        for account in 1..=300 {
            let covers = PartitionId(u32::try_from((account - 1) / 100 + 1).unwrap());
            let home = table.home_of_account(AccountNumber(account)).and_then(|at| table.at(at));
            let home = home.map(|route| route.partition);
            let found = found(account);
            assert!(found.contains(&covers) && home.is_some_and(|home| found.contains(&home)));
            assert!(found.is_sorted() && found.len() <= 2, "{found:?}");
            elsewhere.extend(home.filter(|home| *home != covers).map(|_| account));
        }
        assert!(elsewhere.len() > 50, "homes of their own: {elsewhere:?}");
        assert_eq!(found(0), [1, 2, 3].map(PartitionId));
    }
}
