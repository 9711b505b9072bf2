//! A segment's head: everything that is not a column.

use std::collections::BTreeMap;

use turnpike_types::{Currency, Epoch, Money, PartitionId, SegmentNumber, Timestamp};

/// The head as it stands in the body, a protobuf message of the segment format's own.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Head {
    /// The partition.
    #[prost(uint32, tag = "1")]
    pub partition: u32,
    /// The segment's number.
    #[prost(uint64, tag = "2")]
    pub segment: u64,
    /// The epoch under which it was made.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    /// Logged time, microseconds (P26).
    #[prost(sfixed64, tag = "4")]
    pub now_us: i64,
    /// The oldest start that was acceptable (P26).
    #[prost(sfixed64, tag = "5")]
    pub floor_us: i64,
    /// The catalogue's version that plans were taken from (P36).
    #[prost(uint64, tag = "6")]
    pub catalogue_version: u64,
    /// What lines point at.
    #[prost(message, repeated, tag = "7")]
    pub components: Vec<ComponentHead>,
    /// Variable ids that changes point at.
    #[prost(fixed64, repeated, tag = "8")]
    pub variables: Vec<u64>,
    /// What changed accounts beside usage, in order.
    #[prost(message, repeated, tag = "9")]
    pub entries: Vec<Entry>,
    /// Records, rated and suspended together.
    #[prost(uint64, tag = "10")]
    pub records: u64,
    /// Records that went to suspense.
    #[prost(uint64, tag = "11")]
    pub suspended: u64,
    /// Charge lines.
    #[prost(uint64, tag = "12")]
    pub lines: u64,
    /// Sum of the lines that post to an account, in billionths, by currency.
    #[prost(btree_map = "string, string", tag = "13")]
    pub amounts: BTreeMap<String, String>,
    /// Lines that post to another account than their record's (P33).
    #[prost(uint64, tag = "14")]
    pub postings: u64,
    /// What the suspense reasons of records are about, each text once. A program that does not know
    /// them reads the records without.
    #[prost(message, repeated, tag = "15")]
    pub details: Vec<SuspenseDetail>,
}

/// What the suspense reason of some records is about.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SuspenseDetail {
    /// At most [`turnpike_types::limits::DETAIL_BYTES_MAX`] bytes.
    #[prost(string, tag = "1")]
    pub text: String,
    /// The rows of the records, in order.
    #[prost(uint32, repeated, tag = "2")]
    pub records: Vec<u32>,
}

/// A component as it stands in the head.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct ComponentHead {
    /// The plan.
    #[prost(string, tag = "1")]
    pub plan_id: String,
    /// Its version.
    #[prost(uint32, tag = "2")]
    pub plan_version: u32,
    /// The primitive.
    #[prost(string, tag = "3")]
    pub primitive: String,
    /// Its step or charge.
    #[prost(string, tag = "4")]
    pub component: String,
    /// [`crate::LineKind`] by number.
    #[prost(uint32, tag = "5")]
    pub kind: u32,
    /// As the plan has it.
    #[prost(string, tag = "6")]
    pub price: String,
    /// The base unit of quantities.
    #[prost(string, tag = "7")]
    pub unit: String,
    /// ISO 4217.
    #[prost(string, tag = "8")]
    pub currency: String,
    /// The variable whose level the lines show.
    #[prost(fixed64, optional, tag = "9")]
    pub level: Option<u64>,
}

/// One change of an account beside usage.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Entry {
    /// It came before the record of this index.
    #[prost(uint32, tag = "1")]
    pub before_record: u32,
    /// The account; zero in the suspense of an unbound identity.
    #[prost(uint64, tag = "2")]
    pub account: u64,
    /// What changed.
    #[prost(oneof = "Change", tags = "3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13")]
    pub change: Option<Change>,
}

/// What changed.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Change {
    /// The account was opened.
    #[prost(message, tag = "3")]
    Opened(Settings),
    /// Its settings changed.
    #[prost(message, tag = "4")]
    SettingsChanged(Settings),
    /// It subscribed to a plan.
    #[prost(message, tag = "5")]
    Subscribed(Subscription),
    /// It cancelled a plan.
    #[prost(message, tag = "6")]
    Cancelled(Cancellation),
    /// A suspended record was rated: it is the record that follows this entry, which is no new
    /// key but the one that waited.
    #[prost(message, tag = "7")]
    Recycled(SuspenseKey),
    /// A suspended record was tried again in vain.
    #[prost(message, tag = "8")]
    StillSuspended(SuspenseKey),
    /// A suspended record was guided to an account elsewhere and left suspense.
    #[prost(message, tag = "9")]
    MovedAway(SuspenseKey),
    /// Postings of another partition were taken up to here; the account is zero (P33).
    #[prost(message, tag = "10")]
    PostingsTaken(PostingCursor),
    /// It was offered alternatives, of which one is billed each cycle
    /// (docs/plan-semantics.md section 6).
    #[prost(message, tag = "11")]
    Offered(Offer),
    /// It chose the alternative that a cycle is billed by, whichever is cheapest.
    #[prost(message, tag = "12")]
    Picked(Pick),
    /// It keeps one alternative for good and has no choice any more.
    #[prost(message, tag = "13")]
    OptedOut(OptOut),
}

/// Settings from an instant on.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct Settings {
    /// From when.
    #[prost(sfixed64, tag = "1")]
    pub from_us: i64,
    /// IANA zone.
    #[prost(string, tag = "2")]
    pub zone: String,
    /// 1 to 31.
    #[prost(uint32, tag = "3")]
    pub cycle_day: u32,
    /// ISO 4217.
    #[prost(string, tag = "4")]
    pub currency: String,
    /// What plans may decide by.
    #[prost(btree_map = "string, string", tag = "5")]
    pub attributes: BTreeMap<String, String>,
}

/// A subscription.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct Subscription {
    /// The plan.
    #[prost(string, tag = "1")]
    pub plan_id: String,
    /// From when.
    #[prost(sfixed64, tag = "2")]
    pub from_us: i64,
    /// To just before this instant; `i64::MAX` while it stands.
    #[prost(sfixed64, tag = "3")]
    pub until_us: i64,
    /// Larger is asked first.
    #[prost(uint32, tag = "4")]
    pub priority: u32,
    /// Overrides of the plan's parameters.
    #[prost(btree_map = "string, string", tag = "5")]
    pub parameters: BTreeMap<String, String>,
    /// The option of which it is one alternative; empty: none.
    #[prost(string, tag = "6")]
    pub option: String,
    /// The option's fee a cycle, a decimal in the account's currency; empty: none.
    #[prost(string, tag = "7")]
    pub fee: String,
    /// Its place among the option's alternatives, from 0: of equally cheap ones the first wins.
    #[prost(uint32, tag = "8")]
    pub place: u32,
    /// From when on the client keeps this alternative and has no choice any more: the subscription
    /// goes on as a plain one. Absent while it has the choice.
    #[prost(sfixed64, optional, tag = "9")]
    pub kept_from_us: Option<i64>,
}

impl Subscription {
    /// Is it an alternative of its option at `at_us`, while it is in force?
    pub fn is_alternative_at(&self, at_us: i64) -> bool {
        !self.option.is_empty() && self.kept_from_us.is_none_or(|kept| at_us < kept)
    }

    /// To just before when it is an alternative of its option.
    pub fn option_until_us(&self) -> i64 {
        self.kept_from_us.unwrap_or(i64::MAX).min(self.until_us)
    }
}

/// The end of a subscription.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Cancellation {
    /// The plan.
    #[prost(string, tag = "1")]
    pub plan_id: String,
    /// From when it no longer rates.
    #[prost(sfixed64, tag = "2")]
    pub at_us: i64,
}

/// A record in suspense, at the revision that was acted on (P35).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SuspenseKey {
    /// The record's id.
    #[prost(string, tag = "1")]
    pub record_id: String,
    /// Part of the key where the account is zero.
    #[prost(string, tag = "2")]
    pub identity: String,
    /// How often it had been tried before.
    #[prost(uint32, tag = "3")]
    pub revision: u32,
    /// Its reason from now on, by number; 0 when it left suspense.
    #[prost(uint32, tag = "4")]
    pub reason: u32,
    /// Where it went, with [`Change::MovedAway`].
    #[prost(uint64, tag = "5")]
    pub moved_to: u64,
    /// What its reason is about, with [`Change::StillSuspended`]; empty for none.
    #[prost(string, tag = "6")]
    pub detail: String,
}

/// How far the postings of a sender were taken (P33).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PostingCursor {
    /// The partition in whose log the postings stand.
    #[prost(uint32, tag = "1")]
    pub sender: u32,
    /// The segment; those before it are behind the cursor.
    #[prost(uint64, tag = "2")]
    pub segment: u64,
    /// How many postings of that segment are behind the cursor, those to other partitions counted
    /// too.
    #[prost(uint32, tag = "3")]
    pub ordinal: u32,
    /// The segment's hash: a sender of another history is noticed (P18).
    #[prost(bytes = "vec", tag = "4")]
    pub hash: Vec<u8>,
}

/// Alternatives, all of which rate everything on trial; one is billed
/// (docs/plan-semantics.md section 6).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Offer {
    /// The option's name in the account.
    #[prost(string, tag = "1")]
    pub option: String,
    /// The alternatives: of equally cheap ones the first wins.
    #[prost(string, repeated, tag = "2")]
    pub plans: Vec<String>,
    /// The fee a cycle, a decimal in the account's currency; empty: none.
    #[prost(string, tag = "3")]
    pub fee: String,
    /// From when.
    #[prost(sfixed64, tag = "4")]
    pub from_us: i64,
    /// Of all its alternatives; larger is asked first.
    #[prost(uint32, tag = "5")]
    pub priority: u32,
}

/// The alternative that a cycle is billed by.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Pick {
    /// The option.
    #[prost(string, tag = "1")]
    pub option: String,
    /// The alternative.
    #[prost(string, tag = "2")]
    pub plan_id: String,
    /// Days from 1970-01-01 to the cycle's first date.
    #[prost(sint32, tag = "3")]
    pub cycle: i32,
}

/// The end of an option: one alternative goes on as a plain subscription.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OptOut {
    /// The option.
    #[prost(string, tag = "1")]
    pub option: String,
    /// The alternative that goes on.
    #[prost(string, tag = "2")]
    pub plan_id: String,
    /// From when.
    #[prost(sfixed64, tag = "3")]
    pub at_us: i64,
}

/// A segment's place, time and totals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The partition.
    pub partition: PartitionId,
    /// The segment's number.
    pub segment: SegmentNumber,
    /// The epoch under which it was made.
    pub epoch: Epoch,
    /// Logged time (P26).
    pub now: Timestamp,
    /// The oldest start that was acceptable (P26).
    pub floor: Timestamp,
    /// The catalogue's version that plans were taken from (P36).
    pub catalogue_version: u64,
    /// Control totals.
    pub totals: Totals,
}

/// Control totals, so that a consumer can reconcile (docs/architecture.md section 8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records, rated and suspended together.
    pub records: u64,
    /// Records that went to suspense.
    pub suspended: u64,
    /// Charge lines, wherever they post.
    pub lines: u64,
    /// Lines that post to another account than their record's (P33).
    pub postings: u64,
    /// Sum by currency of the lines that post to an account, sorted: not of those that post to
    /// nobody, are replaced or on trial.
    pub amounts: Vec<(Currency, Money)>,
}
