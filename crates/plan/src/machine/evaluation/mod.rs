//! The evaluation of object code for one record: the access of operations to their inputs, outputs
//! and shared buffers.

pub(crate) mod event;
pub(crate) mod places;
pub(crate) mod refusal;
pub(crate) mod scratch;

use std::fmt;
use std::sync::Arc;

use turnpike_types::limits::CLOSE_GRACE_US;
use turnpike_types::{Money, Posting, SuspenseReason};

use crate::calendar::period::Period;
use crate::calendar::periods::{Calendar, Calendared, PeriodSpan};
use crate::machine::code::{Evaluation, Placed};
use crate::machine::lines::ChargeLine;
use crate::machine::slots::Slots;
use crate::machine::state::{StateEntry, VariableId};
use crate::machine::stream::{PORTIONS_MAX, Span, Stream, UnitFlow, merge};
use crate::tables::Table;
use event::{DueQuery, Event};
use places::{Attribute, ChargeOut, TableRef, TypeOf, UsageInput};
use refusal::Named;

impl<'a> Evaluation<'a> {
    /// Runs the operations in order, without those whose input streams are all empty.
    pub(crate) fn run_all(
        &mut self,
        mut run_one: impl FnMut(&Placed, &mut Self) -> Result<(), SuspenseReason>,
    ) -> Result<(), SuspenseReason> {
        let code = self.code;
        // Due charges and closes fill no stream, and any operation may act on them.
        let mut live = match *self.event {
            Event::Usage => Slots::first(code.measures.len()),
            Event::Due { .. } | Event::Close(_) => Slots::ALL,
        };
        for placed in &code.ops {
            if !placed.reads.meets(live) {
                continue;
            }
            run_one(placed, self)?;
            let streams = &self.scratch.streams;
            live.add_those(placed.fills, |slot| !streams[slot].is_empty());
        }
        self.scratch.used = live;
        Ok(())
    }

    /// The only span of units that an input carries, after its measures are
    /// [read](Evaluation::read). `None` if the input carries several spans, no span, or a
    /// zero-quantity record; the caller then uses [`Evaluation::take`].
    #[inline(always)]
    pub(crate) fn single(&self, input: &UsageInput) -> Option<Span> {
        let [slot] = *input.slots else { return None };
        let stream = &self.scratch.streams[slot];
        match *stream.spans.as_slice() {
            [span] if !stream.zero_quantity => Some(span),
            _ => None,
        }
    }

    /// Adds a span of units to an output, if another primitive consumes it.
    #[inline(always)]
    pub(crate) fn put(&mut self, output: Option<usize>, span: Span) {
        if let Some(slot) = output {
            self.scratch.streams[slot].spans.push(span);
        }
    }

    /// Takes the units of an input out of the shared buffers, merged if several links feed the
    /// input. The caller must return them with [`Evaluation::give`].
    #[inline]
    pub(crate) fn take(&mut self, input: &UsageInput) -> Result<Stream, SuspenseReason> {
        if let [slot] = *input.slots {
            self.fill(slot)?;
            return Ok(std::mem::take(&mut self.scratch.streams[slot]));
        }
        self.take_merged(input)
    }

    fn take_merged(&mut self, input: &UsageInput) -> Result<Stream, SuspenseReason> {
        self.read(input)?;
        let mut merged = std::mem::take(&mut self.scratch.merged);
        let mut other = std::mem::take(&mut self.scratch.other);
        merged.clear();
        for &slot in &input.slots {
            let stream = &self.scratch.streams[slot];
            if merged.is_empty() {
                merged.copy_from(stream);
            } else if !stream.is_empty() {
                merge(&merged, stream, &mut other).ok_or(SuspenseReason::Overflow)?;
                std::mem::swap(&mut merged, &mut other);
            }
        }
        self.scratch.other = other;
        Ok(merged)
    }

    /// Returns a stream that [`Evaluation::take`] took, so that other consumers can read it.
    #[inline]
    pub(crate) fn give(&mut self, input: &UsageInput, stream: Stream) {
        if let [slot] = *input.slots {
            self.scratch.streams[slot] = stream;
        } else {
            self.scratch.merged = stream;
        }
    }

    /// Reads the measures of an input from the record, unless that was done before.
    #[inline(always)]
    pub(crate) fn read(&mut self, input: &UsageInput) -> Result<(), SuspenseReason> {
        if let [slot] = *input.slots {
            return self.fill(slot);
        }
        input.slots.iter().try_for_each(|&slot| self.fill(slot))
    }

    /// Loads a stream from the record if it belongs to a measure that is not loaded yet.
    #[inline(always)]
    fn fill(&mut self, slot: usize) -> Result<(), SuspenseReason> {
        if slot < self.code.measures.len() && self.scratch.loaded >> slot & 1 == 0 {
            self.load(slot)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn load(&mut self, measure: usize) -> Result<(), SuspenseReason> {
        if *self.event != Event::Usage {
            self.scratch.loaded |= 1 << measure;
            return Ok(());
        }
        let named = &self.code.measures[measure];
        let value = named.of(self.record);
        let quantity = value.filter(|&value| value >= 0);
        let lacking = || self.refuse(SuspenseReason::MissingInput, format_args!("record.{named}"));
        let quantity = quantity.ok_or_else(lacking)?;
        // The bit is set only after the check, so that every reader of a missing measure gets the
        // error.
        self.scratch.loaded |= 1 << measure;
        let (start, duration) = (self.record.start.micros(), self.record.duration_us);
        self.scratch.flows[measure] = UnitFlow { quantity, start, duration };
        let stream = &mut self.scratch.streams[measure];
        if quantity == 0 {
            stream.zero_quantity = true;
        } else {
            stream.push(Span { first: 0, end: quantity, copies: 1, skip: 0 });
        }
        Ok(())
    }

    /// The distribution over time of the units of an input.
    #[inline]
    pub(crate) fn flow(&self, input: &UsageInput) -> UnitFlow {
        self.scratch.flows[input.flow]
    }

    /// Sets the distribution over time of the measure that a primitive created.
    pub(crate) fn set_flow(&mut self, count: usize, flow: UnitFlow) {
        self.scratch.flows[count] = flow;
    }

    /// The account's period that contains an instant.
    #[inline]
    pub(crate) fn period(&mut self, calendared: Calendared, at: i64) -> PeriodSpan {
        self.scratch.calendar.period(calendared, at)
    }

    /// The single period that contains all units of an input, as for nearly every record; `None` if
    /// the units may belong to several periods.
    #[inline(always)]
    pub(crate) fn only_period(
        &mut self,
        calendared: Calendared,
        input: &UsageInput,
    ) -> Option<Period> {
        let UnitFlow { start, duration, .. } = self.scratch.flows[input.flow];
        let here = self.scratch.calendar.period(calendared, start);
        (start.saturating_add(duration) <= here.to).then_some(here.period)
    }

    /// The billing cycle that this evaluation posts to: the cycle of its instant, or the open cycle
    /// if that cycle is closed (docs/plan-semantics.md section 4).
    pub(crate) fn posting_cycle(&mut self) -> PeriodSpan {
        if let Event::Close(cycle) = *self.event {
            return cycle;
        }
        let (calendar, at) = (&mut self.scratch.calendar, self.record.start.micros());
        let open = open_if_late(calendar, at, self.now);
        open.unwrap_or_else(|| calendar.period(Calendared::Cycle, at))
    }

    /// The value of an attribute; `None` when the record or account lacks it.
    pub(crate) fn attribute(
        &self,
        attribute: &Attribute,
    ) -> Result<Option<&'a str>, SuspenseReason> {
        match attribute {
            Attribute::Record(name) => Ok(self.record.attribute(name)),
            Attribute::Account(name) => {
                Ok(self.account.attributes.get(&**name).map(String::as_str))
            }
            Attribute::Derived(place) => self.derived(*place).map(Some),
        }
    }

    /// The usage type of units: the record's or a derived one.
    pub(crate) fn usage_type(&self, of: TypeOf) -> Result<&'a str, SuspenseReason> {
        match of {
            TypeOf::Record => Ok(self.record.usage_type),
            TypeOf::Derived(place) => self.derived(place),
        }
    }

    fn derived(&self, place: usize) -> Result<&'a str, SuspenseReason> {
        let attribute = self.code.derived.get(place).and_then(Option::as_ref);
        attribute.ok_or(SuspenseReason::MissingInput)?.value(self)
    }

    /// The version in force of a table.
    pub(crate) fn table(&self, table: TableRef) -> Result<&'a Arc<Table>, SuspenseReason> {
        let found = self.tables.get(table.0).and_then(Option::as_ref);
        found.ok_or_else(|| self.without_table(table))
    }

    /// A variable's value before this record; 0 when it was never set.
    #[inline]
    pub(crate) fn value(&self, variable: VariableId, period: Period) -> i128 {
        self.state.get(variable, period).unwrap_or(0)
    }

    /// Sets a variable. Must be called at most once per record and period.
    #[inline]
    pub(crate) fn set(
        &mut self,
        variable: VariableId,
        period: Period,
        value: i128,
    ) -> Result<(), SuspenseReason> {
        if self.changes.len() >= PORTIONS_MAX {
            return Err(SuspenseReason::Overflow);
        }
        self.changes.push(StateEntry { variable, period, value });
        Ok(())
    }

    /// A query for the next due charges within an interval.
    pub(crate) fn due_query(&mut self, from: i64, until: i64) -> DueQuery<'_> {
        let reached = match *self.event {
            Event::Due { reached, .. } => reached,
            Event::Usage | Event::Close(_) => None,
        };
        DueQuery {
            calendar: &mut self.scratch.calendar,
            state: self.state,
            since: self.since,
            cancelled: self.cancelled,
            from,
            until,
            reached,
        }
    }

    /// Books a line and returns its index.
    #[inline]
    pub(crate) fn book(&mut self, out: ChargeOut, line: ChargeLine) -> Result<u32, SuspenseReason> {
        if self.lines.len() >= PORTIONS_MAX {
            return Err(SuspenseReason::Overflow);
        }
        let number = u32::try_from(self.lines.len()).map_err(|_| SuspenseReason::Overflow)?;
        self.lines.push(line);
        self.pass_on(out, number);
        Ok(number)
    }

    /// Adds a line that was booked before to a charge slot.
    pub(crate) fn pass_on(&mut self, out: ChargeOut, line: u32) {
        if let ChargeOut::Slot(slot) = out {
            self.scratch.charges[slot].push(line);
        }
    }

    /// The indexes of the lines that reach a charge input, in the order of booking. The caller must
    /// return the buffer with [`Evaluation::give_lines`].
    pub(crate) fn take_lines(&mut self, slots: &[usize]) -> Vec<u32> {
        let mut gathered = std::mem::take(&mut self.scratch.gathered);
        gathered.clear();
        for &slot in slots {
            gathered.extend_from_slice(&self.scratch.charges[slot]);
        }
        gathered.sort_unstable();
        gathered
    }

    /// Returns the buffer that [`Evaluation::take_lines`] took.
    pub(crate) fn give_lines(&mut self, lines: Vec<u32>) {
        self.scratch.gathered = lines;
    }

    /// A line derived from another line: quantity 0, and the period and first unit of that line.
    pub(crate) fn made_of(&self, of: u32, component: u16, amount: Money) -> ChargeLine {
        let from = self.lines.get(of as usize);
        ChargeLine {
            plan: self.plan,
            component,
            quantity: 0,
            first_unit: from.map_or(0, |line| line.first_unit),
            period: from.map_or(Period::EVER, |line| line.period),
            level_before: 0,
            level_after: 0,
            amount,
            of: Some(of),
            row: None,
            posting: Posting::Account,
        }
    }

    /// A line for a fixed amount.
    #[inline]
    pub(crate) fn fixed(
        &self,
        component: u16,
        amount: Money,
        period: Period,
        first_unit: i64,
    ) -> ChargeLine {
        ChargeLine {
            plan: self.plan,
            component,
            quantity: 0,
            first_unit,
            period,
            level_before: 0,
            level_after: 0,
            amount,
            of: None,
            row: None,
            posting: Posting::Account,
        }
    }

    /// Charges a fixed amount, unless the value of `variable` in the period `marked` shows that it
    /// was already charged.
    #[inline(always)]
    pub(crate) fn charge_once(
        &mut self,
        variable: VariableId,
        marked: Period,
        out: ChargeOut,
        line: impl FnOnce(&Self) -> ChargeLine,
    ) -> Result<(), SuspenseReason> {
        if self.value(variable, marked) != 0 {
            return Ok(());
        }
        self.set(variable, marked, 1)?;
        let line = line(self);
        self.book(out, line).map(drop)
    }
}

impl Evaluation<'_> {
    /// Refuses the record, with a detail.
    #[cold]
    pub(crate) fn refuse(
        &self,
        reason: SuspenseReason,
        about: fmt::Arguments<'_>,
    ) -> SuspenseReason {
        self.scratch.about.note(reason, about)
    }

    /// Refuses the record because no version of a table is in force, or the table is of another
    /// kind.
    #[cold]
    pub(crate) fn without_table(&self, table: TableRef) -> SuspenseReason {
        match self.code.tables.get(table.0) {
            Some(name) => {
                let (id, kind) = (&name.id, name.kind);
                self.refuse(SuspenseReason::NoTable, format_args!("{id} ({kind})"))
            }
            None => SuspenseReason::NoTable,
        }
    }

    /// Refuses the record because the record or its account lacks an attribute.
    #[cold]
    pub(crate) fn lacks(&self, attribute: &Attribute) -> SuspenseReason {
        self.refuse(SuspenseReason::MissingInput, format_args!("{}", Named(attribute)))
    }
}

/// The open billing cycle at logged time `now`, if the cycle of instant `at` is closed. Usage at
/// that instant is late and posts to the open cycle (docs/plan-semantics.md sections 4 and 5).
#[inline]
pub(crate) fn open_if_late(calendar: &mut Calendar, at: i64, now: i64) -> Option<PeriodSpan> {
    let closed = now.saturating_sub(CLOSE_GRACE_US);
    if at >= closed {
        return None;
    }
    let open = calendar.period(Calendared::Cycle, closed);
    (at < open.from).then_some(open)
}
