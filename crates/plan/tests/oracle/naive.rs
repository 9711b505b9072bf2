//! A naive interpreter: pushes a record's units through the public graph, one by one, in order
//! (PLANS section 1). Slow and plain on purpose; shares nothing with the compiled code but the
//! graph, and reads the values' texts by itself.
//!
//! Copies of a unit are numbered: a Weigher multiplies the numbers, paths that meet number anew
//! from the lowest, a rater's rest keeps them. A copy reads the accumulator as the copy of that
//! number found it; copies that it did not count read what the last counted one found.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
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
    /// When the subscription began.
    pub(crate) since: Timestamp,
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
    /// Units that reached a rater without a level.
    counts: BTreeMap<usize, i128>,
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
        Ok((self.lines(memory.parts, &order), self.changes(&memory.values, &memory.changed)))
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
                let passes = self.in_window(primitive, push.at());
                leave(if passes { "pass" } else { "rest" }, copies);
            }
            "Weigher" => {
                let weight = self.weight(primitive)?;
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
            "OneTimeCharge" => {
                let marked = subscription(self.since);
                self.charge_once(place, primitive, (marked, Period::EVER), push, memory);
            }
            "Allowance" => {
                let (covered, rest) = self.cover_copies(primitive, push, copies, memory);
                leave("covered", covered);
                leave("rest", rest);
            }
            "MonthlyRecurringCharge" => {
                let month = month_of(&self.account.zone, push.at());
                self.charge_once(place, primitive, (month, month), push, memory);
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

    /// Draws each copy from the bucket that is first in order and has something left.
    fn cover_copies(
        &self,
        primitive: &Primitive,
        push: Push,
        copies: Vec<i128>,
        memory: &mut Memory,
    ) -> (Vec<i128>, Vec<i128>) {
        let (mut covered, mut rest) = (Vec::new(), Vec::new());
        for copy in copies {
            let Some(key) = self.bucket(primitive, push.at(), memory) else {
                rest.push(copy);
                continue;
            };
            covered.push(copy);
            if let Push::Unit { .. } = push {
                *memory.values.entry(key).or_default() += 1;
                memory.changed.insert(key);
            }
        }
        (covered, rest)
    }

    /// The variable and period of the bucket that an instant's unit draws from.
    fn bucket(
        &self,
        primitive: &Primitive,
        at: i64,
        memory: &Memory,
    ) -> Option<(VariableId, Period)> {
        let zone = &self.account.zone;
        let today = date_at(zone, at);
        let mut valid = Vec::new();
        for (place, bucket) in primitive.children.iter().enumerate() {
            let number =
                |name| bucket.property(name).map_or(0, |text| text.parse::<i64>().unwrap());
            let variable =
                self.variable(&format!("{}/{}", primitive.id, bucket.property("id").unwrap()));
            let mut add = |expires: Date, granted: Date, period: Period| {
                let drawn = memory.values.get(&(variable, period)).copied().unwrap_or(0);
                if today < expires && drawn < base(bucket.property("grant").unwrap()) {
                    valid
                        .push(((expires, -number("priority"), granted, place), (variable, period)));
                }
            };
            let Some(every) = bucket.property("every") else {
                let began = match self.since {
                    Timestamp::MIN => Date::MIN,
                    Timestamp(since) => date_at(zone, since),
                };
                let days = bucket
                    .property("valid")
                    .map(|text| text.trim_end_matches(" d").parse::<i64>().unwrap());
                let expires = days.map_or(Date::MAX, |days| {
                    began.checked_add(jiff::Span::new().days(days)).unwrap()
                });
                add(expires, began, subscription(self.since));
                continue;
            };
            let mut first = first_of(every, today);
            for back in 0..=number("rollover") {
                let after = |periods| (0..periods).fold(first, |first, _| next_of(every, first));
                if back == 0 || first_instant_of(zone, after(1)) > self.since {
                    add(after(number("rollover") + 1), first, days_since_1970(first));
                }
                first = first_of(every, first.yesterday().unwrap());
            }
        }
        valid.into_iter().min_by_key(|(order, _)| *order).map(|(_, key)| key)
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
        (marked, period): (Period, Period),
        push: Push,
        memory: &mut Memory,
    ) {
        let key = (self.variable(&primitive.id), marked);
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

    /// By the wall clock's reading.
    fn in_window(&self, primitive: &Primitive, at: i64) -> bool {
        let zone = jiff::tz::TimeZone::get(self.account.zone.name()).unwrap();
        let clock = jiff::Timestamp::from_microsecond(at).unwrap().to_zoned(zone).time();
        let clock = [clock.hour(), clock.minute(), clock.second()].map(i64::from);
        let clock = (clock[0] * 60 + clock[1]) * 60 + clock[2];
        let seconds = |name: &str| {
            let text = primitive.property(name).unwrap();
            text.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap()) * 60
        };
        let (from, to) = (seconds("from"), seconds("to"));
        if from < to { from <= clock && clock < to } else { clock >= from || clock < to }
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
    days_since_1970(date_at(zone, at).first_of_month())
}

/// The local date of an instant: the last that has begun.
fn date_at(zone: &Zone, at: i64) -> Date {
    let rules = jiff::tz::TimeZone::get(zone.name()).unwrap();
    let mut date = jiff::Timestamp::from_microsecond(at).unwrap().to_zoned(rules).date();
    while first_instant_of(zone, date.tomorrow().unwrap()) <= Timestamp(at) {
        date = date.tomorrow().unwrap();
    }
    date
}

/// The first date of a period; the account's cycles begin on the first.
fn first_of(every: &str, mut date: Date) -> Date {
    match every {
        "month" | "billing-cycle" => date.first_of_month(),
        "week" => {
            while date.weekday() != jiff::civil::Weekday::Monday {
                date = date.yesterday().unwrap();
            }
            date
        }
        _ => date,
    }
}

fn next_of(every: &str, first: Date) -> Date {
    let span = match every {
        "month" | "billing-cycle" => jiff::Span::new().months(1),
        "week" => jiff::Span::new().days(7),
        _ => jiff::Span::new().days(1),
    };
    first.checked_add(span).unwrap()
}

fn days_since_1970(date: Date) -> Period {
    Period(date.since(jiff::civil::date(1970, 1, 1)).unwrap().get_days())
}

/// What stands for a subscription: the minute in which it began.
fn subscription(since: Timestamp) -> Period {
    match since {
        Timestamp::MIN => Period::EVER,
        Timestamp(since) => Period(since.div_euclid(60_000_000) as i32),
    }
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
