//! The lines of raters and charges: units are counted one by one into lines, which are priced after
//! the last unit (docs/plan-semantics.md sections 3 and 4).

use turnpike_plan::{ChargeLine, Child, Period, Primitive};
use turnpike_types::{Money, Posting};

use super::naive::{Memory, Naive, Push, base};

/// The key of a line: the index of the primitive in the order, the step, the kind of line, and the
/// period.
pub(crate) type Part = (usize, usize, Kind, Period);

/// The kinds of lines of a step, in the order in which they are booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Correction,
    Units,
    Constant,
}

/// A step that a unit reached.
#[derive(Clone, Copy)]
struct Reached<'a> {
    place: usize,
    primitive: &'a Primitive,
    index: usize,
    period: Period,
    /// The number of the unit within the record.
    number: i64,
    /// The level that the unit read.
    level: i128,
    /// The number of the copy of the unit.
    copy: i128,
}

impl<'a> Reached<'a> {
    fn step(&self) -> &'a Child {
        &self.primitive.children[self.index]
    }

    fn id(&self) -> &'a str {
        self.step().property("id").unwrap()
    }

    fn is_levelled(&self) -> bool {
        !self.primitive.links("level").is_empty()
    }

    fn mode(&self) -> &'a str {
        self.primitive.property("mode").unwrap()
    }

    /// The level at which the step begins: the end of the step before.
    fn start(&self) -> i128 {
        let before = self.index.checked_sub(1).map(|before| &self.primitive.children[before]);
        before.map_or(0, |before| base(before.property("upto").unwrap()))
    }

    /// Whether the unit may be charged a fee per call, which only the record's first unit may.
    fn may_charge_a_fee(&self) -> bool {
        let per_call = self.primitive.property("fee-per") == Some("call");
        !per_call || (self.number == 0 && self.copy == 0 && self.level == 0)
    }

    fn part(&self, kind: Kind) -> Part {
        (self.place, self.index, kind, self.period)
    }
}

fn price(step: &Child) -> &str {
    step.property("price").unwrap()
}

fn per(step: &Child) -> i128 {
    base(step.property("per").unwrap())
}

impl Naive<'_> {
    /// Rates the copies of a unit; returns the copies above the last step.
    pub(crate) fn rate_copies(
        &self,
        place: usize,
        primitive: &Primitive,
        push: Push,
        copies: &[i128],
        memory: &mut Memory,
    ) -> Vec<i128> {
        let period = self.level_period(primitive, push);
        let mut rest = Vec::new();
        for &copy in copies {
            let (level, counted) = self.level(place, primitive, push, copy, memory);
            let steps = primitive.children.iter();
            let found = steps.enumerate().find(|(_, step)| match step.property("upto") {
                Some(upto) => level < base(upto),
                None => true,
            });
            let Some((index, _)) = found else {
                rest.push(copy);
                continue;
            };
            if let Push::Unit { number, .. } = push {
                let reached = Reached { place, primitive, index, period, number, level, copy };
                self.correct(reached, memory);
                self.count_in(reached, counted, memory);
                self.constant(reached, memory);
            }
        }
        rest
    }

    /// Adds a copy of a unit to the line of its step.
    fn count_in(&self, reached: Reached<'_>, counted: i128, memory: &mut Memory) {
        let key = reached.part(Kind::Units);
        if self.plan.rounds_running() {
            *memory.amounts.entry(key).or_default() += self.running(reached);
        } else if reached.mode() == "package" {
            let begins = (reached.level - reached.start()) % per(reached.step()) == 0;
            *memory.begun.entry(key).or_default() += i128::from(begins);
        }
        let Reached { level, period, number, .. } = reached;
        let shown = if reached.is_levelled() { (level, level + counted) } else { (0, 0) };
        let line = memory.parts.entry(key).or_insert_with(|| {
            let component = self.component(&reached.primitive.id, reached.id(), Kind::Units);
            ChargeLine { level_before: shown.0, ..self.fixed(component, "0", period, number) }
        });
        line.quantity += 1;
        line.level_after = shown.1;
    }

    /// The amount that a unit adds to its line: the difference of the rounded totals after and
    /// before it.
    fn running(&self, reached: Reached<'_>) -> i128 {
        let (step, start) = (reached.step(), reached.start());
        let total = |level: i128| match reached.mode() {
            "package" => {
                let begun = (start..level).filter(|unit| (unit - start) % per(step) == 0).count();
                self.money(begun as i128, price(step), 1)
            }
            "volume" => self.money(level, price(step), per(step)),
            _ => self.money(level - start, price(step), per(step)),
        };
        total(reached.level + 1).nanos() - total(reached.level).nanos()
    }

    /// The correction line of a change of step in mode volume: with the first unit of a step, all
    /// units below it get the price of this step.
    fn correct(&self, reached: Reached<'_>, memory: &mut Memory) {
        let Reached { primitive, index, period, number, level, .. } = reached;
        let start = reached.start();
        if reached.mode() != "volume" || index == 0 || level != start {
            return;
        }
        let all_at = |step: &Child| self.money(start, price(step), per(step)).nanos();
        let change = all_at(reached.step()) - all_at(&primitive.children[index - 1]);
        let id = format!("{}-correction", reached.id());
        let shown = if reached.is_levelled() { level } else { 0 };
        let line = ChargeLine {
            amount: Money::from_nanos(change).unwrap(),
            level_before: shown,
            level_after: shown,
            ..self.fixed(self.component(&primitive.id, &id, Kind::Correction), "0", period, number)
        };
        memory.parts.insert(reached.part(Kind::Correction), line);
    }

    /// Charges a step's constant, once per period of the level or, without a level, once per
    /// record.
    fn constant(&self, reached: Reached<'_>, memory: &mut Memory) {
        let Some(constant) = reached.step().property("constant") else {
            return;
        };
        let (primitive, id, period) = (&reached.primitive.id, reached.id(), reached.period);
        let part = reached.part(Kind::Constant);
        if reached.is_levelled() {
            let key = (self.variable(&format!("{primitive}/{id}")), period);
            if memory.values.insert(key, 1) == Some(1) {
                return;
            }
            memory.changed.insert(key);
        } else if memory.parts.contains_key(&part) || !reached.may_charge_a_fee() {
            return;
        }
        let component = self.component(primitive, id, Kind::Constant);
        let line = self.fixed(component, constant, period, reached.number);
        memory.parts.insert(part, line);
    }

    /// Charges an amount on a line of a period, unless the state shows that it was charged before.
    pub(crate) fn charge_once(
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
        let component = self.component(&primitive.id, &primitive.id, Kind::Units);
        let line =
            self.fixed(component, primitive.property("amount").unwrap(), period, push.number());
        memory.parts.insert((place, 0, Kind::Units, period), line);
    }

    fn fixed(&self, component: u16, amount: &str, period: Period, first_unit: i64) -> ChargeLine {
        ChargeLine {
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

    /// Prices the lines and sorts them by primitive in topological order, first unit and step.
    pub(crate) fn lines(&self, memory: &Memory, order: &[&Primitive]) -> Vec<ChargeLine> {
        let mut lines: Vec<_> = memory.parts.clone().into_iter().collect();
        for (part, line) in &mut lines {
            let &mut (place, step, kind, _) = part;
            if order[place].kind != "StepRater" || kind != Kind::Units {
                continue;
            }
            let step = &order[place].children[step];
            line.amount = if let Some(nanos) = memory.amounts.get(part) {
                Money::from_nanos(*nanos).unwrap()
            } else if let Some(begun) = memory.begun.get(part) {
                self.money(*begun, price(step), 1)
            } else {
                self.money(line.quantity, price(step), per(step))
            };
        }
        // A correction precedes the line of its step and period, and a constant follows it.
        lines.sort_by_key(|((place, step, kind, period), line)| {
            (*place, line.first_unit, *step, *period, *kind)
        });
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// The price of a quantity, `quantity * price / per`, rounded half to even to the plan's
    /// digits.
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
}
