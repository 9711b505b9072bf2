//! A naive interpreter: pushes a record's units through the public graph, one by one, in order
//! (PLANS section 1). Slow and plain on purpose; shares nothing with the compiled code but the
//! graph, and reads the values' texts by itself.
//!
//! Copies of a unit are numbered: a Weigher multiplies the numbers, paths that meet number anew
//! from the lowest, a rater's rest keeps them. A copy reads the accumulator as the copy of that
//! number found it; copies that it did not count read what the last counted one found.

use std::collections::{BTreeMap, BTreeSet};

use turnpike_plan::{
    AccountContext, AccountState, Child, Line, Link, ObjectCode, Period, Plan, Primitive,
    StateEntry, VariableId, Zone, first_instant_of,
};
use turnpike_types::{Money, Posting, SuspenseReason, Timestamp, UsageRecord};

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
    /// Lines under way.
    parts: BTreeMap<Part, Line>,
    /// What lines of running totals come to, added up unit by unit.
    amounts: BTreeMap<Part, i128>,
    /// Packages that began on the lines' units.
    begun: BTreeMap<Part, i128>,
    /// Units that reached a rater without a level.
    counts: BTreeMap<usize, i128>,
}

/// What a line is for: place in the order, step, which of its lines, period.
type Part = (usize, usize, Kind, Period);

/// The lines of a step, in the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Correction,
    Units,
    Constant,
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
        for measure in measures_of(self.plan) {
            for push in self.pushes(&measure)? {
                let (mut outputs, mut readings) = (Outputs::new(), Readings::new());
                for (place, primitive) in order.iter().enumerate() {
                    self.step(
                        place,
                        primitive,
                        &measure,
                        push,
                        &mut outputs,
                        &mut readings,
                        &mut memory,
                    )?;
                }
            }
        }
        Ok((self.lines(&memory, &order), self.changes(&memory.values, &memory.changed)))
    }

    fn pushes(&self, measure: &str) -> Result<Vec<Push>, SuspenseReason> {
        let (start, duration) = (self.record.start.micros(), self.record.duration_us);
        let quantity = match measure {
            "duration" => Some(duration),
            "quantity" => self.record.quantity,
            name => self.record.measures.get(name).copied(),
        };
        let quantity = quantity.ok_or(SuspenseReason::MissingInput)?;
        if quantity == 0 {
            return Ok(vec![Push::Ghost { at: start }]);
        }
        let at = |number| start + number * duration / quantity;
        Ok((0..quantity).map(|number| Push::Unit { number, at: at(number) }).collect())
    }

    #[allow(clippy::too_many_arguments)]
    fn step(
        &self,
        place: usize,
        primitive: &Primitive,
        measure: &str,
        push: Push,
        outputs: &mut Outputs,
        readings: &mut Readings,
        memory: &mut Memory,
    ) -> Result<(), SuspenseReason> {
        let port = if primitive.links("trigger").is_empty() { "in" } else { "trigger" };
        let copies = arrivals(primitive.links(port), measure, outputs);
        if copies.is_empty() {
            return Ok(());
        }
        let mut leave = |port: &str, copies: Vec<i128>| {
            outputs.insert((primitive.id.clone(), port.to_owned()), copies);
        };
        match primitive.kind.as_str() {
            "UsageTypeSelector" => {
                let types = primitive.property("types").unwrap();
                let passes = types.split_whitespace().any(|known| known == self.record.usage_type);
                leave(if passes { "pass" } else { "rest" }, copies);
            }
            "DailyTimeFilter" => {
                let property = |name| primitive.property(name).unwrap();
                let passes = self.in_window((property("from"), property("to")), push.at());
                leave(if passes { "pass" } else { "rest" }, copies);
            }
            "Weigher" => {
                let weight = match primitive.property("attribute") {
                    Some(attribute) => self.weight(primitive, attribute)?,
                    None => self.weight_at(primitive, push.at())?,
                };
                let (first, count) = (copies[0] * weight, copies.len() as i128 * weight);
                leave("out", (first..first + count).collect());
            }
            "MonthlyAccumulator" => {
                if let Push::Unit { .. } = push {
                    let key =
                        (self.variable(&primitive.id), month_of(&self.account.zone, push.at()));
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
                let month = month_of(&self.account.zone, push.at());
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
        let accumulator = primitive.links("level").first().map(|link| link.from.as_str());
        let period = match accumulator {
            Some(_) => month_of(&self.account.zone, push.at()),
            None => Period::EVER,
        };
        let mut rest = Vec::new();
        for &copy in copies {
            let (level, counted) = match accumulator {
                Some(id) => match readings.get(id) {
                    Some(&(before, first, count)) => {
                        (before + (copy - first).clamp(0, count - 1), 1)
                    }
                    None => {
                        let key = (self.variable(id), period);
                        (memory.values.get(&key).copied().unwrap_or(0), 0)
                    }
                },
                None => (memory.counts.get(&place).copied().unwrap_or(0), 1),
            };
            if let Push::Unit { .. } = push {
                *memory.counts.entry(place).or_default() += 1;
            }
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
            let shown = if accumulator.is_some() { (level, level + counted) } else { (0, 0) };
            self.correct(place, primitive, (index, level), period, number, memory);
            let key = (place, index, Kind::Units, period);
            if self.plan.rounds_running() {
                let amount = self.running(primitive, index, level);
                *memory.amounts.entry(key).or_default() += amount;
            } else if primitive.property("mode") == Some("package") {
                let within = level - start_of(primitive, index);
                let begins = within % base(step.property("per").unwrap()) == 0;
                *memory.begun.entry(key).or_default() += i128::from(begins);
            }
            let line = memory.parts.entry(key).or_insert_with(|| Line {
                plan: 0,
                component: self.component(&primitive.id, step.property("id").unwrap(), Kind::Units),
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

    /// What the unit that reads `level` adds to its line: the difference of the rounded totals
    /// after it and before it (PLANS section 3).
    fn running(&self, primitive: &Primitive, index: usize, level: i128) -> i128 {
        let step = &primitive.children[index];
        let (price, per) = (step.property("price").unwrap(), base(step.property("per").unwrap()));
        let start = start_of(primitive, index);
        let total = |level: i128| match primitive.property("mode") {
            Some("package") => {
                let begun = (start..level).filter(|unit| (unit - start) % per == 0).count();
                self.money(begun as i128, price, 1).nanos()
            }
            Some("volume") => self.money(level, price, per).nanos(),
            _ => self.money(level - start, price, per).nanos(),
        };
        total(level + 1) - total(level)
    }

    /// The line that a change of step books in mode volume: with the first unit of the step, all
    /// units below it get its price (PLANS section 4).
    fn correct(
        &self,
        place: usize,
        primitive: &Primitive,
        (index, level): (usize, i128),
        period: Period,
        number: i64,
        memory: &mut Memory,
    ) {
        let start = start_of(primitive, index);
        if primitive.property("mode") != Some("volume") || index == 0 || level != start {
            return;
        }
        let all_at = |step: &Child| {
            let (price, per) = (step.property("price").unwrap(), step.property("per").unwrap());
            self.money(start, price, base(per)).nanos()
        };
        let (step, before) = (&primitive.children[index], &primitive.children[index - 1]);
        let id = format!("{}-correction", step.property("id").unwrap());
        let shown = if primitive.links("level").is_empty() { 0 } else { level };
        let line = Line {
            amount: Money::from_nanos(all_at(step) - all_at(before)).unwrap(),
            level_before: shown,
            level_after: shown,
            ..self.fixed(self.component(&primitive.id, &id, Kind::Correction), "0", period, number)
        };
        memory.parts.insert((place, index, Kind::Correction, period), line);
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
        } else if memory.parts.contains_key(&(place, index, Kind::Constant, period)) {
            return;
        }
        let component = self.component(&primitive.id, id, Kind::Constant);
        let line = self.fixed(component, constant, period, number);
        memory.parts.insert((place, index, Kind::Constant, period), line);
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
        let component = self.component(&primitive.id, &primitive.id, Kind::Units);
        let line =
            self.fixed(component, primitive.property("amount").unwrap(), period, push.number());
        memory.parts.insert((place, 0, Kind::Units, period), line);
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
    fn lines(&self, memory: &Memory, order: &[&Primitive]) -> Vec<Line> {
        let mut lines: Vec<_> = memory.parts.clone().into_iter().collect();
        for (part, line) in &mut lines {
            let (place, step, kind, _) = &*part;
            if let Some(nanos) = memory.amounts.get(part) {
                line.amount = Money::from_nanos(*nanos).unwrap();
            } else if let Some(begun) = memory.begun.get(part) {
                let price = order[*place].children[*step].property("price").unwrap();
                line.amount = self.money(*begun, price, 1);
            } else if order[*place].kind == "StepRater" && *kind == Kind::Units {
                let step = &order[*place].children[*step];
                let (price, per) = (step.property("price").unwrap(), step.property("per").unwrap());
                line.amount = self.money(line.quantity, price, base(per));
            }
        }
        // A correction stands right before the line of its step and period, a constant after it.
        lines.sort_by_key(|((place, step, kind, period), line)| {
            (*place, line.first_unit, *step, *period, *kind)
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

    /// The first window of time that holds an instant; these are not told apart by days here.
    fn weight_at(&self, primitive: &Primitive, at: i64) -> Result<i128, SuspenseReason> {
        let (default, mut windows) = (primitive.property("default"), primitive.children.iter());
        let found = windows.find(|window| {
            self.in_window((window.property("from").unwrap(), window.property("to").unwrap()), at)
        });
        let weight = found.map(|window| window.property("weight").unwrap()).or(default);
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

    /// By the wall clock's reading.
    fn in_window(&self, (from, to): (&str, &str), at: i64) -> bool {
        let zone = jiff::tz::TimeZone::get(self.account.zone.name()).unwrap();
        let clock = jiff::Timestamp::from_microsecond(at).unwrap().to_zoned(zone).time();
        let clock = [clock.hour(), clock.minute(), clock.second()].map(i64::from);
        let clock = (clock[0] * 60 + clock[1]) * 60 + clock[2];
        let seconds = |text: &str| {
            text.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap()) * 60
        };
        let (from, to) = (seconds(from), seconds(to));
        if from < to { from <= clock && clock < to } else { clock >= from || clock < to }
    }

    fn variable(&self, primitive: &str) -> VariableId {
        let mut variables = self.code.variables().iter();
        variables.find(|variable| variable.primitive == primitive).unwrap().id
    }

    fn component(&self, primitive: &str, component: &str, kind: Kind) -> u16 {
        let same = |known: &turnpike_plan::Component| {
            known.primitive == primitive
                && known.component == component
                && known.price.contains("once per") == (kind == Kind::Constant)
        };
        self.code.components().iter().position(same).unwrap() as u16
    }
}

/// The level at which a step begins: where the one before ends.
fn start_of(primitive: &Primitive, index: usize) -> i128 {
    let before = index.checked_sub(1).map(|before| &primitive.children[before]);
    before.map_or(0, |before| base(before.property("upto").unwrap()))
}

/// The copies that come in by all links; where several bring some, numbered anew.
fn arrivals(links: &[Link], measure: &str, outputs: &Outputs) -> Vec<i128> {
    let brought = |link: &Link| {
        if link.is_source() {
            return if link.port == measure { vec![0] } else { Vec::new() };
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

/// The month an instant belongs to: the last that has begun.
fn month_of(zone: &Zone, at: i64) -> Period {
    let rules = jiff::tz::TimeZone::get(zone.name()).unwrap();
    let local = jiff::Timestamp::from_microsecond(at).unwrap().to_zoned(rules).date();
    let next = local.first_of_month().checked_add(jiff::Span::new().months(1)).unwrap();
    let begun = first_instant_of(zone, next) <= Timestamp(at);
    let first = if begun { next } else { local.first_of_month() };
    Period(first.since(jiff::civil::date(1970, 1, 1)).unwrap().get_days())
}

/// A quantity in base units; the generated plans write these only.
fn base(text: &str) -> i128 {
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let factor = match unit {
        "" | "us" | "B" => 1,
        "kB" | "ms" => 1_000,
        "s" => 1_000_000,
        "h" => 3_600_000_000,
        other => panic!("the oracle does not know {other}"),
    };
    number.parse::<i128>().unwrap() * factor
}
