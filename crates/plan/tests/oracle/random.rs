//! Random plans, accounts and records, all from one string of bytes, so that they shrink.

use std::collections::BTreeMap;

use turnpike_plan::{AccountContext, AccountState, ObjectCode, Plan, Primitive, StateEntry};
use turnpike_types::{Timestamp, UsageRecord};

use crate::clock::period_of;
use crate::drawn;
use crate::support::{account, micros};

/// Throws from a string of bytes; zeros when they run out.
pub(crate) struct Dice<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl<'a> Dice<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter() }
    }

    /// A number below `sides`.
    pub(crate) fn throw(&mut self, sides: usize) -> usize {
        let mut byte = || usize::from(*self.bytes.next().unwrap_or(&0));
        (byte() * 256 + byte()) % sides
    }

    fn number(&mut self, sides: i64) -> i64 {
        self.throw(1 << 16) as i64 * self.throw(1 << 16) as i64 % sides
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.throw(choices.len())]
    }
}

/// A usage output, and what is known of its units.
#[derive(Clone, Debug, PartialEq)]
struct Port {
    name: String,
    kind: Kind,
}

/// Ports of one kind can meet.
#[derive(Clone, Debug, PartialEq)]
struct Kind {
    /// Who counts the units: the measure, or who counted them anew.
    count: String,
    /// Who said what type they are.
    label: String,
    /// A record comes whole or not at all.
    whole: bool,
}

/// A plan over one measure: primitives that take one or two of the ports before them.
pub(crate) struct Draft {
    pub(crate) measure: &'static str,
    ports: Vec<Port>,
    taken: Vec<String>,
    /// With their counts.
    accumulators: Vec<(String, String)>,
    charges: Vec<String>,
    graph: String,
}

impl Draft {
    pub(crate) fn random(dice: &mut Dice<'_>) -> Self {
        let measure = dice.one_of(&["duration", "quantity", "octets"]);
        let mut draft = Self {
            measure,
            ports: vec![Port {
                name: format!("record.{measure}"),
                kind: Kind { count: String::new(), label: String::new(), whole: true },
            }],
            taken: Vec::new(),
            accumulators: Vec::new(),
            charges: Vec::new(),
            graph: String::new(),
        };
        for number in 0..2 + dice.throw(10) {
            draft.add(number, dice);
        }
        draft
    }

    pub(crate) fn xml(mut self, dice: &mut Dice<'_>) -> String {
        let ports = self.ports.iter().skip(1).map(|port| &port.name);
        for (number, port) in ports.filter(|port| !self.taken.contains(port)).enumerate() {
            self.graph += &format!("<Ignore id=\"ignored-{number}\" in=\"{port}\"/>\n");
        }
        if !self.charges.is_empty() {
            let charges = self.charges.join(" ");
            self.graph += &format!("<Adder id=\"sum\" in=\"{charges}\"/>\n");
            self.graph += "<AccountFinalizer id=\"post\" in=\"sum.charge\"/>\n";
        }
        let digits = dice.one_of(&[9, 9, 2, 0]);
        format!(
            "<plan xmlns=\"urn:turnpike:plan:1\" id=\"p\" version=\"1\" starts=\"2000-01-01\" currency=\"USD\" round=\"{digits} half-even\">\n<graph>\n{}</graph>\n</plan>",
            self.graph
        )
    }

    fn take(&mut self, dice: &mut Dice<'_>) -> (String, Kind) {
        let mut links: Vec<&Port> = Vec::new();
        for _ in 0..dice.one_of(&[1, 1, 1, 2, 3]) {
            // Mostly what came last, so that graphs grow deep.
            let back = dice.one_of(&[0, 0, 1, 1, 2, 3, 5]).min(self.ports.len() - 1);
            let port = &self.ports[self.ports.len() - 1 - back];
            let meets = |first: &&Port| {
                (&first.kind.count, &first.kind.label) == (&port.kind.count, &port.kind.label)
            };
            if links.first().is_none_or(meets) {
                links.push(port);
            }
        }
        let whole = links.iter().all(|port| port.kind.whole);
        let kind = Kind { whole, ..links[0].kind.clone() };
        let links: Vec<String> = links.into_iter().map(|port| port.name.clone()).collect();
        self.taken.extend_from_slice(&links);
        (links.join(" "), kind)
    }

    fn leave(&mut self, id: &str, outputs: &[&str], kind: Kind) {
        let port = |output: &&str| Port { name: format!("{id}.{output}"), kind: kind.clone() };
        self.ports.extend(outputs.iter().map(port));
    }

    fn unit(&self) -> &'static str {
        match self.measure {
            "duration" => " us",
            "octets" => " B",
            _ => "",
        }
    }

    /// A link to an accumulator of the same count, or none.
    fn level(&self, kind: &Kind, dice: &mut Dice<'_>) -> String {
        let same = self.accumulators.iter().filter(|(_, count)| *count == kind.count);
        let same: Vec<&String> = same.map(|(id, _)| id).collect();
        match dice.throw(same.len() + 1) {
            0 => String::new(),
            n => format!(" level=\"{}.total\"", same[n - 1]),
        }
    }

    fn add(&mut self, number: usize, dice: &mut Dice<'_>) {
        let (id, (links, kind)) = (format!("n{number}"), self.take(dice));
        let split = Kind { whole: false, ..kind.clone() };
        match dice.throw(18) {
            0 | 1 => {
                let types = dice.one_of(&["t", "u", "t u", "v", "u v"]);
                self.graph +=
                    &format!("<UsageTypeSelector id=\"{id}\" in=\"{links}\" types=\"{types}\"/>\n");
                self.leave(&id, &["pass", "rest"], kind);
            }
            2 => {
                self.graph += &drawn::daily(&id, &links, dice);
                self.leave(&id, &["pass", "rest"], split);
            }
            3 | 4 => {
                self.graph += &drawn::weekly(&id, &links, dice);
                self.leave(&id, &["pass", "rest"], split);
            }
            5 => {
                self.graph += &drawn::special(&id, &links, dice);
                self.leave(&id, &["pass", "rest"], split);
            }
            6 | 7 => {
                let level = self.level(&kind, dice);
                self.graph += &drawn::threshold(&id, &links, &level, self.unit(), dice);
                self.leave(&id, &["pass", "rest"], split);
            }
            8 => {
                self.graph += &drawn::classifier(&id, &links, dice);
                self.leave(&id, &["out"], Kind { label: id.clone(), ..kind });
            }
            9 | 10 if kind.whole => {
                self.graph += &drawn::increment(&id, &links, self.unit(), dice);
                self.leave(&id, &["out"], Kind { count: id.clone(), ..split });
            }
            9..=12 => {
                let calendar = dice.one_of(&[
                    "MonthlyAccumulator",
                    "BillingCycleAccumulator",
                    "WeeklyAccumulator",
                    "WeeklyAccumulator starts=\"Sun\"",
                    "WeeklyAccumulator starts=\"Thu\"",
                    "DailyAccumulator",
                ]);
                self.graph += &format!("<{calendar} id=\"{id}\" in=\"{links}\"/>\n");
                self.accumulators.push((id.clone(), kind.count));
                self.leave(&id, &["out"], split);
            }
            13 => {
                let (a, b) = (dice.throw(4), dice.throw(12));
                let default = dice.one_of(&["", " default=\"0\"", " default=\"3\""]);
                self.graph += &format!(
                    "<Weigher id=\"{id}\" in=\"{links}\" attribute=\"f\"{default}><weight value=\"a\" weight=\"{a}\"/><weight value=\"b\" weight=\"{b}\"/></Weigher>\n"
                );
                self.leave(&id, &["out"], split);
            }
            14 => self.fee("OneTimeCharge", &id, &links, dice),
            15 => self.fee("MonthlyRecurringCharge", &id, &links, dice),
            _ => self.rater(&id, &links, kind, dice),
        }
    }

    fn fee(&mut self, kind: &str, id: &str, links: &str, dice: &mut Dice<'_>) {
        let amount = dice.one_of(&["10.00", "0.005", "0", "2.5"]);
        self.graph += &format!(
            "<{kind} id=\"{id}\" trigger=\"{links}\" amount=\"{amount}\" due=\"first-use\"/>\n"
        );
        self.charges.push(format!("{id}.charge"));
    }

    fn rater(&mut self, id: &str, links: &str, kind: Kind, dice: &mut Dice<'_>) {
        let (unit, level) = (self.unit(), self.level(&kind, dice));
        let (count, endless) = (1 + dice.throw(3), dice.throw(2) == 0);
        let (mut steps, mut upto) = (String::new(), 0);
        for step in 0..count {
            upto += 1 + dice.throw(25);
            let bound = if endless && step + 1 == count {
                String::new()
            } else {
                format!(" upto=\"{upto}{unit}\"")
            };
            let price = dice.one_of(&["0", "1", "0.05", "0.333333333", "2.5"]);
            let per = dice.one_of(&[1, 1, 3, 7, 1000]);
            let constant = dice.one_of(&["", "", " constant=\"0.15\""]);
            steps += &format!(
                "<step id=\"s{step}\"{bound} price=\"{price}\" per=\"{per}{unit}\"{constant}/>"
            );
        }
        self.graph +=
            &format!("<StepRater id=\"{id}\" in=\"{links}\"{level}>{steps}</StepRater>\n");
        self.charges.push(format!("{id}.charge"));
        if !endless {
            self.leave(id, &["rest"], Kind { whole: false, ..kind });
        }
    }
}

/// Zones and instants at which something happens to their clocks or calendars.
const EDGES: &[(&str, &str)] = &[
    ("UTC", "2026-02-01T00:00:00Z"),
    ("America/New_York", "2026-03-08T07:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("America/New_York", "2026-11-01T04:00:00Z"),
    ("Europe/London", "2026-03-29T01:00:00Z"),
    ("Asia/Kolkata", "2026-02-28T18:30:00Z"),
    ("Asia/Kathmandu", "2026-12-31T18:15:00Z"),
    ("Europe/Zurich", "2026-03-29T01:00:00Z"),
    ("Europe/Zurich", "2026-10-25T01:00:00Z"),
    ("Europe/Zurich", "2024-02-28T23:00:00Z"),
    ("Australia/Adelaide", "2026-04-04T16:30:00Z"),
    // Half an hour of daylight saving.
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    // Clocks put back at 00:01 of the first of a month.
    ("America/St_Johns", "2009-11-01T02:31:00Z"),
    // Clocks put forward at midnight.
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    // A day left out.
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
];

pub(crate) fn an_account(dice: &mut Dice<'_>) -> (AccountContext, i64) {
    let (zone, edge) = dice.one_of(EDGES);
    let cycle_day = dice.one_of(&[1, 1, 8, 29, 30, 31]);
    (AccountContext { cycle_day, ..account(zone) }, micros(edge))
}

/// A record near an edge: few units, so that looping over them is quick.
pub(crate) fn a_record(measure: &str, edge: i64, dice: &mut Dice<'_>) -> UsageRecord {
    const HOUR_US: i64 = 3_600_000_000;
    let units = dice.one_of(&[0, 1, 2, 5, 17, 40, 90]);
    let duration_us = match measure {
        "duration" => units,
        _ => dice.one_of(&[0, 1, 30, HOUR_US, 5 * HOUR_US, 26 * HOUR_US + 7, 900 * HOUR_US + 11]),
    };
    let before = match dice.throw(3) {
        0 => dice.number(units.max(1) + 2),
        1 => dice.number(duration_us.max(1) + 2),
        _ => dice.number(60) * HOUR_US,
    };
    let mut record = UsageRecord {
        record_id: "r".to_owned(),
        usage_type: dice.one_of(&["t", "t", "u"]).to_owned(),
        start: Timestamp(edge - before),
        duration_us,
        quantity: Some(units),
        measures: BTreeMap::from([("octets".to_owned(), units)]),
        ..UsageRecord::default()
    };
    if let Some(value) = dice.one_of(&[Some("a"), Some("a"), Some("b"), Some("c"), None]) {
        record.attributes.insert("f".to_owned(), value.to_owned());
    }
    record
}

/// Totals of some periods around the edge, as if there had been usage before.
pub(crate) fn a_state(
    plan: &Plan,
    code: &ObjectCode,
    account: &AccountContext,
    edge: i64,
    dice: &mut Dice<'_>,
) -> AccountState {
    const DAYS_US: i64 = 86_400_000_000;
    let mut state = AccountState::default();
    let accumulators: Vec<&Primitive> =
        plan.primitives().iter().filter(|known| known.kind.ends_with("Accumulator")).collect();
    for variable in code.variables() {
        let own = accumulators.iter().find(|known| known.id == variable.primitive);
        let charge = !code.components().iter().any(|known| known.level == Some(variable.id));
        for days in [-40, -1, 0, 1] {
            let of = own.or_else(|| accumulators.first());
            let Some(of) = of else { continue };
            let period = period_of(account, of, edge + days * DAYS_US);
            let value = if charge && own.is_none() { 1 } else { dice.throw(40) as i128 };
            if dice.throw(3) == 0 {
                state.set(StateEntry { variable: variable.id, period, value });
            }
        }
    }
    state
}
