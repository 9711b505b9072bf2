//! A naive interpreter: pushes a record's units through the public graph, one by one, in order
//! (PLANS section 1). Slow and plain on purpose; shares nothing with the compiled code but the
//! graph, and reads the values' texts by itself.
//!
//! Copies of a unit are numbered: a Weigher multiplies the numbers, paths that meet number anew
//! from the lowest, a rater's rest keeps them. A copy reads the accumulator as the copy of that
//! number found it; copies that it did not count read what the last counted one found.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use turnpike_plan::{
    AccountContext, AccountState, Child, Line, Link, ObjectCode, Period, Plan, Primitive,
    StateEntry, VariableId,
};
use turnpike_types::{Money, Posting, SuspenseReason, UsageRecord};

use crate::clock::{in_daily_window, in_weekly_window, is_special, period_of};
use crate::types::type_at;

pub(crate) struct Naive<'a> {
    pub(crate) plan: &'a Plan,
    /// Asked for names of components and variables only.
    pub(crate) code: &'a ObjectCode,
    pub(crate) account: &'a AccountContext,
    pub(crate) state: &'a AccountState,
    pub(crate) record: &'a UsageRecord,
}

/// A unit, or the ghost of a record without units.
#[derive(Clone, Copy)]
enum Push {
    Unit { number: i64, at: i64 },
    Ghost { at: i64 },
}

impl Push {
    fn at(self) -> i64 {
        match self {
            Self::Unit { at, .. } | Self::Ghost { at } => at,
        }
    }

    fn number(self) -> i64 {
        match self {
            Self::Unit { number, .. } => number,
            Self::Ghost { .. } => 0,
        }
    }
}

#[derive(Default)]
struct Memory {
    /// Running values by variable and period.
    values: BTreeMap<(VariableId, Period), i128>,
    changed: BTreeSet<(VariableId, Period)>,
    /// Lines under way, by (place in the order, step, constant?, period).
    parts: BTreeMap<(usize, usize, bool, Period), Line>,
    /// Units that reached a rater or threshold without a level.
    counts: BTreeMap<usize, i128>,
    /// The copies of a record that reached what counts its units anew.
    anew: BTreeMap<String, Vec<i128>>,
}

/// What is being pushed: the units of a measure, or those that a primitive counted anew.
#[derive(Clone, Debug)]
struct Count {
    measure: String,
    anew: Option<String>,
    quantity: i64,
    duration: i64,
}

/// Numbers of the copies at each output, for the unit being pushed.
type Outputs = BTreeMap<(String, String), Vec<i128>>;

/// What each accumulator did with the unit being pushed: total before, first number, count.
type Readings = BTreeMap<String, (i128, i128, i128)>;

impl Naive<'_> {
    pub(crate) fn rate(&self) -> Result<(Vec<Line>, Vec<StateEntry>), SuspenseReason> {
        let mut memory = Memory::default();
        for entry in self.state {
            memory.values.insert((entry.variable, entry.period), entry.value);
        }
        let order = order_of(self.plan);
        let mut counts: VecDeque<Count> =
            measures_of(self.plan).iter().map(|name| self.count(name)).collect::<Result<_, _>>()?;
        while let Some(count) = counts.pop_front() {
            for push in self.pushes(&count) {
                let (mut outputs, mut readings) = (Outputs::new(), Readings::new());
                if let Some(id) = &count.anew {
                    outputs.insert((id.clone(), "out".to_owned()), memory.anew[id].clone());
                }
                for (place, primitive) in order.iter().enumerate() {
                    let (outputs, readings) = (&mut outputs, &mut readings);
                    self.step(place, primitive, &count, push, outputs, readings, &mut memory)?;
                }
            }
            if count.anew.is_none() {
                let of_this = memory.anew.keys().filter(|id| self.measure_at(id) == count.measure);
                counts.extend(of_this.map(|id| self.lengthened(&count, id)));
            }
        }
        Ok((self.lines(memory.parts, &order), self.changes(&memory.values, &memory.changed)))
    }

    fn count(&self, measure: &str) -> Result<Count, SuspenseReason> {
        let quantity = match measure {
            "duration" => Some(self.record.duration_us),
            "quantity" => self.record.quantity,
            name => self.record.measures.get(name).copied(),
        };
        let quantity = quantity.ok_or(SuspenseReason::MissingInput)?;
        let duration = self.record.duration_us;
        Ok(Count { measure: measure.to_owned(), anew: None, quantity, duration })
    }

    /// What a UsageIncrement makes of a count: time moves the record's end, more of anything else
    /// lies in the same time.
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
            return vec![Push::Ghost { at: start }];
        }
        let at = |number| start + number * count.duration / count.quantity;
        (0..count.quantity).map(|number| Push::Unit { number, at: at(number) }).collect()
    }

    #[allow(clippy::too_many_arguments)]
    fn step(
        &self,
        place: usize,
        primitive: &Primitive,
        count: &Count,
        push: Push,
        outputs: &mut Outputs,
        readings: &mut Readings,
        memory: &mut Memory,
    ) -> Result<(), SuspenseReason> {
        let port = if primitive.links("trigger").is_empty() { "in" } else { "trigger" };
        let copies = arrivals(primitive.links(port), count, outputs);
        if copies.is_empty() {
            return Ok(());
        }
        let mut leave = |port: &str, copies: Vec<i128>| {
            outputs.insert((primitive.id.clone(), port.to_owned()), copies);
        };
        match primitive.kind.as_str() {
            "UsageTypeSelector" => {
                let of_type = type_at(self.plan, self.record, primitive);
                let types = primitive.property("types").unwrap();
                let passes = types.split_whitespace().any(|known| known == of_type);
                leave(if passes { "pass" } else { "rest" }, copies);
            }
            "UsageTypeClassifier" => leave("out", copies),
            "UsageIncrement" => {
                memory.anew.insert(primitive.id.clone(), copies);
            }
            "DailyTimeFilter" | "WeeklyTimeFilter" | "SpecialDaysTimeFilter" => {
                let passes = self.passes_by_time(primitive, push.at())?;
                leave(if passes { "pass" } else { "rest" }, copies);
            }
            "ThresholdFilter" => {
                let above = base(primitive.property("above").unwrap());
                let (mut pass, mut rest) = (Vec::new(), Vec::new());
                for copy in copies {
                    let (level, _) = self.level(place, primitive, push, copy, readings, memory);
                    let passes = match primitive.property("on").unwrap() {
                        "record" => i128::from(count.quantity) > above,
                        _ => level >= above,
                    };
                    if passes { pass.push(copy) } else { rest.push(copy) }
                }
                leave("pass", pass);
                leave("rest", rest);
            }
            "Weigher" => {
                let weight = self.weight(primitive)?;
                let (first, count) = (copies[0] * weight, copies.len() as i128 * weight);
                leave("out", (first..first + count).collect());
            }
            "MonthlyAccumulator"
            | "BillingCycleAccumulator"
            | "WeeklyAccumulator"
            | "DailyAccumulator" => {
                if let Push::Unit { .. } = push {
                    let period = period_of(self.account, primitive, push.at());
                    let key = (self.variable(&primitive.id), period);
                    let total = memory.values.entry(key).or_default();
                    readings
                        .insert(primitive.id.clone(), (*total, copies[0], copies.len() as i128));
                    *total += copies.len() as i128;
                    memory.changed.insert(key);
                }
                leave("out", copies);
            }
            "OneTimeCharge" => self.charge_once(place, primitive, Period::EVER, push, memory),
            "MonthlyRecurringCharge" => {
                let month = period_of(self.account, primitive, push.at());
                self.charge_once(place, primitive, month, push, memory);
            }
            "StepRater" => {
                let rest = self.rate_copies(place, primitive, push, &copies, readings, memory);
                leave("rest", rest);
            }
            "Ignore" | "Adder" | "AccountFinalizer" => {}
            other => panic!("the oracle does not know {other}"),
        }
        Ok(())
    }

    fn rate_copies(
        &self,
        place: usize,
        primitive: &Primitive,
        push: Push,
        copies: &[i128],
        readings: &Readings,
        memory: &mut Memory,
    ) -> Vec<i128> {
        let levelled = !primitive.links("level").is_empty();
        let period = self.level_period(primitive, push);
        let mut rest = Vec::new();
        for &copy in copies {
            let (level, counted) = self.level(place, primitive, push, copy, readings, memory);
            let steps = primitive.children.iter();
            let found = steps.enumerate().find(|(_, step)| match step.property("upto") {
                Some(upto) => level < base(upto),
                None => true,
            });
            let Some((index, step)) = found else {
                rest.push(copy);
                continue;
            };
            let Push::Unit { number, .. } = push else {
                continue;
            };
            let shown = if levelled { (level, level + counted) } else { (0, 0) };
            let line = memory.parts.entry((place, index, false, period)).or_insert_with(|| Line {
                plan: 0,
                component: self.component(&primitive.id, step.property("id").unwrap(), false),
                quantity: 0,
                first_unit: number,
                period,
                level_before: shown.0,
                level_after: 0,
                amount: Money::ZERO,
                of: None,
                row: None,
                posting: Posting::Account,
            });
            line.quantity += 1;
            line.level_after = shown.1;
            self.constant(place, primitive, (index, step), period, number, memory);
        }
        rest
    }

    /// The accumulator that a rater or threshold reads, if it reads one.
    fn accumulator(&self, primitive: &Primitive) -> Option<&Primitive> {
        let link = primitive.links("level").first()?;
        Some(self.plan.primitive(&link.from).unwrap())
    }

    fn level_period(&self, primitive: &Primitive, push: Push) -> Period {
        let accumulator = self.accumulator(primitive);
        accumulator.map_or(Period::EVER, |read| period_of(self.account, read, push.at()))
    }

    /// The level that a copy reads, and by how much the copy raises it.
    fn level(
        &self,
        place: usize,
        primitive: &Primitive,
        push: Push,
        copy: i128,
        readings: &Readings,
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
        match readings.get(&accumulator.id) {
            Some(&(before, first, count)) => (before + (copy - first).clamp(0, count - 1), 1),
            None => {
                let period = self.level_period(primitive, push);
                let key = (self.variable(&accumulator.id), period);
                (memory.values.get(&key).copied().unwrap_or(0), 0)
            }
        }
    }

    fn constant(
        &self,
        place: usize,
        primitive: &Primitive,
        (index, step): (usize, &Child),
        period: Period,
        number: i64,
        memory: &mut Memory,
    ) {
        let Some(constant) = step.property("constant") else {
            return;
        };
        let id = step.property("id").unwrap();
        let levelled = !primitive.links("level").is_empty();
        if levelled {
            let key = (self.variable(&format!("{}/{id}", primitive.id)), period);
            if memory.values.insert(key, 1) == Some(1) {
                return;
            }
            memory.changed.insert(key);
        } else if memory.parts.contains_key(&(place, index, true, period)) {
            return;
        }
        let component = self.component(&primitive.id, id, true);
        let line = self.fixed(component, constant, period, number);
        memory.parts.insert((place, index, true, period), line);
    }

    fn charge_once(
        &self,
        place: usize,
        primitive: &Primitive,
        period: Period,
        push: Push,
        memory: &mut Memory,
    ) {
        let key = (self.variable(&primitive.id), period);
        if memory.values.insert(key, 1) == Some(1) {
            return;
        }
        memory.changed.insert(key);
        let component = self.component(&primitive.id, &primitive.id, false);
        let line =
            self.fixed(component, primitive.property("amount").unwrap(), period, push.number());
        memory.parts.insert((place, 0, false, period), line);
    }

    fn fixed(&self, component: u16, amount: &str, period: Period, first_unit: i64) -> Line {
        Line {
            plan: 0,
            component,
            quantity: 0,
            first_unit,
            period,
            level_before: 0,
            level_after: 0,
            amount: self.money(1, amount, 1),
            of: None,
            row: None,
            posting: Posting::Account,
        }
    }

    /// Prices the parts and puts the lines in order: place, first unit, step.
    fn lines(
        &self,
        parts: BTreeMap<(usize, usize, bool, Period), Line>,
        order: &[&Primitive],
    ) -> Vec<Line> {
        let mut lines: Vec<_> = parts.into_iter().collect();
        for ((place, step, constant, _), line) in &mut lines {
            if order[*place].kind == "StepRater" && !*constant {
                let step = &order[*place].children[*step];
                let (price, per) = (step.property("price").unwrap(), step.property("per").unwrap());
                line.amount = self.money(line.quantity, price, base(per));
            }
        }
        // A constant stands right after the line of its step and period.
        lines.sort_by_key(|((place, step, constant, period), line)| {
            (*place, line.first_unit, *step, *period, *constant)
        });
        lines.into_iter().map(|(_, line)| line).collect()
    }

    fn changes(
        &self,
        values: &BTreeMap<(VariableId, Period), i128>,
        changed: &BTreeSet<(VariableId, Period)>,
    ) -> Vec<StateEntry> {
        let entry = |&(variable, period): &(VariableId, Period)| StateEntry {
            variable,
            period,
            value: values[&(variable, period)],
        };
        changed.iter().map(entry).collect()
    }

    /// quantity * price / per, rounded half to even to the plan's digits.
    fn money(&self, quantity: i128, price: &str, per: i128) -> Money {
        let (whole, part) = price.split_once('.').unwrap_or((price, ""));
        let digits: i128 = format!("{whole}{part}").parse().unwrap();
        let scale = 10i128.pow(self.plan.round_digits());
        let (top, bottom) = (quantity * digits * scale, per * 10i128.pow(part.len() as u32));
        let (steps, over) = (top / bottom, 2 * (top % bottom));
        let up = over > bottom || (over == bottom && steps % 2 == 1);
        let nanos = (steps + i128::from(up)) * 10i128.pow(9 - self.plan.round_digits());
        Money::from_nanos(nanos).unwrap()
    }

    fn weight(&self, primitive: &Primitive) -> Result<i128, SuspenseReason> {
        let default = primitive.property("default").map(|text| text.parse().unwrap());
        let attribute = primitive.property("attribute").unwrap();
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
            "WeeklyTimeFilter" => in_weekly_window(zone, primitive, at),
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

    fn variable(&self, primitive: &str) -> VariableId {
        let mut variables = self.code.variables().iter();
        variables.find(|variable| variable.primitive == primitive).unwrap().id
    }

    fn component(&self, primitive: &str, component: &str, constant: bool) -> u16 {
        let same = |known: &turnpike_plan::Component| {
            known.primitive == primitive
                && known.component == component
                && known.price.contains("once per") == constant
        };
        self.code.components().iter().position(same).unwrap() as u16
    }
}

/// The copies that come in by all links; where several bring some, numbered anew.
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

fn measures_of(plan: &Plan) -> BTreeSet<String> {
    let links = plan.primitives().iter().flat_map(|p| &p.inputs).flat_map(|input| &input.links);
    links.filter(|link| link.is_source()).map(|link| link.port.clone()).collect()
}

/// Topological, ties by document order: again and again the first whose feeders are all done.
fn order_of(plan: &Plan) -> Vec<&Primitive> {
    let mut order: Vec<&Primitive> = Vec::new();
    while order.len() < plan.primitives().len() {
        let done = |id: &str| order.iter().any(|primitive| primitive.id == id);
        let ready = plan.primitives().iter().find(|primitive| {
            let mut links = primitive.inputs.iter().flat_map(|input| &input.links);
            !done(&primitive.id) && links.all(|link| link.is_source() || done(&link.from))
        });
        order.push(ready.unwrap());
    }
    order
}

/// A quantity in base units; the generated plans write these only.
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
