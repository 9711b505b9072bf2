//! A naive interpreter: pushes a record's units through the public graph, one by one, in order
//! (docs/plan-semantics.md section 1). It is slow and simple on purpose. It shares only the graph
//! with the compiled code, and parses values itself.
//!
//! A unit can arrive at an input several times: a Weigher makes copies of it, and several links
//! into one input each bring their copies. The copies of a unit have consecutive numbers. A Weigher
//! multiplies the first number by its weight; at an input with several links, the copies are
//! numbered again from the lowest number; a rater's output `rest` keeps the numbers. A copy reads
//! the accumulator's level as it was for the copy with the same number. Copies that the accumulator
//! did not count read the level of the last copy that it counted.
//!
//! This file moves units through the graph. `pricing.rs` books the lines of raters and charges,
//! `buckets.rs` the allowances; `clock.rs` has clocks and calendars.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use turnpike_plan::{
    AccountContext, AccountState, ChargeLine, Link, ObjectCode, Period, Plan, Primitive,
    StateEntry, VariableId,
};
use turnpike_types::{SuspenseReason, Timestamp, UsageRecord};

use super::clock::{Every, in_daily_window, in_window, is_special, period_of};
use super::pricing::{Kind, Part};
use super::types::type_at;
use super::walk::{measures_of, order_of};

pub(crate) struct Naive<'a> {
    pub(crate) plan: &'a Plan,
    /// Used only for the names of components and variables.
    pub(crate) code: &'a ObjectCode,
    pub(crate) account: &'a AccountContext,
    pub(crate) state: &'a AccountState,
    pub(crate) record: &'a UsageRecord,
    /// The start of the subscription.
    pub(crate) since: Timestamp,
}

/// A unit, or a zero-quantity record, that is pushed through the graph.
#[derive(Clone, Copy)]
pub(crate) enum Push {
    Unit { number: i64, at: i64 },
    ZeroQuantity { at: i64 },
}

impl Push {
    pub(crate) fn at(self) -> i64 {
        match self {
            Self::Unit { at, .. } | Self::ZeroQuantity { at } => at,
        }
    }

    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Unit { number, .. } => number,
            Self::ZeroQuantity { .. } => 0,
        }
    }
}

/// Units that arrived: the instant, and the number of copies of each.
type Came = Vec<(i64, i128)>;

#[derive(Default)]
pub(crate) struct Memory {
    /// Running values by variable and period.
    pub(crate) values: BTreeMap<(VariableId, Period), i128>,
    pub(crate) changed: BTreeSet<(VariableId, Period)>,
    /// The lines of the record so far, not yet priced.
    pub(crate) parts: BTreeMap<Part, ChargeLine>,
    /// The amounts of lines with running totals, added up unit by unit.
    pub(crate) amounts: BTreeMap<Part, i128>,
    /// The number of packages that began within each line.
    pub(crate) begun: BTreeMap<Part, i128>,
    /// The number of units so far that reached each rater or threshold that reads no accumulator, by
    /// the index of the primitive in topological order.
    counts: BTreeMap<usize, i128>,
    /// By the id of each `UsageIncrement`: the number of copies of each unit of the record that
    /// reached it.
    anew: BTreeMap<String, Vec<i128>>,
    /// The numbers of the copies at each output, for the current unit.
    outputs: Outputs,
    /// The units that allowances received by `topup`.
    pub(crate) topped_up: BTreeMap<String, Came>,
    /// For each accumulator, what the current unit reads: the total before it, the number of its
    /// first copy, and the number of its copies.
    readings: BTreeMap<String, (i128, i128, i128)>,
}

/// The measure whose units are pushed: a measure of the record, or, with `anew`, the rounded-up
/// measure of a `UsageIncrement`.
#[derive(Clone, Debug)]
struct Count {
    measure: String,
    anew: Option<String>,
    quantity: i64,
    duration: i64,
}

/// Numbers of copies, by primitive and port.
type Outputs = BTreeMap<(String, String), Vec<i128>>;

impl Naive<'_> {
    pub(crate) fn rate(&self) -> Result<(Vec<ChargeLine>, Vec<StateEntry>), SuspenseReason> {
        let order = order_of(self.plan);
        // Units that a record buys at an allowance also cover the record's earlier units. So the
        // graph is first evaluated as far as each allowance with a `topup`, to determine the bought
        // units, and then as a whole.
        let mut bought = Vec::new();
        for (place, primitive) in order.iter().enumerate() {
            if !primitive.links("topup").is_empty() {
                let mut memory = self.push_all(&order[..=place], &bought)?;
                bought
                    .push((*primitive, memory.topped_up.remove(&primitive.id).unwrap_or_default()));
            }
        }
        let memory = self.push_all(&order, &bought)?;
        Ok((self.lines(&memory, &order), changes(&memory)))
    }

    /// Pushes all units through the first primitives, with the allowances topped up so far.
    fn push_all(
        &self,
        order: &[&Primitive],
        bought: &[(&Primitive, Came)],
    ) -> Result<Memory, SuspenseReason> {
        let mut memory = Memory::default();
        for entry in self.state {
            memory.values.insert((entry.variable, entry.period), entry.value);
        }
        for (allowance, units) in bought {
            self.top_up(allowance, units, &mut memory);
        }
        let mut counts: VecDeque<Count> =
            measures_of(self.plan).iter().map(|name| self.count(name)).collect::<Result<_, _>>()?;
        while let Some(count) = counts.pop_front() {
            for push in self.pushes(&count) {
                memory.outputs.clear();
                memory.readings.clear();
                if let Some(id) = &count.anew {
                    memory.outputs.insert((id.clone(), "out".to_owned()), memory.anew[id].clone());
                }
                for (place, primitive) in order.iter().enumerate() {
                    self.step(place, primitive, &count, push, &mut memory)?;
                }
            }
            if count.anew.is_none() {
                let of_this = memory.anew.keys().filter(|id| self.measure_at(id) == count.measure);
                counts.extend(of_this.map(|id| self.lengthened(&count, id)));
            }
        }
        Ok(memory)
    }

    fn count(&self, measure: &str) -> Result<Count, SuspenseReason> {
        let quantity = match measure {
            "duration" if self.record.duration_us == 0 => {
                self.record.measures.get("duration").copied()
            }
            "duration" => Some(self.record.duration_us),
            "quantity" => self.record.quantity,
            name => self.record.measures.get(name).copied(),
        };
        let quantity = quantity.ok_or(SuspenseReason::MissingInput)?;
        let duration = self.record.duration_us;
        Ok(Count { measure: measure.to_owned(), anew: None, quantity, duration })
    }

    /// The rounded-up measure behind a `UsageIncrement`. If the measure is time, the record ends
    /// later; additional units of another measure are spread over the same time.
    fn lengthened(&self, count: &Count, id: &str) -> Count {
        let of = |name| base(self.plan.primitive(id).unwrap().property(name).unwrap()) as i64;
        let mut quantity = if count.quantity == 0 { 0 } else { of("first") };
        while quantity < count.quantity {
            quantity += of("then");
        }
        let duration = if count.measure == "duration" { quantity } else { count.duration };
        Count { anew: Some(id.to_owned()), quantity, duration, ..count.clone() }
    }

    fn measure_at(&self, id: &str) -> &str {
        let link = &self.plan.primitive(id).unwrap().links("in")[0];
        if link.is_source() { &link.port } else { self.measure_at(&link.from) }
    }

    fn pushes(&self, count: &Count) -> Vec<Push> {
        let start = self.record.start.micros();
        if count.quantity == 0 {
            return vec![Push::ZeroQuantity { at: start }];
        }
        let at = |number| start + number * count.duration / count.quantity;
        (0..count.quantity).map(|number| Push::Unit { number, at: at(number) }).collect()
    }

    fn step(
        &self,
        place: usize,
        primitive: &Primitive,
        count: &Count,
        push: Push,
        memory: &mut Memory,
    ) -> Result<(), SuspenseReason> {
        if let Push::Unit { .. } = push {
            let copies = arrivals(primitive.links("topup"), count, &memory.outputs);
            let came = (push.at(), copies.len() as i128);
            memory.topped_up.entry(primitive.id.clone()).or_default().push(came);
        }
        let port = if primitive.links("trigger").is_empty() { "in" } else { "trigger" };
        let copies = arrivals(primitive.links(port), count, &memory.outputs);
        if copies.is_empty() {
            return Ok(());
        }
        let leave = |memory: &mut Memory, port: &str, copies: Vec<i128>| {
            memory.outputs.insert((primitive.id.clone(), port.to_owned()), copies);
        };
        match primitive.kind.as_str() {
            "UsageTypeSelector" => {
                let of_type = type_at(self.plan, self.record, primitive);
                let types = primitive.property("types").unwrap();
                let passes = types.split_whitespace().any(|known| known == of_type);
                leave(memory, if passes { "pass" } else { "rest" }, copies);
            }
            "UsageTypeClassifier" => leave(memory, "out", copies),
            "UsageIncrement" => {
                memory.anew.insert(primitive.id.clone(), copies);
            }
            "DailyTimeFilter" | "WeeklyTimeFilter" | "SpecialDaysTimeFilter" => {
                let passes = self.passes_by_time(primitive, push.at())?;
                leave(memory, if passes { "pass" } else { "rest" }, copies);
            }
            "ThresholdFilter" => {
                let above = base(primitive.property("above").unwrap());
                let (mut pass, mut rest) = (Vec::new(), Vec::new());
                for copy in copies {
                    let (level, _) = self.level(place, primitive, push, copy, memory);
                    let passes = match primitive.property("on").unwrap() {
                        "record" => i128::from(count.quantity) > above,
                        _ => level >= above,
                    };
                    if passes { pass.push(copy) } else { rest.push(copy) }
                }
                leave(memory, "pass", pass);
                leave(memory, "rest", rest);
            }
            "Weigher" => {
                let weight = match primitive.property("attribute") {
                    Some(attribute) => self.weight(primitive, attribute)?,
                    None => self.weight_at(primitive, push.at())?,
                };
                let (first, count) = (copies[0] * weight, copies.len() as i128 * weight);
                leave(memory, "out", (first..first + count).collect());
            }
            "MonthlyAccumulator"
            | "BillingCycleAccumulator"
            | "WeeklyAccumulator"
            | "DailyAccumulator" => {
                if let Push::Unit { .. } = push {
                    let period = period_of(self.account, Every::of(primitive), push.at());
                    let key = (self.variable(&primitive.id), period);
                    let total = memory.values.entry(key).or_default();
                    let read = (*total, copies[0], copies.len() as i128);
                    *total += copies.len() as i128;
                    memory.readings.insert(primitive.id.clone(), read);
                    memory.changed.insert(key);
                }
                leave(memory, "out", copies);
            }
            "Allowance" => {
                let (covered, rest) = self.cover_copies(primitive, push, copies, memory);
                leave(memory, "covered", covered);
                leave(memory, "rest", rest);
            }
            "OneTimeCharge" => {
                let marked = subscription(self.since);
                self.charge_once(place, primitive, (marked, Period::EVER), push, memory);
            }
            "MonthlyRecurringCharge" => {
                let month = period_of(self.account, Every::Month, push.at());
                self.charge_once(place, primitive, (month, month), push, memory);
            }
            "StepRater" => {
                let rest = self.rate_copies(place, primitive, push, &copies, memory);
                leave(memory, "rest", rest);
            }
            "Ignore" | "Adder" | "AccountFinalizer" => {}
            other => panic!("the oracle does not know {other}"),
        }
        Ok(())
    }

    /// The accumulator that a rater or threshold reads, if any.
    fn accumulator(&self, primitive: &Primitive) -> Option<&Primitive> {
        let link = primitive.links("level").first()?;
        Some(self.plan.primitive(&link.from).unwrap())
    }

    pub(crate) fn level_period(&self, primitive: &Primitive, push: Push) -> Period {
        let accumulator = self.accumulator(primitive);
        accumulator.map_or(Period::EVER, |read| period_of(self.account, Every::of(read), push.at()))
    }

    /// The level that a copy reads, and the amount by which the copy raises it.
    pub(crate) fn level(
        &self,
        place: usize,
        primitive: &Primitive,
        push: Push,
        copy: i128,
        memory: &mut Memory,
    ) -> (i128, i128) {
        let Some(accumulator) = self.accumulator(primitive) else {
            let before = memory.counts.entry(place).or_default();
            let read = (*before, 1);
            if let Push::Unit { .. } = push {
                *before += 1;
            }
            return read;
        };
        match memory.readings.get(&accumulator.id) {
            Some(&(before, first, count)) => (before + (copy - first).clamp(0, count - 1), 1),
            None => {
                let period = self.level_period(primitive, push);
                let key = (self.variable(&accumulator.id), period);
                (memory.values.get(&key).copied().unwrap_or(0), 0)
            }
        }
    }

    /// The weight of the first window that contains an instant.
    fn weight_at(&self, primitive: &Primitive, at: i64) -> Result<i128, SuspenseReason> {
        let mut windows = primitive.children.iter();
        let found = windows.find(|window| in_window(&self.account.zone, window, at));
        let weight = found.map(|window| window.property("weight").unwrap());
        let weight = weight.or(primitive.property("default"));
        weight.map(|text| text.parse().unwrap()).ok_or(SuspenseReason::NoWeight)
    }

    fn weight(&self, primitive: &Primitive, attribute: &str) -> Result<i128, SuspenseReason> {
        let default = primitive.property("default").map(|text| text.parse().unwrap());
        let value = self.record.attributes.get(attribute);
        let Some(value) = value else {
            return default.ok_or(SuspenseReason::MissingInput);
        };
        let found = primitive.children.iter().find(|child| child.property("value") == Some(value));
        let weight = found.map(|child| child.property("weight").unwrap().parse().unwrap());
        weight.or(default).ok_or(SuspenseReason::NoWeight)
    }

    fn passes_by_time(&self, primitive: &Primitive, at: i64) -> Result<bool, SuspenseReason> {
        let zone = &self.account.zone;
        Ok(match primitive.kind.as_str() {
            "DailyTimeFilter" => in_daily_window(zone, primitive, at),
            "WeeklyTimeFilter" => {
                primitive.children.iter().any(|window| in_window(zone, window, at))
            }
            _ => {
                let place = match primitive.property("place") {
                    Some(name) => {
                        let value = self.record.attributes.get(name);
                        Some(value.ok_or(SuspenseReason::MissingInput)?.as_str())
                    }
                    None => None,
                };
                is_special(zone, primitive, place, at)
            }
        })
    }

    pub(crate) fn variable(&self, primitive: &str) -> VariableId {
        let mut variables = self.code.variables().iter();
        variables.find(|variable| variable.primitive == primitive).unwrap().id
    }

    pub(crate) fn component(&self, primitive: &str, component: &str, kind: Kind) -> u16 {
        let same = |known: &turnpike_plan::Component| {
            known.primitive == primitive
                && known.component == component
                && known.price.contains("once per") == (kind == Kind::Constant)
        };
        self.code.components().iter().position(same).unwrap() as u16
    }
}

fn changes(memory: &Memory) -> Vec<StateEntry> {
    let entry = |&(variable, period): &(VariableId, Period)| StateEntry {
        variable,
        period,
        value: memory.values[&(variable, period)],
    };
    memory.changed.iter().map(entry).collect()
}

/// The period that identifies a subscription: the minute of its start.
pub(crate) fn subscription(since: Timestamp) -> Period {
    match since {
        Timestamp::MIN => Period::EVER,
        Timestamp(since) => Period(since.div_euclid(60_000_000) as i32),
    }
}

/// The copies that arrive by all links. They are numbered again if several links bring copies.
fn arrivals(links: &[Link], count: &Count, outputs: &Outputs) -> Vec<i128> {
    let brought = |link: &Link| {
        if link.is_source() {
            let comes = count.anew.is_none() && link.port == count.measure;
            return if comes { vec![0] } else { Vec::new() };
        }
        outputs.get(&(link.from.clone(), link.port.clone())).cloned().unwrap_or_default()
    };
    let mut all: Vec<Vec<i128>> = links.iter().map(brought).filter(|c| !c.is_empty()).collect();
    if all.len() <= 1 {
        return all.pop().unwrap_or_default();
    }
    let first = all.iter().map(|copies| copies[0]).min().unwrap();
    let count: usize = all.iter().map(Vec::len).sum();
    (first..first + count as i128).collect()
}

/// A quantity in base units. The generated plans use no other units than these.
pub(crate) fn base(text: &str) -> i128 {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let factor = match unit {
        "" | "us" | "B" => 1,
        "kB" | "ms" => 1_000,
        "s" => 1_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        other => panic!("the oracle does not know {other}"),
    };
    number.parse::<i128>().unwrap() * factor
}
