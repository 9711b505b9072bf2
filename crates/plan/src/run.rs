//! One record on its way through object code: what operations read, write and share.

use turnpike_types::{Money, SuspenseReason, UsageView};

use crate::calendar::{Calendar, Span as PeriodSpan};
use crate::code::ObjectCode;
use crate::rater::{AccountContext, Line};
use crate::state::{AccountState, Period, StateEntry, VariableId};
use crate::stream::{Flow, Span, Stream, merge};

/// The code of one primitive. Reads its input streams, writes its output streams, lines, changes.
pub(crate) trait Op: Send + Sync {
    /// Runs for one record.
    fn run(&self, run: &mut Run<'_>) -> Result<(), SuspenseReason>;
}

/// Where an operation's units come from: one or several streams.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) slots: Box<[usize]>,
    /// The measure that all of them carry.
    pub(crate) flow: usize,
}

/// The calendars that accumulators and charges go by (PLANS section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calendared {
    /// The account's calendar month.
    Month,
}

impl Calendared {
    /// The period in a sentence.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Month => "month",
        }
    }
}

/// Where to read an accumulator's running total.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Total {
    /// The trace it leaves.
    pub(crate) trace: usize,
    pub(crate) variable: VariableId,
    pub(crate) calendared: Calendared,
}

/// Units an accumulator counted, all in one period.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) span: Span,
    /// The total before the first of them.
    pub(crate) level: i128,
    pub(crate) period: Period,
}

/// One portion of a record at one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) step: usize,
    pub(crate) period: Period,
    pub(crate) quantity: i128,
    pub(crate) first_unit: i64,
    pub(crate) before: i128,
    pub(crate) after: i128,
}

/// Space that is used again for every record.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) streams: Vec<Stream>,
    loaded: Vec<bool>,
    flows: Vec<Flow>,
    pub(crate) traces: Vec<Vec<Counted>>,
    pub(crate) parts: Vec<Part>,
    merged: Stream,
    other: Stream,
    pub(crate) calendar: Calendar,
}

impl Scratch {
    /// Empties what the code will use.
    pub(crate) fn prepare(&mut self, code: &ObjectCode) {
        if self.streams.len() < code.streams {
            self.streams.resize_with(code.streams, Stream::default);
        }
        if self.traces.len() < code.traces {
            self.traces.resize_with(code.traces, Vec::new);
        }
        self.streams.iter_mut().take(code.streams).for_each(Stream::clear);
        self.traces.iter_mut().take(code.traces).for_each(Vec::clear);
        self.loaded.clear();
        self.loaded.resize(code.measures.len(), false);
        self.flows.resize(code.measures.len(), Flow::default());
    }
}

/// One record, being rated by one plan.
pub(crate) struct Run<'a> {
    pub(crate) record: &'a UsageView<'a>,
    pub(crate) account: &'a AccountContext,
    pub(crate) state: &'a AccountState,
    pub(crate) code: &'a ObjectCode,
    pub(crate) plan: u16,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) lines: &'a mut Vec<Line>,
    pub(crate) changes: &'a mut Vec<StateEntry>,
}

impl Run<'_> {
    /// Takes an input's stream out of the scratch space, links merged; [`Run::give`] it back.
    pub(crate) fn take(&mut self, input: &Input) -> Result<Stream, SuspenseReason> {
        for &slot in &input.slots {
            if slot < self.code.measures.len() {
                self.load(slot)?;
            }
        }
        if let [slot] = *input.slots {
            return Ok(std::mem::take(&mut self.scratch.streams[slot]));
        }
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
    pub(crate) fn give(&mut self, input: &Input, stream: Stream) {
        if let [slot] = *input.slots {
            self.scratch.streams[slot] = stream;
        } else {
            self.scratch.merged = stream;
        }
    }

    /// Fills the stream of a measure from the record.
    fn load(&mut self, measure: usize) -> Result<(), SuspenseReason> {
        if self.scratch.loaded[measure] {
            return Ok(());
        }
        let value = self.record.measure(&self.code.measures[measure]);
        let quantity = value.filter(|&value| value >= 0).ok_or(SuspenseReason::MissingInput)?;
        let (start, duration) = (self.record.start.micros(), self.record.duration_us);
        self.scratch.flows[measure] = Flow { quantity, start, duration };
        let stream = &mut self.scratch.streams[measure];
        if quantity == 0 {
            stream.ghost = true;
        } else {
            stream.push(Span { first: 0, end: quantity, copies: 1, skip: 0 });
        }
        self.scratch.loaded[measure] = true;
        Ok(())
    }

    /// How an input's units lie in time.
    pub(crate) fn flow(&self, input: &Input) -> Flow {
        self.scratch.flows[input.flow]
    }

    /// The account's period around an instant.
    pub(crate) fn period(&mut self, calendared: Calendared, at: i64) -> PeriodSpan {
        match calendared {
            Calendared::Month => self.scratch.calendar.month(at),
        }
    }

    /// Charges a fixed amount, unless it was charged before for the period.
    pub(crate) fn charge_once(
        &mut self,
        variable: VariableId,
        component: u16,
        amount: Money,
        period: Period,
        first_unit: i64,
    ) {
        if self.state.get(variable, period).is_some_and(|charged| charged != 0) {
            return;
        }
        self.changes.push(StateEntry { variable, period, value: 1 });
        self.fixed_line(component, amount, period, first_unit);
    }

    /// A line for a fixed amount.
    pub(crate) fn fixed_line(
        &mut self,
        component: u16,
        amount: Money,
        period: Period,
        first_unit: i64,
    ) {
        self.lines.push(Line {
            plan: self.plan,
            component,
            quantity: 0,
            first_unit,
            period,
            level_before: 0,
            level_after: 0,
            amount,
        });
    }
}
