//! Cursors of consumers in the partitions' output (P38).

use async_trait::async_trait;
use turnpike_types::limits::CONSUMERS_MAX;
use turnpike_types::{PartitionId, SegmentHash, SegmentNumber, text};

use crate::{StoreError, StoreResult};

/// Consumers, each with a cursor in every partition.
#[async_trait]
pub trait CursorStore: Send + Sync + 'static {
    /// Registers a consumer with a cursor at the beginning of every partition. Registering again
    /// keeps existing cursors and adds the partitions created since.
    async fn register_consumer(&self, name: &str) -> StoreResult<()>;

    /// A consumer's cursors, sorted by partition; empty if the consumer is not registered.
    async fn consumer(&self, name: &str) -> StoreResult<Vec<Consumer>>;

    /// The names of all consumers, sorted; at most
    /// [`CONSUMERS_MAX`].
    async fn consumers(&self) -> StoreResult<Vec<String>>;

    /// Removes a consumer with its cursors. `false` when there is none of this name. If it registers
    /// again, it begins with the first row again.
    async fn remove_consumer(&self, name: &str) -> StoreResult<bool>;

    /// Moves a cursor to `to` if it is exactly at `from` (P38).
    async fn acknowledge(&self, from: &Consumer, to: &Consumer) -> StoreResult<CursorAck>;
}

/// A consumer's cursor in a partition's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// The consumer.
    pub name: String,
    /// The partition.
    pub partition: PartitionId,
    /// The segment of the last acknowledged row; zero before the first acknowledgement.
    pub segment: SegmentNumber,
    /// The number of that segment's rows that are acknowledged.
    pub row: u64,
    /// The hash of that segment; it differs in another history (P18).
    pub hash: SegmentHash,
}

/// The outcome of an acknowledgement (P38).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CursorAck {
    /// The cursor was moved.
    Moved,
    /// The cursor was not at `from`. This is its present position.
    Elsewhere(Consumer),
    /// The consumer is not registered for the partition.
    Unknown,
}

/// Refuses an acknowledgement whose cursors differ in consumer or partition.
///
/// # Errors
/// `Refused`, with a message that names both cursors.
pub(crate) fn check_cursors(from: &Consumer, to: &Consumer) -> StoreResult<()> {
    if from.name == to.name && from.partition == to.partition {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "a cursor keeps its consumer and partition: {}/{} is not {}/{}",
        from.name, from.partition, to.name, to.partition
    )))
}

/// Refuses a new consumer when there are `others` already. Each has a cursor in every partition,
/// for ever.
///
/// # Errors
/// `Refused`, with the number.
pub(crate) fn check_consumers(name: &str, others: u64) -> StoreResult<()> {
    if others < CONSUMERS_MAX as u64 {
        return Ok(());
    }
    Err(StoreError::Refused(format!(
        "consumer {name} can't be registered: there are {others} consumers, and at most \
         {CONSUMERS_MAX} are possible; use one of their names, or remove one that nobody uses any more \
         (turnpike consumer remove)"
    )))
}

/// Refuses a malformed name of a consumer.
///
/// # Errors
/// `Refused` when it is empty, longer than 128 bytes, or has a control character.
pub(crate) fn check_consumer_name(name: &str) -> StoreResult<()> {
    if name.is_empty() {
        return Err(StoreError::Refused("a consumer's name has 1 to 128 bytes".to_owned()));
    }
    text::CONSUMER.check(name).map_err(|why| StoreError::Refused(why.to_string()))
}
