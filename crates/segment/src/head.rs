//! The head of a segment: everything that is not stored in columns.

use std::collections::BTreeMap;

pub use turnpike_tariff::{Settings, Subscription};
use turnpike_types::{Currency, Epoch, Money, PartitionId, SegmentNumber, Timestamp};

/// The head as it is stored in the body: a protobuf message private to the segment format.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Head {
    /// The partition.
    #[prost(uint32, tag = "1")]
    pub partition: u32,
    /// The segment's number.
    #[prost(uint64, tag = "2")]
    pub segment: u64,
    /// The owner's epoch when the segment was sealed.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    /// Logged time in microseconds (P26).
    #[prost(sfixed64, tag = "4")]
    pub now_us: i64,
    /// The oldest acceptable start (P26).
    #[prost(sfixed64, tag = "5")]
    pub floor_us: i64,
    /// The catalogue version whose plans were used (P36).
    #[prost(uint64, tag = "6")]
    pub catalogue_version: u64,
    /// The component table that lines refer to.
    #[prost(message, repeated, tag = "7")]
    pub components: Vec<ComponentHead>,
    /// The variable ids that changes refer to.
    #[prost(fixed64, repeated, tag = "8")]
    pub variables: Vec<u64>,
    /// The changes of accounts other than usage, in order.
    #[prost(message, repeated, tag = "9")]
    pub entries: Vec<Entry>,
    /// The number of records, rated and suspended together.
    #[prost(uint64, tag = "10")]
    pub records: u64,
    /// The number of records that went to suspense.
    #[prost(uint64, tag = "11")]
    pub suspended: u64,
    /// The number of charge lines.
    #[prost(uint64, tag = "12")]
    pub lines: u64,
    /// By currency, the sum of the lines that post to an account, in billionths.
    #[prost(btree_map = "string, string", tag = "13")]
    pub amounts: BTreeMap<String, String>,
    /// The number of lines that post to an account other than their record's (P33).
    #[prost(uint64, tag = "14")]
    pub postings: u64,
    /// The details of the suspense reasons of records, each text once. A program that does not know
    /// this field reads the records without details.
    #[prost(message, repeated, tag = "15")]
    pub details: Vec<SuspenseDetail>,
}

/// A detail of the suspense reason of some records.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SuspenseDetail {
    /// The text, at most [`turnpike_types::limits::DETAIL_BYTES_MAX`] bytes.
    #[prost(string, tag = "1")]
    pub text: String,
    /// The rows of the records, in order.
    #[prost(uint32, repeated, tag = "2")]
    pub records: Vec<u32>,
}

/// A component as it is stored in the head.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ComponentHead {
    /// The plan.
    #[prost(string, tag = "1")]
    pub plan_id: String,
    /// The version of the plan.
    #[prost(uint32, tag = "2")]
    pub plan_version: u32,
    /// The primitive.
    #[prost(string, tag = "3")]
    pub primitive: String,
    /// The step or charge of the primitive.
    #[prost(string, tag = "4")]
    pub component: String,
    /// The number of the component's [`crate::LineKind`].
    #[prost(uint32, tag = "5")]
    pub kind: u32,
    /// The price as written in the plan.
    #[prost(string, tag = "6")]
    pub price: String,
    /// The base unit of quantities.
    #[prost(string, tag = "7")]
    pub unit: String,
    /// The currency (ISO 4217).
    #[prost(string, tag = "8")]
    pub currency: String,
    /// The variable whose level the lines show.
    #[prost(fixed64, optional, tag = "9")]
    pub level: Option<u64>,
}

/// A change of an account other than usage.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// The entry precedes the record of this row.
    #[prost(uint32, tag = "1")]
    pub before_record: u32,
    /// The account; zero for a suspended record of an unbound identity.
    #[prost(uint64, tag = "2")]
    pub account: u64,
    /// The change.
    #[prost(oneof = "Change", tags = "3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 17")]
    pub change: Option<Change>,
    /// The request that opened the account, so that the request is recognised when it is sent
    /// again; 0 for none.
    #[prost(fixed64, tag = "16")]
    pub request_id: u64,
}

/// The kinds of changes.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Change {
    /// The account was opened.
    #[prost(message, tag = "3")]
    Opened(Settings),
    /// The account's settings changed.
    #[prost(message, tag = "4")]
    SettingsChanged(Settings),
    /// The account subscribed to a plan.
    #[prost(message, tag = "5")]
    Subscribed(Subscription),
    /// The account cancelled a subscription.
    #[prost(message, tag = "6")]
    Cancelled(Cancellation),
    /// A suspended record was rated. The record that follows this entry in the segment is the
    /// suspended record, and its deduplication key is known already.
    #[prost(message, tag = "7")]
    Recycled(SuspenseKey),
    /// A suspended record was recycled and stays in suspense.
    #[prost(message, tag = "8")]
    StillSuspended(SuspenseKey),
    /// A suspended record was moved to its account in another partition and left suspense here.
    #[prost(message, tag = "9")]
    MovedAway(SuspenseKey),
    /// The postings of another partition were taken up to this cursor (P33). The account is zero.
    #[prost(message, tag = "10")]
    PostingsTaken(PostingCursor),
    /// The account was offered alternatives, of which one is billed in each cycle
    /// (docs/plan-semantics.md section 6).
    #[prost(message, tag = "11")]
    Offered(Offer),
    /// The account chose the alternative that a cycle is billed by, instead of the cheapest.
    #[prost(message, tag = "12")]
    Picked(Pick),
    /// The account keeps one alternative from an instant on and no longer has a choice.
    #[prost(message, tag = "13")]
    OptedOut(OptOut),
    /// A subscription that had an end was given an earlier one, or a subscription never begins. A
    /// node of a release that does not know this kind stops at the entry (I4).
    #[prost(message, tag = "14")]
    EndMoved(EndMove),
    /// The account's settings changed, and settings that an earlier release let begin beyond the
    /// range of dates were removed: they would have excluded every later change. A node of a release
    /// that does not know this kind stops at the entry (I4).
    #[prost(message, tag = "17")]
    SettingsCorrected(Settings),
}

/// The end of a subscription.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Cancellation {
    /// The plan.
    #[prost(string, tag = "1")]
    pub plan_id: String,
    /// The instant from which the subscription no longer rates, in microseconds.
    #[prost(sfixed64, tag = "2")]
    pub at_us: i64,
}

/// An earlier end of a subscription that had an end already, or the start as its end.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EndMove {
    /// The plan.
    #[prost(string, tag = "1")]
    pub plan_id: String,
    /// The start of the subscription, in microseconds.
    #[prost(sfixed64, tag = "2")]
    pub from_us: i64,
    /// The instant from which the subscription no longer rates, in microseconds. The start, if it
    /// never began.
    #[prost(sfixed64, tag = "3")]
    pub until_us: i64,
}

/// A record in suspense, at the revision that the change applies to (P35).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SuspenseKey {
    /// The record's id.
    #[prost(string, tag = "1")]
    pub record_id: String,
    /// The identity, which is part of the key if the account is zero.
    #[prost(string, tag = "2")]
    pub identity: String,
    /// The number of unsuccessful attempts to recycle the record before this change.
    #[prost(uint32, tag = "3")]
    pub revision: u32,
    /// The number of the record's new reason; 0 when the record left suspense.
    #[prost(uint32, tag = "4")]
    pub reason: u32,
    /// The account that the record was moved to. Only with [`Change::MovedAway`], else 0.
    #[prost(uint64, tag = "5")]
    pub moved_to: u64,
    /// The detail of the new reason. Only with [`Change::StillSuspended`], else empty.
    #[prost(string, tag = "6")]
    pub detail: String,
}

/// The position up to which the postings of a sender were taken (P33).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PostingCursor {
    /// The partition whose log holds the postings.
    #[prost(uint32, tag = "1")]
    pub sender: u32,
    /// The segment. All earlier segments are before the cursor.
    #[prost(uint64, tag = "2")]
    pub segment: u64,
    /// The number of postings of that segment before the cursor, including postings to other
    /// partitions.
    #[prost(uint32, tag = "3")]
    pub ordinal: u32,
    /// The segment's hash, by which a sender with another history is detected (P18).
    #[prost(bytes = "vec", tag = "4")]
    pub hash: Vec<u8>,
}

/// An offer of alternatives. Each alternative rates all usage tentatively, and one alternative is
/// billed in each cycle (docs/plan-semantics.md section 6).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Offer {
    /// The option's name, unique in the account.
    #[prost(string, tag = "1")]
    pub option: String,
    /// The plans of the alternatives. Of equally cheap alternatives, the first is billed.
    #[prost(string, repeated, tag = "2")]
    pub plans: Vec<String>,
    /// The fee for each cycle, a decimal in the account's currency; empty for none.
    #[prost(string, tag = "3")]
    pub fee: String,
    /// The instant from which the offer is in force, in microseconds since 1970.
    #[prost(sfixed64, tag = "4")]
    pub from_us: i64,
    /// The priority of all alternatives; a subscription with a larger priority rates first.
    #[prost(uint32, tag = "5")]
    pub priority: u32,
}

/// The choice of the alternative that a cycle is billed by.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Pick {
    /// The option.
    #[prost(string, tag = "1")]
    pub option: String,
    /// The alternative.
    #[prost(string, tag = "2")]
    pub plan_id: String,
    /// The first date of the cycle, in days since 1970-01-01.
    #[prost(sint32, tag = "3")]
    pub cycle: i32,
}

/// The end of an option: one alternative continues as a plain subscription.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OptOut {
    /// The option.
    #[prost(string, tag = "1")]
    pub option: String,
    /// The alternative that continues.
    #[prost(string, tag = "2")]
    pub plan_id: String,
    /// The instant from which the alternative is a plain subscription, in microseconds.
    #[prost(sfixed64, tag = "3")]
    pub at_us: i64,
}

/// The position, time and totals of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The partition.
    pub partition: PartitionId,
    /// The segment's number.
    pub segment: SegmentNumber,
    /// The owner's epoch when the segment was sealed.
    pub epoch: Epoch,
    /// Logged time (P26).
    pub now: Timestamp,
    /// The oldest acceptable start (P26).
    pub floor: Timestamp,
    /// The catalogue version whose plans were used (P36).
    pub catalogue_version: u64,
    /// Control totals.
    pub totals: Totals,
}

/// Control totals, by which a consumer can reconcile (docs/architecture.md section 8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The number of records, rated and suspended together.
    pub records: u64,
    /// The number of records that went to suspense.
    pub suspended: u64,
    /// The number of charge lines, wherever they post.
    pub lines: u64,
    /// The number of lines that post to an account other than their record's (P33).
    pub postings: u64,
    /// By currency, the sum of the lines that post to an account, sorted by currency. Replaced and
    /// tentative lines, and lines that post to no account, do not count.
    pub amounts: Vec<(Currency, Money)>,
}
