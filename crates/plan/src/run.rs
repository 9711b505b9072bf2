//! One record on its way through object code: what operations read, write and share.

mod about;
mod event;
mod places;
mod scratch;

use std::sync::Arc;

use turnpike_types::limits::CLOSE_GRACE_US;
use turnpike_types::{Money, Posting, SuspenseReason, UsageView};

pub(crate) use crate::calendar::Calendared;
use crate::calendar::{Calendar, Span as PeriodSpan};
use crate::code::{ObjectCode, Placed, Slots};
use crate::rater::{AccountContext, Line};
use crate::state::{AccountState, Period, StateEntry, VariableId};
use crate::stream::{Flow, PORTIONS_MAX, Span, Stream, merge};
use crate::tables::Table;
pub(crate) use about::{About, Named};
pub(crate) use event::{DueQuery, Event};
pub(crate) use places::{Attribute, ChargeOut, Counted, Input, Part, TableRef, Total, TypeOf};
pub(crate) use scratch::Scratch;

/// The code of one primitive. Reads its input streams, writes its output streams, lines, changes.
pub(crate) trait Op: Send + Sync {
    /// Runs for one record, or for what falls due ([`Run::event`]).
    fn run(&self, run: &mut Run<'_>) -> Result<(), SuspenseReason>;

    /// The instant at which something of this primitive falls due by itself next, within the
    /// query's bounds; `None` when nothing does.
    fn next_due(&self, _query: &mut DueQuery<'_>) -> Option<i64> {
        None
    }
}

/// What a primitive says about a record, whichever of its units it is asked for.
pub(crate) trait Tell: Send + Sync {
    /// The text.
    fn tell<'a>(&'a self, run: &Run<'a>) -> Result<&'a str, SuspenseReason>;
}

/// One record, being rated by one plan; or one event, falling due.
pub(crate) struct Run<'a> {
    /// Without usage a record of nothing, at the event's instant.
    pub(crate) record: &'a UsageView<'a>,
    pub(crate) account: &'a AccountContext,
    pub(crate) state: &'a AccountState,
    pub(crate) code: &'a ObjectCode,
    pub(crate) tables: &'a [Option<Arc<Table>>],
    pub(crate) event: &'a Event,
    /// The subscription: from, and to before.
    pub(crate) since: i64,
    pub(crate) cancelled: i64,
    /// When a cycle closes, of all subscriptions of the account to the plan: from, and to before, in
    /// order. None otherwise.
    pub(crate) held: &'a [(i64, i64)],
    /// Logged time.
    pub(crate) now: i64,
    pub(crate) plan: u16,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) lines: &'a mut Vec<Line>,
    pub(crate) changes: &'a mut Vec<StateEntry>,
}

impl<'a> Run<'a> {
    /// Runs the operations that have work, in their order.
    pub(crate) fn run_all(
        &mut self,
        mut run_one: impl FnMut(&Placed, &mut Self) -> Result<(), SuspenseReason>,
    ) -> Result<(), SuspenseReason> {
        let code = self.code;
        // What falls due comes without units, and may concern anyone.
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

    /// The one run of units that an input carries, which was [read](Run::read) before; `None` when
    /// it carries several, none, or a record without units: [`Run::take`] tells.
    #[inline(always)]
    pub(crate) fn single(&self, input: &Input) -> Option<Span> {
        let [slot] = *input.slots else { return None };
        let stream = &self.scratch.streams[slot];
        match *stream.spans.as_slice() {
            [span] if !stream.ghost => Some(span),
            _ => None,
        }
    }

    /// Lets a run of units leave by an output that something takes.
    #[inline(always)]
    pub(crate) fn put(&mut self, output: Option<usize>, span: Span) {
        if let Some(slot) = output {
            self.scratch.streams[slot].spans.push(span);
        }
    }

    /// Takes an input's stream out of the scratch space, links merged; [`Run::give`] it back.
    #[inline]
    pub(crate) fn take(&mut self, input: &Input) -> Result<Stream, SuspenseReason> {
        if let [slot] = *input.slots {
            self.fill(slot)?;
            return Ok(std::mem::take(&mut self.scratch.streams[slot]));
        }
        self.take_merged(input)
    }

    fn take_merged(&mut self, input: &Input) -> Result<Stream, SuspenseReason> {
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

    /// Gives back what [`Run::take`] took, for the input's other consumers.
    #[inline]
    pub(crate) fn give(&mut self, input: &Input, stream: Stream) {
        if let [slot] = *input.slots {
            self.scratch.streams[slot] = stream;
        } else {
            self.scratch.merged = stream;
        }
    }

    /// Sees to it that an input's measures are read from the record.
    #[inline(always)]
    pub(crate) fn read(&mut self, input: &Input) -> Result<(), SuspenseReason> {
        if let [slot] = *input.slots {
            return self.fill(slot);
        }
        input.slots.iter().try_for_each(|&slot| self.fill(slot))
    }

    /// Fills a stream from the record, if it is that of a measure that was not read yet.
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
        // Only now: a measure that is missing is missing for everything that reads it.
        self.scratch.loaded |= 1 << measure;
        let (start, duration) = (self.record.start.micros(), self.record.duration_us);
        self.scratch.flows[measure] = Flow { quantity, start, duration };
        let stream = &mut self.scratch.streams[measure];
        if quantity == 0 {
            stream.ghost = true;
        } else {
            stream.push(Span { first: 0, end: quantity, copies: 1, skip: 0 });
        }
        Ok(())
    }

    /// How an input's units lie in time.
    #[inline]
    pub(crate) fn flow(&self, input: &Input) -> Flow {
        self.scratch.flows[input.flow]
    }

    /// Says how units that were counted anew lie in time.
    pub(crate) fn set_flow(&mut self, count: usize, flow: Flow) {
        self.scratch.flows[count] = flow;
    }

    /// The account's period around an instant.
    #[inline]
    pub(crate) fn period(&mut self, calendared: Calendared, at: i64) -> PeriodSpan {
        self.scratch.calendar.period(calendared, at)
    }

    /// The account's period in which all units of an input lie, as those of nearly every record
    /// do; `None` when they may lie in several.
    #[inline(always)]
    pub(crate) fn only_period(&mut self, calendared: Calendared, input: &Input) -> Option<Period> {
        let Flow { start, duration, .. } = self.scratch.flows[input.flow];
        let here = self.scratch.calendar.period(calendared, start);
        (start.saturating_add(duration) <= here.to).then_some(here.period)
    }

    /// The billing cycle that this posts to: the open one, when its own is closed
    /// (docs/plan-semantics.md section 4).
    pub(crate) fn posting_cycle(&mut self) -> PeriodSpan {
        if let Event::Close(cycle) = *self.event {
            return cycle;
        }
        let (calendar, at) = (&mut self.scratch.calendar, self.record.start.micros());
        let open = open_if_late(calendar, at, self.now);
        open.unwrap_or_else(|| calendar.period(Calendared::Cycle, at))
    }

    /// The text of an attribute; `None` when the record, or account, does not carry it.
    pub(crate) fn attribute(
        &self,
        attribute: &Attribute,
    ) -> Result<Option<&'a str>, SuspenseReason> {
        match attribute {
            Attribute::Record(name) => Ok(self.record.attribute(name)),
            Attribute::Account(name) => {
                Ok(self.account.attributes.get(&**name).map(String::as_str))
            }
            Attribute::Told(place) => self.told(*place).map(Some),
        }
    }

    /// The usage type of units.
    pub(crate) fn usage_type(&self, of: TypeOf) -> Result<&'a str, SuspenseReason> {
        match of {
            TypeOf::Record => Ok(self.record.usage_type),
            TypeOf::Told(place) => self.told(place),
        }
    }

    fn told(&self, place: usize) -> Result<&'a str, SuspenseReason> {
        let teller = self.code.told.get(place).and_then(Option::as_ref);
        teller.ok_or(SuspenseReason::MissingInput)?.tell(self)
    }

    /// The version of a table that is in force.
    pub(crate) fn table(&self, table: TableRef) -> Result<&'a Arc<Table>, SuspenseReason> {
        let found = self.tables.get(table.0).and_then(Option::as_ref);
        found.ok_or_else(|| self.without_table(table))
    }

    /// A variable's value before this record; 0 when it was never set.
    #[inline]
    pub(crate) fn value(&self, variable: VariableId, period: Period) -> i128 {
        self.state.get(variable, period).unwrap_or(0)
    }

    /// Sets a variable, once for each record and period.
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

    /// What falls due next, for whom it is that asks.
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

    /// Books a line; its number.
    #[inline]
    pub(crate) fn book(&mut self, out: ChargeOut, line: Line) -> Result<u32, SuspenseReason> {
        if self.lines.len() >= PORTIONS_MAX {
            return Err(SuspenseReason::Overflow);
        }
        let number = u32::try_from(self.lines.len()).map_err(|_| SuspenseReason::Overflow)?;
        self.lines.push(line);
        self.pass_on(out, number);
        Ok(number)
    }

    /// Lets whoever takes `out` find a line that was booked before.
    pub(crate) fn pass_on(&mut self, out: ChargeOut, line: u32) {
        if let ChargeOut::Slot(slot) = out {
            self.scratch.charges[slot].push(line);
        }
    }

    /// The lines that reach a charge input, in the order in which they were booked. Give them back
    /// with [`Run::give_lines`].
    pub(crate) fn take_lines(&mut self, slots: &[usize]) -> Vec<u32> {
        let mut gathered = std::mem::take(&mut self.scratch.gathered);
        gathered.clear();
        for &slot in slots {
            gathered.extend_from_slice(&self.scratch.charges[slot]);
        }
        gathered.sort_unstable();
        gathered
    }

    /// Gives back what [`Run::take_lines`] took.
    pub(crate) fn give_lines(&mut self, lines: Vec<u32>) {
        self.scratch.gathered = lines;
    }

    /// A line that is made of another one: its period and first unit, no units of its own.
    pub(crate) fn made_of(&self, of: u32, component: u16, amount: Money) -> Line {
        let from = self.lines.get(of as usize);
        Line {
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

    /// A line of its own for a fixed amount.
    #[inline]
    pub(crate) fn fixed(
        &self,
        component: u16,
        amount: Money,
        period: Period,
        first_unit: i64,
    ) -> Line {
        Line {
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

    /// Charges a fixed amount, unless `variable` says that it was charged for `marked` before.
    #[inline(always)]
    pub(crate) fn charge_once(
        &mut self,
        variable: VariableId,
        marked: Period,
        out: ChargeOut,
        line: impl FnOnce(&Self) -> Line,
    ) -> Result<(), SuspenseReason> {
        if self.value(variable, marked) != 0 {
            return Ok(());
        }
        self.set(variable, marked, 1)?;
        let line = line(self);
        self.book(out, line).map(drop)
    }
}

/// The open billing cycle, when logged time is `now`, if the cycle of the instant `at` is closed:
/// its usage is late, and posts to the open one (docs/plan-semantics.md sections 4 and 5).
#[inline]
pub(crate) fn open_if_late(calendar: &mut Calendar, at: i64, now: i64) -> Option<PeriodSpan> {
    let closed = now.saturating_sub(CLOSE_GRACE_US);
    if at >= closed {
        return None;
    }
    let open = calendar.period(Calendared::Cycle, closed);
    (at < open.from).then_some(open)
}
