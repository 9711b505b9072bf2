//! What a log holds: its records with their lines, and its entries. Positions and hashes are left
//! out, so that logs that are cut in other places compare as equal.

use std::collections::{BTreeMap, BTreeSet};

use turnpike_proto::record::extra_identity;
use turnpike_segment::Segment;
use turnpike_segment::head::{Change, SuspenseKey};
use turnpike_types::limits::POSTING_USAGE_TYPE;
use turnpike_types::{AccountNumber, LineKind, Outcome, Posting, RecordKey, Timestamp};

use super::history::{CALL_US, OCTET};

/// A posting's id is made of its position in the log.
pub(super) fn without_position(record_id: &str) -> &str {
    if record_id.contains('/') { "posting" } else { record_id }
}

/// A record of the log, with its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoggedRecord {
    pub(super) account: AccountNumber,
    pub(super) record_id: String,
    pub(super) identity: String,
    pub(super) usage_type: String,
    pub(super) start: Timestamp,
    duration_us: i64,
    quantity: Option<i64>,
    extra: Vec<u8>,
    pub(super) outcome: Outcome,
    detail: String,
    /// Whether the record left suspense here.
    pub(super) is_recycled: bool,
    pub(super) lines: Vec<LoggedLine>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoggedLine {
    pub(super) plan: (String, u32),
    /// The primitive, and its step or charge.
    pub(super) component: (String, String),
    pub(super) kind: LineKind,
    quantity: i128,
    period: i32,
    levels: (i128, i128),
    pub(super) amount: i128,
    pub(super) posting: Posting,
}

/// The contents of a log.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) records: Vec<LoggedRecord>,
    pub(super) entries: Vec<(u64, Change)>,
}

impl Contents {
    pub(super) fn of<'a>(log: impl Iterator<Item = &'a Segment>) -> Self {
        let mut contents = Self::default();
        log.for_each(|segment| contents.add(segment));
        contents
    }

    fn add(&mut self, segment: &Segment) {
        let recycled = segment.entries().iter().filter_map(|entry| {
            matches!(entry.change, Some(Change::Recycled(_))).then_some(entry.before_record)
        });
        let recycled: BTreeSet<u32> = recycled.collect();
        let mut lines: BTreeMap<u32, Vec<LoggedLine>> = BTreeMap::new();
        for line in segment.lines() {
            let of = line.component;
            lines.entry(line.record).or_default().push(LoggedLine {
                plan: (of.plan_id.clone(), of.plan_version),
                component: (of.primitive.clone(), of.component.clone()),
                kind: of.kind,
                quantity: line.quantity,
                period: line.period,
                levels: (line.level_before, line.level_after),
                amount: line.amount.nanos(),
                posting: line.posting,
            });
        }
        let mut posted = 0;
        for (row, record) in segment.records() {
            let lines = lines.remove(&row).unwrap_or_default();
            posted += posted_amount(&lines);
            self.records.push(LoggedRecord {
                account: record.account,
                record_id: record.record_id.to_owned(),
                identity: extra_identity(record.extra).unwrap().to_owned(),
                usage_type: record.usage_type.to_owned(),
                start: record.start,
                duration_us: record.duration_us,
                quantity: record.quantity,
                extra: record.extra.to_vec(),
                outcome: record.outcome,
                detail: record.detail.to_owned(),
                is_recycled: recycled.contains(&row),
                lines,
            });
        }
        let stated: i128 =
            segment.header().totals.amounts.iter().map(|(_, amount)| amount.nanos()).sum();
        assert_eq!(stated, posted, "the control total of a segment is the sum of its lines");
        let entries = segment.entries().iter();
        self.entries.extend(entries.map(|entry| (entry.account, entry.change.clone().unwrap())));
    }

    /// Everything, sorted, without positions in the log.
    pub(super) fn sorted(&self) -> Vec<String> {
        let records = self.records.iter().map(|record| {
            let record_id = without_position(&record.record_id).to_owned();
            format!("{:?}", LoggedRecord { record_id, ..record.clone() })
        });
        let is_cursor = |change: &Change| matches!(change, Change::PostingsTaken(_));
        let entries = self.entries.iter().filter(|(_, change)| !is_cursor(change));
        let entries = entries.map(|(account, change)| {
            let mut change = change.clone();
            if let Change::Recycled(key) | Change::StillSuspended(key) | Change::MovedAway(key) =
                &mut change
            {
                key.record_id = without_position(&key.record_id).to_owned();
            }
            format!("{account} {change:?}")
        });
        let mut sorted: Vec<String> = records.chain(entries).collect();
        sorted.sort();
        sorted
    }

    /// The sum of what is posted to each account, in billionths.
    pub(super) fn totals(&self) -> BTreeMap<AccountNumber, i128> {
        let mut totals = BTreeMap::new();
        for record in &self.records {
            let own = record.lines.iter().filter(|line| line.posting == Posting::Account);
            *totals.entry(record.account).or_default() += own.map(|line| line.amount).sum::<i128>();
        }
        totals
    }

    /// The records that clients sent, by key.
    pub(super) fn by_key(&self) -> BTreeMap<Key, Vec<&LoggedRecord>> {
        let mut by_key: BTreeMap<Key, Vec<&LoggedRecord>> = BTreeMap::new();
        let is_sent = |record: &&LoggedRecord| {
            record.usage_type != POSTING_USAGE_TYPE && record.outcome != Outcome::FellDue
        };
        for record in self.records.iter().filter(is_sent) {
            let key = key_of(record.account, &record.identity, &record.record_id);
            by_key.entry(key).or_default().push(record);
        }
        by_key
    }

    /// The keys of suspended records that were moved to another partition.
    pub(super) fn moved_away(&self) -> BTreeSet<Key> {
        let moved = self.entries.iter().filter_map(|(account, change)| match change {
            Change::MovedAway(SuspenseKey { record_id, identity, .. }) => {
                Some(key_of(AccountNumber(*account), identity, record_id))
            }
            _ => None,
        });
        moved.collect()
    }

    /// I2: each key was taken once, and rated at most once.
    pub(super) fn assert_taken_once(&self) {
        for (key, records) in self.by_key() {
            let arrivals = records.iter().filter(|record| !record.is_recycled).count();
            assert_eq!(arrivals, 1, "I2: {key:?} was taken more than once: {records:?}");
            let rated = records.iter().filter(|record| record.is_rated()).count();
            assert!(rated <= 1, "I2: {key:?} was rated {rated} times: {records:?}");
        }
    }

    /// Each rated record costs its units at the price of its usage type.
    pub(super) fn assert_prices(&self) {
        for record in self.records.iter().filter(|record| record.is_rated()) {
            if record.usage_type == POSTING_USAGE_TYPE {
                continue;
            }
            let price = record.price();
            let usage = |line: &&LoggedLine| line.kind == LineKind::Usage;
            let mut tentative: BTreeMap<&(String, u32), i128> = BTreeMap::new();
            let mut posted = None;
            for line in record.lines.iter().filter(usage) {
                match line.posting {
                    Posting::Tentative => *tentative.entry(&line.plan).or_default() += line.amount,
                    Posting::Account | Posting::Second(_) => {
                        *posted.get_or_insert(0) += line.amount;
                    }
                    Posting::Nobody | Posting::Replaced => {}
                }
            }
            if let Some(posted) = posted {
                assert_eq!(posted, price, "{record:?}");
                assert_eq!(tentative, BTreeMap::new(), "units are charged once: {record:?}");
            }
            for (plan, amount) in &tentative {
                assert_eq!(*amount, price, "alternative {plan:?} of {record:?}");
            }
            let is_priced = posted.is_some() || !tentative.is_empty();
            assert!(is_priced || price == 0, "a record of {price} without a line: {record:?}");
        }
    }

    /// P34: what falls due is logged before the account's usage that starts then or later, if the
    /// account's plans stay the same.
    pub(super) fn assert_due_first(&self, account: AccountNumber) {
        let mut latest = Timestamp::MIN;
        for record in self.records.iter().filter(|record| record.account == account) {
            if record.is_rated() {
                latest = latest.max(record.start);
            } else if record.outcome == Outcome::FellDue {
                assert!(latest < record.start, "usage at {latest:?} was rated before {record:?}");
            }
        }
    }

    /// P33, once all postings were taken: each line that is posted to another account arrived there
    /// once, and what was posted is what was sent. Returns how many lines were sent.
    pub(super) fn assert_posted_once(&self) -> usize {
        let (mut sent, mut arrived, mut posted) = (Vec::new(), Vec::new(), Vec::new());
        for record in &self.records {
            for line in &record.lines {
                if let Posting::Second(account) = line.posting {
                    sent.push((account, record.start, line.amount));
                }
            }
            if record.usage_type == POSTING_USAGE_TYPE {
                if !record.is_recycled {
                    arrived.push((record.account, record.start));
                }
                if record.outcome == Outcome::Posted {
                    posted.push((record.account, record.start, posted_amount(&record.lines)));
                }
            }
        }
        arrived.sort_unstable();
        sent.sort_unstable();
        let expected: Vec<_> = sent.iter().map(|&(account, start, _)| (account, start)).collect();
        assert_eq!(arrived, expected, "P33: each posting is taken once");
        let count = sent.len();
        for one in posted {
            let place = sent.iter().position(|other| *other == one);
            sent.remove(place.unwrap_or_else(|| panic!("P33: {one:?} was posted and not sent")));
        }
        count
    }
}

impl LoggedRecord {
    /// What the record costs by any plan, in billionths. A posting costs what it posts.
    pub(super) fn price(&self) -> i128 {
        match self.usage_type.as_str() {
            POSTING_USAGE_TYPE => 0,
            usage_type => price(usage_type, self.duration_us, self.quantity),
        }
    }

    pub(super) const fn is_rated(&self) -> bool {
        matches!(self.outcome, Outcome::Rated | Outcome::RatedLate)
    }
}

/// What usage costs by any plan that rates it, in billionths.
pub(super) fn price(usage_type: &str, duration_us: i64, quantity: Option<i64>) -> i128 {
    match usage_type {
        "call" => i128::from(duration_us) * CALL_US,
        _ => i128::from(quantity.unwrap()) * OCTET,
    }
}

/// What lines post to any account, in billionths.
fn posted_amount(lines: &[LoggedLine]) -> i128 {
    let is_posted =
        |line: &&LoggedLine| matches!(line.posting, Posting::Account | Posting::Second(_));
    lines.iter().filter(is_posted).map(|line| line.amount).sum()
}

/// The identity of a record without an account, and its key.
pub(super) type Key = (String, RecordKey);

pub(super) fn key_of(account: AccountNumber, identity: &str, record_id: &str) -> Key {
    let identity = if account.0 == 0 { identity } else { "" };
    (identity.to_owned(), RecordKey { account, record_id: record_id.to_owned() })
}
