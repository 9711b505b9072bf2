//! Statements that are the same for SQLite and PostgreSQL. Longer statements, and those that
//! differ, are in .sql files of each implementation.
//!
//! Each comment lists the parameters in order, and then the columns of the result.

/// Returns incarnation.
pub(crate) const INCARNATION: &str = "SELECT incarnation FROM store";

/// Returns catalogue_version.
pub(crate) const CATALOGUE_VERSION: &str = "SELECT catalogue_version FROM store";

/// Parameter: partition. Returns a [`FenceTuple`](super::rows::FenceTuple).
pub(crate) const FENCE: &str = "SELECT epoch, claim, next_segment, last_hash, checkpoint_segment \
     FROM partitions WHERE id = $1";

/// Returns a [`SpecTuple`](super::topology::SpecTuple) for each partition.
pub(crate) const SPECS: &str = "SELECT id, first_account, last_account, horizon_us, accept_since FROM partition_specs \
     ORDER BY id";

/// Returns a [`MemberTuple`](super::topology::MemberTuple) for each member.
pub(crate) const MEMBERS: &str =
    "SELECT partition, node, priority FROM members ORDER BY partition, priority DESC";

/// Parameters: id, first_account, last_account, horizon_us, accept_since.
pub(crate) const INSERT_SPEC: &str = "INSERT INTO partition_specs (id, first_account, last_account, horizon_us, accept_since) \
     VALUES ($1, $2, $3, $4, $5)";

/// Parameters: partition, node, priority.
pub(crate) const INSERT_MEMBER: &str =
    "INSERT INTO members (partition, node, priority) VALUES ($1, $2, $3)";

/// Parameters: id, claim, last_hash.
pub(crate) const INSERT_PARTITION: &str =
    "INSERT INTO partitions (id, claim, last_hash) VALUES ($1, $2, $3)";

/// No parameters. The new topology number makes readers fetch specs and members again.
pub(crate) const TOPOLOGY_CHANGED: &str = "UPDATE store SET topology = topology + 1";

/// Parameter: partition.
pub(crate) const UNPIN: &str = "DELETE FROM pins WHERE partition = $1";

/// Parameter: partition. Returns the number of partitions with this id, 0 or 1.
pub(crate) const COUNT_SPEC: &str = "SELECT count(*) FROM partition_specs WHERE id = $1";

/// Parameter: node. Inserts no row if no node of this name has written a heartbeat.
pub(crate) const DRAIN: &str =
    "INSERT INTO drained (node) SELECT node FROM nodes WHERE node = $1 ON CONFLICT DO NOTHING";

/// Parameter: node.
pub(crate) const UNDRAIN: &str = "DELETE FROM drained WHERE node = $1";

/// Parameter: node. Returns the number of nodes with this name, 0 or 1.
pub(crate) const COUNT_NODE: &str = "SELECT count(*) FROM nodes WHERE node = $1";

/// Parameters: id, epoch, claim, to. If `to` is null, the partition has no owner afterwards.
pub(crate) const RELEASE: &str = "UPDATE partitions SET released_to = $4, \
     owner = CASE WHEN $4 IS NULL THEN NULL ELSE owner END WHERE id = $1 AND epoch = $2 AND claim = $3";

/// Parameters: id, epoch, claim, next segment, last hash.
pub(crate) const BARRIER: &str = "UPDATE partitions SET barriers = barriers + 1 \
     WHERE id = $1 AND epoch = $2 AND claim = $3 AND next_segment = $4 AND last_hash = $5";

/// Parameters: partition, name, segment, body. Inserts no row if the part exists or the partition
/// does not.
pub(crate) const PUT_PART: &str = "INSERT INTO checkpoint_parts (partition, name, segment, body) \
     SELECT $1, $2, $3, $4 FROM partition_specs WHERE id = $1 ON CONFLICT DO NOTHING";

/// Parameters: partition, name, segment, body. Returns whether the stored part is equal.
pub(crate) const SAME_PART: &str = "SELECT segment = $3 AND body = $4 FROM checkpoint_parts \
     WHERE partition = $1 AND name = $2";

/// Parameters: partition, name. Returns body.
pub(crate) const PART: &str =
    "SELECT body FROM checkpoint_parts WHERE partition = $1 AND name = $2";

/// Parameter: partition. Returns name and segment.
pub(crate) const PART_NAMES: &str =
    "SELECT name, segment FROM checkpoint_parts WHERE partition = $1 ORDER BY segment, name";

/// Parameters: partition, name.
pub(crate) const DELETE_PART: &str =
    "DELETE FROM checkpoint_parts WHERE partition = $1 AND name = $2";

/// Parameter: partition. Returns a [`ManifestTuple`](super::rows::ManifestTuple) for each manifest,
/// newest first.
pub(crate) const MANIFESTS: &str = "SELECT segment, hash, parts, summary \
     FROM checkpoint_manifests WHERE partition = $1 ORDER BY segment DESC";

/// Parameters: partition, the number of manifests to keep.
pub(crate) const PRUNE_MANIFESTS: &str = "DELETE FROM checkpoint_manifests WHERE partition = $1 AND segment NOT IN \
     (SELECT segment FROM checkpoint_manifests WHERE partition = $1 \
      ORDER BY segment DESC LIMIT $2)";

/// Parameters: partition, segment. Returns hash.
pub(crate) const SEGMENT_HASH: &str =
    "SELECT hash FROM segments WHERE partition = $1 AND segment = $2";

/// Parameters: after, the most entries, the most bytes. Returns a
/// [`CatalogueTuple`](super::rows::CatalogueTuple) for each entry.
pub(crate) const CATALOGUE_SINCE: &str = include_str!("catalogue_since.sql");

/// Parameters: kind, id (null for all), after, the most heads. Returns a
/// [`HeadTuple`](super::rows::HeadTuple) for each version.
pub(crate) const CATALOGUE_HEADS: &str = "SELECT c.catalogue_version, c.kind, c.id, c.version, c.starts, c.content_hash, c.form, \
     c.row_count, c.bytes, c.published_at, t.tz_database \
     FROM catalogue c LEFT JOIN published_with t ON t.catalogue_version = c.catalogue_version \
     WHERE c.kind = $1 AND ($2 IS NULL OR c.id = $2) AND c.catalogue_version > $3 \
     ORDER BY c.catalogue_version LIMIT $4";

/// Parameters: kind, id. Returns a [`HeadTuple`](super::rows::HeadTuple) for each version.
pub(crate) const VERSIONS: &str = "SELECT c.catalogue_version, c.kind, c.id, c.version, c.starts, c.content_hash, c.form, \
     c.row_count, c.bytes, c.published_at, t.tz_database \
     FROM catalogue c LEFT JOIN published_with t ON t.catalogue_version = c.catalogue_version \
     WHERE c.kind = $1 AND c.id = $2 ORDER BY c.catalogue_version";

/// Returns bindings_version, guided_through_us.
pub(crate) const BINDINGS_MARK: &str = "SELECT bindings_version, guided_through_us FROM store";

/// Parameter: the clock. Only for SQLite, where no other transaction writes at the same time.
pub(crate) const ADVANCE_GUIDED: &str =
    "UPDATE store SET guided_through_us = $1 WHERE guided_through_us < $1";

/// No parameters. The new version makes fronts discard the histories that they have cached.
pub(crate) const BINDINGS_CHANGED: &str =
    "UPDATE store SET bindings_version = bindings_version + 1";

/// Returns is_v4 and length.
pub(crate) const PREFIX_LENGTHS: &str = "SELECT is_v4, length FROM binding_prefixes";

/// Parameters: is_v4, length.
pub(crate) const INSERT_PREFIX_LENGTH: &str =
    "INSERT INTO binding_prefixes (is_v4, length) VALUES ($1, $2) ON CONFLICT DO NOTHING";

/// Parameters: account, the most bindings. Returns a [`BindingTuple`](super::rows::BindingTuple)
/// for each binding.
pub(crate) const BINDINGS_OF: &str = "SELECT identity, account, from_us, until_us FROM bindings \
     WHERE account = $1 ORDER BY identity, from_us LIMIT $2";

/// Parameters: identity, from_us.
pub(crate) const DELETE_BINDING: &str = "DELETE FROM bindings WHERE identity = $1 AND from_us = $2";

/// Parameters: identity, from_us, until_us.
pub(crate) const END_BINDING: &str =
    "UPDATE bindings SET until_us = $3 WHERE identity = $1 AND from_us = $2";

/// Parameters: identity, account, from_us, until_us, canonical, recorded_us.
pub(crate) const INSERT_BINDING: &str = "INSERT INTO bindings (identity, account, from_us, until_us, canonical, recorded_us) \
     VALUES ($1, $2, $3, $4, $5, $6)";

/// Parameters: identity, account, from_us, until_us, canonical, recorded_us, withdrawn_us.
pub(crate) const INSERT_WITHDRAWN: &str = "INSERT INTO withdrawn_bindings \
     (identity, account, from_us, until_us, canonical, recorded_us, withdrawn_us) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// Returns the instant of the last recorded change of bindings, guided_through_us.
pub(crate) const BINDINGS_RECORDED: &str =
    "SELECT bindings_recorded_us, guided_through_us FROM store";

/// Parameter: bindings_recorded_us.
pub(crate) const RECORD_BINDINGS: &str = "UPDATE store SET bindings_recorded_us = $1";

/// Parameter: the most identities. Returns identities of rows that an older release wrote and that
/// have no key yet.
pub(crate) const UNREAD_BINDINGS: &str =
    "SELECT DISTINCT identity FROM bindings WHERE canonical IS NULL LIMIT $1";

/// Parameters: identity, its key.
pub(crate) const READ_BINDING: &str =
    "UPDATE bindings SET canonical = $2 WHERE identity = $1 AND canonical IS NULL";

/// Parameters: consumer, the hash of an empty log. Inserts one row for each partition in which the
/// consumer has no cursor yet.
pub(crate) const REGISTER_CONSUMER: &str = "INSERT INTO cursors (consumer, partition, segment, row_count, hash) \
     SELECT $1, id, 0, 0, $2 FROM partition_specs WHERE TRUE ON CONFLICT DO NOTHING";

/// Parameter: consumer. Returns a [`CursorTuple`](super::rows::CursorTuple) for each partition.
pub(crate) const CURSORS: &str = "SELECT partition, segment, row_count, hash FROM cursors \
     WHERE consumer = $1 ORDER BY partition";

/// Parameters: consumer, partition. Returns a [`CursorTuple`](super::rows::CursorTuple).
pub(crate) const CURSOR: &str = "SELECT partition, segment, row_count, hash FROM cursors \
     WHERE consumer = $1 AND partition = $2";

/// Parameters: consumer, partition, from (segment, row_count, hash), to (segment, row_count, hash).
/// Changes a row only if the cursor is exactly at `from` (P38).
pub(crate) const MOVE_CURSOR: &str = "UPDATE cursors SET segment = $6, row_count = $7, hash = $8 \
     WHERE consumer = $1 AND partition = $2 AND segment = $3 AND row_count = $4 AND hash = $5";
