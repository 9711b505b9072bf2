//! Builds a segment, record by record.

use std::collections::HashMap;

use turnpike_proto::record::encode_extra;
use turnpike_types::{
    AccountNumber, Currency, Detail, Money, Must, Outcome, Posting, Timestamp, UsageView,
};

use crate::head::{Change, ComponentHead, Entry, SuspenseDetail};
use crate::marks::{Mark, is_counted};
use crate::rows::{RecordRow, outcome, outcome_code};

/// An index into the segment's component table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComponentIndex(pub u16);

/// A record to log.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// The usage record, or the record that represents a due charge or a posting.
    pub view: UsageView<'a>,
    /// The identity by which the record's account was determined; may be empty.
    pub identity: &'a str,
    /// The outcome of the record.
    pub outcome: Outcome,
}

/// A charge line to log. It belongs to the record that was pushed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewLine {
    /// The component that produced the line.
    pub component: ComponentIndex,
    /// The priced quantity, in base units.
    pub quantity: i128,
    /// The first unit of the record that the line prices.
    pub first_unit: i64,
    /// The first date of the line's period, in days since 1970-01-01; `i32::MIN` for none.
    pub period: i32,
    /// The accumulator's level before the first unit.
    pub level_before: i128,
    /// The accumulator's level after the last unit.
    pub level_after: i128,
    /// The charged amount.
    pub amount: Money,
    /// For a derived line, such as a tax: the index in this segment of the line that it was derived
    /// from (see [`SegmentBuilder::line_count`]). Must be an earlier line of the same record.
    pub of: Option<u32>,
    /// The account to which the amount is posted.
    pub posting: Posting,
    /// The row, counted from 0, of the reference table that the line's price was read from.
    pub row: Option<u32>,
}

/// A segment under construction: one vector for each column.
#[derive(Debug, Default)]
pub struct SegmentBuilder {
    pub(crate) accounts: Vec<u64>,
    pub(crate) ids: Strings,
    pub(crate) usage_types: Vec<u16>,
    pub(crate) usage_type_names: Vec<String>,
    pub(crate) starts: Vec<i64>,
    pub(crate) durations: Vec<i64>,
    pub(crate) quantities: Vec<Option<i64>>,
    pub(crate) extras: Strings,
    pub(crate) outcomes: Vec<u8>,
    pub(crate) lines: LineColumns,
    pub(crate) changes: Changes,
    pub(crate) components: Vec<ComponentHead>,
    pub(crate) variables: Vec<u64>,
    pub(crate) variable_index: HashMap<u64, u16>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) suspended: u64,
    pub(crate) amounts: Vec<(Currency, i128)>,
    /// The additional data of lines (see [`Mark`]), in the order of the lines; most lines have
    /// none.
    pub(crate) marks: Vec<Mark>,
    pub(crate) postings: u64,
    /// The details of suspense reasons: each text once, with the rows of its records.
    pub(crate) details: Vec<SuspenseDetail>,
    /// The index in `details` of each text.
    detail_index: HashMap<Box<str>, usize>,
    /// For each record that has a detail, in order: the row, and the index in `details`.
    detail_rows: Vec<(u32, usize)>,
    detail_bytes: usize,
    component_currencies: Vec<usize>,
}

/// Byte strings stored one after the other, with the end offset of each.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    pub(crate) ends: Vec<i32>,
    pub(crate) bytes: Vec<u8>,
}

impl Strings {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.end();
    }

    /// Ends the string that was just written into `bytes`.
    fn end(&mut self) {
        // See `SegmentBuilder::bytes`.
        let end = i32::try_from(self.bytes.len()).must("a segment is far smaller than 2 GiB");
        self.ends.push(end);
    }

    fn get(&self, row: usize) -> &[u8] {
        let end = *self.ends.get(row).must("the row was pushed");
        // The first string begins at 0.
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        let range = start.unsigned_abs() as usize..end.unsigned_abs() as usize;
        self.bytes.get(range).must("ends only grow, up to the number of bytes")
    }
}

/// The columns of charge lines.
#[derive(Debug, Default)]
pub(crate) struct LineColumns {
    pub(crate) records: Vec<u32>,
    pub(crate) components: Vec<u16>,
    pub(crate) quantities: Vec<i128>,
    pub(crate) first_units: Vec<i64>,
    pub(crate) periods: Vec<i32>,
    pub(crate) befores: Vec<i128>,
    pub(crate) afters: Vec<i128>,
    pub(crate) amounts: Vec<i128>,
}

/// The columns of variable changes, except those that a line states as its level after it.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) records: Vec<u32>,
    pub(crate) variables: Vec<u16>,
    pub(crate) periods: Vec<i32>,
    pub(crate) values: Vec<i128>,
}

impl SegmentBuilder {
    /// An empty segment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the segment has neither records nor entries.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.entries.is_empty()
    }

    /// The number of records pushed so far.
    pub fn records(&self) -> usize {
        self.accounts.len()
    }

    /// The number of lines pushed so far, which is the index of the next one (see [`NewLine::of`]).
    pub fn line_count(&self) -> u32 {
        u32::try_from(self.lines.records.len()).must("a segment has fewer than 2^32 lines")
    }

    /// Whether any line posts to another account (P33).
    pub const fn has_postings(&self) -> bool {
        self.postings > 0
    }

    /// An estimate of the segment's size in bytes before compression.
    pub fn bytes(&self) -> usize {
        self.accounts.len() * 40
            + self.ids.bytes.len()
            + self.extras.bytes.len()
            + self.lines.records.len() * 86
            + self.marks.len() * 22
            + self.changes.records.len() * 26
            + self.entries.len() * 128
            + self.detail_rows.len() * 8
            + self.detail_bytes
    }

    /// Adds a record and returns its row; `None` when the segment can't hold more records or usage
    /// types.
    pub fn push_record(&mut self, record: &NewRecord<'_>) -> Option<u32> {
        let row = u32::try_from(self.accounts.len()).ok()?;
        let usage_type = self.usage_type(record.view.usage_type)?;
        let view = &record.view;
        self.accounts.push(view.account.0);
        self.ids.push(view.record_id.as_bytes());
        self.usage_types.push(usage_type);
        self.starts.push(view.start.0);
        self.durations.push(view.duration_us);
        self.quantities.push(view.quantity);
        encode_extra(
            record.identity,
            view.attributes.iter().copied(),
            view.measures.iter().copied(),
            &mut self.extras.bytes,
        );
        self.extras.end();
        self.outcomes.push(match record.outcome {
            Outcome::Suspended(reason) => {
                self.suspended += 1;
                reason.code()
            }
            other => outcome_code(other),
        });
        Some(row)
    }

    /// Sets the detail of the suspense reason of the record pushed last.
    pub fn push_detail(&mut self, detail: &Detail) {
        if detail.is_empty() || self.accounts.is_empty() {
            return;
        }
        let text = detail.as_str();
        let place = match self.detail_index.get(text) {
            Some(&place) => place,
            None => {
                self.detail_bytes += text.len();
                self.details.push(SuspenseDetail { text: text.to_owned(), records: Vec::new() });
                self.detail_index.insert(text.into(), self.details.len() - 1);
                self.details.len() - 1
            }
        };
        let row = last_row(self.accounts.len());
        if let Some(of_text) = self.details.get_mut(place) {
            of_text.records.push(row);
            self.detail_rows.push((row, place));
        }
    }

    fn detail(&self, row: u32) -> &str {
        let found = self.detail_rows.binary_search_by_key(&row, |(row, _)| *row).ok();
        // Most records have no detail.
        let Some(&(_, place)) = found.and_then(|at| self.detail_rows.get(at)) else { return "" };
        &self.details.get(place).must("a row refers to a detail of this segment").text
    }

    /// Adds a component to the table. The caller keeps the index, so that a line needs no lookup.
    /// `None` when the table is full.
    pub fn add_component(
        &mut self,
        head: ComponentHead,
        currency: Currency,
    ) -> Option<ComponentIndex> {
        let index = u16::try_from(self.components.len()).ok()?;
        let sum = match self.amounts.iter().position(|(known, _)| *known == currency) {
            Some(found) => found,
            None => {
                self.amounts.push((currency, 0));
                self.amounts.len() - 1
            }
        };
        self.components.push(head);
        self.component_currencies.push(sum);
        Some(ComponentIndex(index))
    }

    /// Whether the segment's total in the component's currency keeps at most 38 digits when lines
    /// with a sum of absolute amounts of `more` billionths are added. If so, the total also keeps
    /// at most 38 digits after each of these lines, whatever their signs and order.
    pub fn fits(&self, component: ComponentIndex, more: u128) -> bool {
        let total = self.amounts[self.total_of(component)].1;
        // A sum beyond 128 bits does not fit either.
        let most = total.unsigned_abs().saturating_add(more);
        i128::try_from(most).is_ok_and(|most| Money::from_nanos(most).is_some())
    }

    /// The place in `amounts` of the total to which lines of the component count.
    fn total_of(&self, component: ComponentIndex) -> usize {
        let place = self.component_currencies.get(usize::from(component.0));
        *place.must("the component was added to this segment")
    }

    /// Adds a line to the record pushed last. The caller has checked [`SegmentBuilder::fits`].
    pub fn push_line(&mut self, line: &NewLine) {
        if line.of.is_some() || line.row.is_some() || line.posting != Posting::Account {
            self.mark(line);
        }
        let lines = &mut self.lines;
        lines.records.push(last_row(self.accounts.len()));
        lines.components.push(line.component.0);
        lines.quantities.push(line.quantity);
        lines.first_units.push(line.first_unit);
        lines.periods.push(line.period);
        lines.befores.push(line.level_before);
        lines.afters.push(line.level_after);
        lines.amounts.push(line.amount.nanos());
        if !is_counted(line.posting) {
            return;
        }
        let place = self.total_of(line.component);
        let total = &mut self.amounts[place].1;
        // A total that does not fit stays beyond 38 digits, so that `seal` refuses the segment.
        *total = total.saturating_add(line.amount.nanos());
    }

    /// Adds the additional data (see [`Mark`]) of the line that is pushed next.
    fn mark(&mut self, line: &NewLine) {
        let NewLine { of, posting, row, .. } = *line;
        self.marks.push(Mark { line: self.line_count(), of, posting, row });
        self.postings += u64::from(matches!(line.posting, Posting::Second(_)));
    }

    /// Whether the variable table has room for `more` new variables.
    pub fn has_room_for_variables(&self, more: usize) -> bool {
        self.variables.len() + more <= usize::from(u16::MAX)
    }

    /// Logs a new value of a variable of the account of the record pushed last. `None` when the
    /// variable table is full.
    pub fn push_change(&mut self, variable: u64, period: i32, value: i128) -> Option<()> {
        let index = match self.variable_index.get(&variable) {
            Some(&index) => index,
            None => {
                let index = u16::try_from(self.variables.len()).ok()?;
                self.variables.push(variable);
                self.variable_index.insert(variable, index);
                index
            }
        };
        self.changes.records.push(last_row(self.accounts.len()));
        self.changes.variables.push(index);
        self.changes.periods.push(period);
        self.changes.values.push(value);
        Some(())
    }

    /// Adds a change of an account other than usage, ordered before the next record.
    pub fn push_entry(&mut self, account: AccountNumber, change: Change) {
        self.push_requested(account, change, 0);
    }

    /// As [`SegmentBuilder::push_entry`], for a change that a request with a number asked for.
    pub fn push_requested(&mut self, account: AccountNumber, change: Change, request_id: u64) {
        self.entries.push(Entry {
            before_record: u32::try_from(self.accounts.len()).must(FEWER),
            account: account.0,
            change: Some(change),
            request_id,
        });
    }

    /// Removes the entry pushed last.
    pub fn pop_entry(&mut self) -> Option<Entry> {
        self.entries.pop()
    }

    /// Identity, attributes and measures of the record in `row`, see [`RecordRow::extra`].
    pub fn extra(&self, row: u32) -> Option<&[u8]> {
        let at = row as usize;
        (at < self.accounts.len()).then(|| self.extras.get(at))
    }

    /// The record in `row`, for the comparison with a retry (P5).
    pub fn record(&self, row: u32) -> Option<RecordRow<'_>> {
        let at = row as usize;
        Some(RecordRow {
            account: AccountNumber(*self.accounts.get(at)?),
            record_id: std::str::from_utf8(self.ids.get(at)).ok()?,
            usage_type: self.usage_type_names.get(usize::from(*self.usage_types.get(at)?))?,
            start: Timestamp(*self.starts.get(at)?),
            duration_us: *self.durations.get(at)?,
            quantity: *self.quantities.get(at)?,
            extra: self.extras.get(at),
            outcome: outcome(*self.outcomes.get(at)?)?,
            detail: self.detail(row),
        })
    }

    fn usage_type(&mut self, name: &str) -> Option<u16> {
        // There are few usage types, so a linear search is faster than a hash map.
        let names = &mut self.usage_type_names;
        if let Some(index) = names.iter().position(|known| known == name) {
            return u16::try_from(index).ok();
        }
        if names.len() >= USAGE_TYPES_MAX {
            return None;
        }
        names.push(name.to_owned());
        u16::try_from(names.len() - 1).ok()
    }
}

/// The largest number of usage types in one segment. At this limit the owner seals the segment and
/// starts the next one.
const USAGE_TYPES_MAX: usize = 1024;

/// Why the number of records fits 32 bits: [`SegmentBuilder::push_record`] checks it.
const FEWER: &str = "a segment has fewer than 2^32 records";

fn last_row(records: usize) -> u32 {
    let last = records.checked_sub(1).must("lines and changes follow their record");
    u32::try_from(last).must(FEWER)
}
