//! The open segment. It logs a rated record as the record, its charge lines, and those changes of
//! variables that the lines do not show.

use std::collections::HashMap;

use turnpike_account::LoggedTime;
use turnpike_plan::{AccountState, ChargeLine, PORTIONS_MAX, Rated, StateEntry};
use turnpike_segment::head::{Change, ComponentHead};
use turnpike_segment::{ComponentIndex, NewLine, NewRecord, SegmentBuilder};
use turnpike_tariff::Tariff;
use turnpike_types::{
    AccountNumber, Currency, Money, Outcome, Posting, SegmentNumber, SuspenseReason, UsageView,
};

use super::wait::{NotRated, Wait};

/// Buffers that are reused for each record.
#[derive(Debug, Default)]
pub(crate) struct LineScratch {
    components: Vec<ComponentIndex>,
    changes: Vec<StateEntry>,
}

/// The segment that is being filled.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) number: SegmentNumber,
    pub(crate) time: LoggedTime,
    pub(crate) builder: SegmentBuilder,
    /// Whether the segment is logged even if it is empty, for its logged time.
    pub(crate) logs_time: bool,
    /// Whether the segment holds nothing but the entry by which the present record leaves suspense.
    holds_only_leaving: bool,
    /// Indexes into the segment's table of components, by the slot of the compiled plan and by
    /// component.
    components: Vec<Vec<Option<ComponentIndex>>>,
    /// Indexes into the segment's table of components, for postings from other accounts.
    posted: HashMap<ComponentHead, ComponentIndex>,
}

impl OpenSegment {
    pub(crate) fn new(number: SegmentNumber, time: LoggedTime) -> Self {
        Self {
            number,
            time,
            builder: SegmentBuilder::new(),
            logs_time: false,
            holds_only_leaving: false,
            components: Vec::new(),
            posted: HashMap::new(),
        }
    }

    /// Clears the tables of a segment that holds no record.
    pub(crate) fn clear_tables(&mut self) {
        self.builder = SegmentBuilder::new();
        self.components.clear();
        self.posted.clear();
    }

    /// Logs the entry by which a record leaves suspense, before the record is rated.
    pub(super) fn begin_to_leave(&mut self, account: AccountNumber, entry: Change) {
        self.holds_only_leaving = self.is_clear();
        self.builder.push_entry(account, entry);
    }

    /// The record was rated, or was not: then its entry is removed again.
    pub(super) fn end_to_leave(&mut self, is_rated: bool) {
        self.holds_only_leaving = false;
        if !is_rated {
            let entry = self.builder.pop_entry().and_then(|entry| entry.change);
            assert!(
                matches!(entry, Some(Change::Recycled(_))),
                "the last entry is that of the record that stays suspended (I4)"
            );
        }
    }

    fn is_clear(&self) -> bool {
        self.builder.is_empty() && self.components.is_empty() && self.posted.is_empty()
    }

    /// The error for a record that does not fit the open segment. If the segment is empty, the
    /// record fits no segment, and is suspended.
    fn no_room(&self) -> NotRated {
        match self.is_clear() || self.holds_only_leaving {
            true => SuspenseReason::Overflow.into(),
            false => NotRated::Wait(Wait::Full),
        }
    }

    /// Logs `record` with its lines, completely or not at all. Returns the record's row in the open
    /// segment.
    pub(super) fn log(
        &mut self,
        record: &NewRecord<'_>,
        tariff: &Tariff,
        rated: &Rated,
        state: &AccountState,
        scratch: &mut LineScratch,
    ) -> Result<u32, NotRated> {
        if rated.lines.len() > PORTIONS_MAX || rated.changes.len() > PORTIONS_MAX {
            return Err(SuspenseReason::Overflow.into());
        }
        let no_room = self.no_room();
        scratch.components.clear();
        let mut more = 0u128;
        for line in &rated.lines {
            let Some(component) = component(self, tariff, line) else { return Err(no_room) };
            more = more.saturating_add(line.amount.nanos().unsigned_abs());
            if !self.builder.fits(component, more) {
                return Err(no_room);
            }
            scratch.components.push(component);
        }
        untold(tariff, rated, state, &mut scratch.changes);
        if !self.builder.has_room_for_variables(scratch.changes.len()) {
            return Err(no_room);
        }
        let Some(row) = self.builder.push_record(record) else { return Err(no_room) };
        let first = self.builder.line_count();
        for (line, &component) in rated.lines.iter().zip(&scratch.components) {
            self.builder.push_line(&NewLine {
                component,
                quantity: line.quantity,
                first_unit: line.first_unit,
                period: line.period.0,
                level_before: line.level_before,
                level_after: line.level_after,
                amount: line.amount,
                of: line.of.map(|of| first.saturating_add(of)),
                posting: line.posting,
                row: line.row,
            });
        }
        self.push_changes(&scratch.changes);
        Ok(row)
    }

    /// Logs a posting with its line and the changes of its account's totals, completely or not at
    /// all. Returns its row in the open segment.
    pub(super) fn log_posting(
        &mut self,
        view: &UsageView<'_>,
        head: ComponentHead,
        (amount, currency): (Money, Currency),
        totals: &[StateEntry],
    ) -> Result<u32, NotRated> {
        let no_room = self.no_room();
        let component = match self.posted.get(&head) {
            Some(&known) => known,
            None => {
                let added = self.builder.add_component(head.clone(), currency);
                let Some(added) = added else { return Err(no_room) };
                self.posted.insert(head, added);
                added
            }
        };
        if !self.builder.fits(component, amount.nanos().unsigned_abs())
            || !self.builder.has_room_for_variables(totals.len())
        {
            return Err(no_room);
        }
        let record = NewRecord { view: *view, identity: "", outcome: Outcome::Posted };
        let Some(row) = self.builder.push_record(&record) else { return Err(no_room) };
        self.builder.push_line(&NewLine {
            component,
            quantity: 0,
            first_unit: 0,
            period: i32::MIN,
            level_before: 0,
            level_after: 0,
            amount,
            of: None,
            posting: Posting::Account,
            row: None,
        });
        self.push_changes(totals);
        Ok(row)
    }

    /// Logs changes of variables of the record that was pushed last. Their room was checked before
    /// the record was pushed.
    fn push_changes(&mut self, changes: &[StateEntry]) {
        for change in changes {
            let pushed = self.builder.push_change(change.variable.0, change.period.0, change.value);
            assert!(pushed.is_some(), "a change without its log entry would not be replayed (I4)");
        }
    }
}

impl LineScratch {
    /// The values that a replay of the record that was logged last sets, in the same order, so that
    /// state and replay give the same bytes (I4).
    pub(super) fn entries(
        &self,
        tariff: &Tariff,
        rated: &Rated,
    ) -> impl Iterator<Item = StateEntry> {
        let shown = rated.lines.iter().filter_map(|line| {
            let variable = tariff.level_of(line)?;
            Some(StateEntry { variable, period: line.period, value: line.level_after })
        });
        shown.chain(self.changes.iter().copied())
    }
}

/// The index of the line's component in the open segment's table. It is added on first use.
fn component(open: &mut OpenSegment, tariff: &Tariff, line: &ChargeLine) -> Option<ComponentIndex> {
    let plan = tariff.plans.get(usize::from(line.plan))?;
    let slot = plan.slot.0 as usize;
    if open.components.len() <= slot {
        open.components.resize_with(slot + 1, Vec::new);
    }
    let row = open.components.get_mut(slot)?;
    let at = usize::from(line.component);
    if let Some(Some(known)) = row.get(at) {
        return Some(*known);
    }
    let info = plan.code.components().get(at)?;
    let head = ComponentHead {
        plan_id: plan.code.plan_id().to_owned(),
        plan_version: plan.code.version(),
        primitive: info.primitive.clone(),
        component: info.component.clone(),
        kind: info.kind.number(),
        price: info.price.clone(),
        unit: info.unit.to_string(),
        currency: info.currency.to_string(),
        level: info.level.map(|variable| variable.0),
    };
    let added = open.builder.add_component(head, info.currency)?;
    if row.len() <= at {
        row.resize(at + 1, None);
    }
    if let Some(place) = row.get_mut(at) {
        *place = Some(added);
    }
    Some(added)
}

/// Collects the changes of variables that the charge lines do not show. A replay of the log sets a
/// variable to the level that each of its lines shows, line by line. So a value is logged as a
/// change only if the last line of the variable and period, if any, shows another value.
fn untold(tariff: &Tariff, rated: &Rated, state: &AccountState, out: &mut Vec<StateEntry>) {
    out.clear();
    let last_shown = |variable, period| {
        let mut shown = rated.lines.iter().rev().filter(|line| line.period == period);
        shown.find(|line| tariff.level_of(line) == Some(variable)).map(|line| line.level_after)
    };
    out.extend(
        rated
            .changes
            .iter()
            .filter(|change| last_shown(change.variable, change.period) != Some(change.value)),
    );
    for line in &rated.lines {
        let Some(variable) = tariff.level_of(line) else { continue };
        let is_key = |e: &&StateEntry| e.variable == variable && e.period == line.period;
        if rated.changes.iter().any(|entry| is_key(&entry)) || out.iter().any(|e| is_key(&e)) {
            continue;
        }
        let value = state.get(variable, line.period).unwrap_or_default();
        if last_shown(variable, line.period) != Some(value) {
            out.push(StateEntry { variable, period: line.period, value });
        }
    }
}
