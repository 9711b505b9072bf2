//! Partitions, observations, pins and drains: statements, rows and steps.

use std::collections::BTreeMap;
use std::sync::Arc;

use turnpike_types::{
    AccountRange, ClaimId, NodeName, PartitionId, Priority, SegmentHash, Timestamp,
};

use super::errors::corrupt;
use super::observed::Observed;
use super::spec_cache::{SpecCache, Specs};
use super::statement::{SqlSession, SqlStatement};
use super::values::{loaded, partition_id, stored, stored_partition};
use crate::topology::{new_partitions, not_pinned};
use crate::{Member, Observation, PartitionSpec, PinOutcome, StoreIncarnation, StoreResult};

/// Returns incarnation.
const INCARNATION: &str = "SELECT incarnation FROM store";

/// Returns a [`SpecTuple`] for each partition.
const SPECS: &str = "SELECT id, first_account, last_account, horizon_us, accept_since FROM partition_specs \
     ORDER BY id";

/// Returns a [`MemberTuple`] for each member.
const MEMBERS: &str =
    "SELECT partition, node, priority FROM members ORDER BY partition, priority DESC";

/// Parameters: id, first_account, last_account, horizon_us, accept_since.
const INSERT_SPEC: &str = "INSERT INTO partition_specs (id, first_account, last_account, horizon_us, accept_since) \
     VALUES ($1, $2, $3, $4, $5)";

/// Parameters: partition, node, priority.
const INSERT_MEMBER: &str = "INSERT INTO members (partition, node, priority) VALUES ($1, $2, $3)";

/// Parameters: id, claim, last_hash.
const INSERT_PARTITION: &str = "INSERT INTO partitions (id, claim, last_hash) VALUES ($1, $2, $3)";

/// No parameters. The new topology number makes readers fetch specs and members again.
const TOPOLOGY_CHANGED: &str = "UPDATE store SET topology = topology + 1";

/// Parameter: partition.
const UNPIN: &str = "DELETE FROM pins WHERE partition = $1";

/// Parameter: partition. Returns the number of partitions with this id, 0 or 1.
const COUNT_SPEC: &str = "SELECT count(*) FROM partition_specs WHERE id = $1";

/// Parameter: node. Inserts no row if no node of this name has written a heartbeat.
const DRAIN: &str =
    "INSERT INTO drained (node) SELECT node FROM nodes WHERE node = $1 ON CONFLICT DO NOTHING";

/// Parameter: node.
pub(crate) const UNDRAIN: &str = "DELETE FROM drained WHERE node = $1";

/// Parameter: node. Returns the number of nodes with this name, 0 or 1.
const COUNT_NODE: &str = "SELECT count(*) FROM nodes WHERE node = $1";

pub(crate) const CREATE: &str = "create partitions";
const OBSERVE: &str = "observe";
pub(crate) const PINNING: &str = "pin";
pub(crate) const DRAINING: &str = "drain";

/// Columns: id, first_account, last_account, horizon_us, accept_since.
type SpecTuple = (i64, i64, i64, i64, Option<i64>);

/// Columns: partition, node, priority; sorted by descending priority within a partition.
type MemberTuple = (i64, String, i64);

/// The id of the history that the database holds (P18).
pub(crate) async fn incarnation(session: &mut impl SqlSession) -> StoreResult<StoreIncarnation> {
    const DOING: &str = "incarnation";
    let row: Option<(i64,)> = session.row(DOING, SqlStatement::new(INCARNATION)).await?;
    let (incarnation,) = row.ok_or_else(|| corrupt(DOING, "the store's row is missing"))?;
    Ok(StoreIncarnation(loaded(incarnation)))
}

/// Creates partitions. No other process creates partitions at the same time.
pub(crate) async fn create_partitions(
    session: &mut impl SqlSession,
    asked: &[PartitionSpec],
) -> StoreResult<()> {
    let existing: Vec<PartitionSpec> = read_specs(session, CREATE).await?.into_values().collect();
    let new = new_partitions(&existing, asked)?;
    if new.is_empty() {
        return Ok(());
    }
    for spec in &new {
        insert(session, spec).await?;
    }
    session.execute(CREATE, SqlStatement::new(TOPOLOGY_CHANGED)).await?;
    Ok(())
}

async fn insert(session: &mut impl SqlSession, spec: &PartitionSpec) -> StoreResult<()> {
    let id = stored_partition(spec.id);
    let insert_spec = SqlStatement::new(INSERT_SPEC)
        .bind(id)
        .bind(stored(spec.range.first().0))
        .bind(stored(spec.range.last().0))
        .bind(spec.horizon_us)
        .bind(spec.accept_since.map(Timestamp::micros));
    session.execute(CREATE, insert_spec).await?;
    for member in &spec.members {
        let insert_member = SqlStatement::new(INSERT_MEMBER)
            .bind(id)
            .bind(member.node.0.as_str())
            .bind(i64::from(member.priority.0));
        session.execute(CREATE, insert_member).await?;
    }
    let (claim, hash) = (ClaimId::default(), SegmentHash::default());
    let insert_partition =
        SqlStatement::new(INSERT_PARTITION).bind(id).bind(&claim.0[..]).bind(&hash.0[..]);
    session.execute(CREATE, insert_partition).await?;
    Ok(())
}

/// One snapshot of nodes and partitions. `statement` is observe.sql with a clock; the settings of
/// the partitions are read in `session_of_specs` if they are not cached.
pub(crate) async fn observe(
    session: &mut impl SqlSession,
    statement: SqlStatement<'_>,
    cache: &SpecCache,
    session_of_specs: &mut impl SqlSession,
) -> StoreResult<Observation> {
    let observed = Observed::new(session.rows(OBSERVE, statement).await?, OBSERVE)?;
    let specs = specs_of(cache, observed.topology(), session_of_specs).await?;
    observed.with(&specs)
}

async fn specs_of(
    cache: &SpecCache,
    topology: i64,
    session: &mut impl SqlSession,
) -> StoreResult<Specs> {
    if let Some(kept) = cache.get(topology) {
        return Ok(kept);
    }
    let specs = Arc::new(read_specs(session, "read the topology").await?);
    cache.put(topology, &specs);
    Ok(specs)
}

/// The settings of all partitions. Specs are read before members. A partition created in between
/// has members and no spec, and is left out. Its creation changes the topology number, so the next
/// observation reads again.
async fn read_specs(
    session: &mut impl SqlSession,
    doing: &'static str,
) -> StoreResult<BTreeMap<PartitionId, PartitionSpec>> {
    let rows = session.rows(doing, SqlStatement::new(SPECS)).await?;
    let members = session.rows(doing, SqlStatement::new(MEMBERS)).await?;
    specs(rows, members, doing)
}

/// Joins specs with their members.
fn specs(
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

/// Sets or clears the pin of a partition. `set` writes the pin, and changes no row if the node is no
/// member; `None` clears the pin. The second statement finds why the first changed no row. Partitions
/// and members are never deleted, so that the reason still holds.
pub(crate) async fn pin(
    session: &mut impl SqlSession,
    partition: PartitionId,
    set: Option<SqlStatement<'_>>,
) -> StoreResult<PinOutcome> {
    let (id, names_a_member) = (stored_partition(partition), set.is_some());
    let statement = set.unwrap_or_else(|| SqlStatement::new(UNPIN).bind(id));
    if session.execute(PINNING, statement).await? == 1 {
        return Ok(PinOutcome::Pinned);
    }
    let specs = count(session, PINNING, SqlStatement::new(COUNT_SPEC).bind(id)).await?;
    Ok(not_pinned(specs, names_a_member))
}

/// Stores or removes a request to drain the node; `false` when there is no such node. The two
/// statements need no transaction: a node keeps its row once it has written a heartbeat.
pub(crate) async fn set_drained(
    session: &mut impl SqlSession,
    node: &str,
    drained: bool,
) -> StoreResult<bool> {
    let statement = if drained { DRAIN } else { UNDRAIN };
    session.execute(DRAINING, SqlStatement::new(statement).bind(node)).await?;
    let nodes = count(session, DRAINING, SqlStatement::new(COUNT_NODE).bind(node)).await?;
    Ok(nodes == 1)
}

async fn count(
    session: &mut impl SqlSession,
    doing: &'static str,
    statement: SqlStatement<'_>,
) -> StoreResult<i64> {
    let row: Option<(i64,)> = session.row(doing, statement).await?;
    row.map(|(count,)| count).ok_or_else(|| corrupt(doing, "a row is missing"))
}
