//! Random plans, accounts and records, all from one string of bytes, so that they shrink.

use std::collections::BTreeMap;

use turnpike_plan::{AccountContext, AccountState, ObjectCode, Period, StateEntry};
use turnpike_types::{Timestamp, UsageRecord};

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

/// A plan over one measure: primitives that take one or two of the ports before them.
pub(crate) struct Draft {
    pub(crate) measure: &'static str,
    ports: Vec<String>,
    taken: Vec<String>,
    accumulators: Vec<String>,
    charges: Vec<String>,
    graph: String,
}

impl Draft {
    pub(crate) fn random(dice: &mut Dice<'_>) -> Self {
        let measure = dice.one_of(&["duration", "quantity", "octets"]);
        let mut draft = Self {
            measure,
            ports: vec![format!("record.{measure}")],
            taken: Vec::new(),
            accumulators: Vec::new(),
            charges: Vec::new(),
            graph: String::new(),
        };
        for number in 0..2 + dice.throw(9) {
            draft.add(number, dice);
        }
        draft
    }

    pub(crate) fn xml(mut self, dice: &mut Dice<'_>) -> String {
        let open: Vec<String> =
            self.ports.iter().skip(1).filter(|port| !self.taken.contains(port)).cloned().collect();
        if !open.is_empty() {
            self.graph += &format!("<Ignore id=\"ignored\" in=\"{}\"/>\n", open.join(" "));
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

    fn take(&mut self, dice: &mut Dice<'_>) -> String {
        let mut links = Vec::new();
        for _ in 0..dice.one_of(&[1, 1, 1, 2, 3]) {
            // Mostly what came last, so that graphs grow deep.
            let back = dice.one_of(&[0, 0, 1, 1, 2, 3, 5]).min(self.ports.len() - 1);
            links.push(self.ports[self.ports.len() - 1 - back].clone());
        }
        self.taken.extend_from_slice(&links);
        links.join(" ")
    }

    fn add(&mut self, number: usize, dice: &mut Dice<'_>) {
        let (id, links) = (format!("n{number}"), self.take(dice));
        match dice.throw(12) {
            0 => {
                let types = dice.one_of(&["t", "u", "t u"]);
                self.graph +=
                    &format!("<UsageTypeSelector id=\"{id}\" in=\"{links}\" types=\"{types}\"/>\n");
                self.ports.extend([format!("{id}.pass"), format!("{id}.rest")]);
            }
            1 | 2 => {
                let clock =
                    ["00:00", "00:30", "01:00", "01:30", "02:00", "07:00", "19:00", "23:30"];
                let from = dice.throw(clock.len());
                let to = (from + 1 + dice.throw(clock.len() - 1)) % clock.len();
                let to = if to == 0 { "24:00" } else { clock[to] };
                self.graph += &format!(
                    "<DailyTimeFilter id=\"{id}\" in=\"{links}\" from=\"{}\" to=\"{to}\"/>\n",
                    clock[from]
                );
                self.ports.extend([format!("{id}.pass"), format!("{id}.rest")]);
            }
            3 | 4 => {
                self.graph += &format!("<MonthlyAccumulator id=\"{id}\" in=\"{links}\"/>\n");
                self.ports.push(format!("{id}.out"));
                self.accumulators.push(id);
            }
            5 => {
                let (a, b) = (dice.throw(4), dice.throw(12));
                let default = dice.one_of(&["", " default=\"0\"", " default=\"3\""]);
                self.graph += &format!(
                    "<Weigher id=\"{id}\" in=\"{links}\" attribute=\"f\"{default}><weight value=\"a\" weight=\"{a}\"/><weight value=\"b\" weight=\"{b}\"/></Weigher>\n"
                );
                self.ports.push(format!("{id}.out"));
            }
            6 => self.fee("OneTimeCharge", &id, &links, dice),
            7 => self.fee("MonthlyRecurringCharge", &id, &links, dice),
            8 | 9 => self.allowance(&id, &links, dice),
            _ => self.rater(&id, &links, dice),
        }
    }

    fn fee(&mut self, kind: &str, id: &str, links: &str, dice: &mut Dice<'_>) {
        let amount = dice.one_of(&["10.00", "0.005", "0", "2.5"]);
        self.graph += &format!(
            "<{kind} id=\"{id}\" trigger=\"{links}\" amount=\"{amount}\" due=\"first-use\"/>\n"
        );
        self.charges.push(format!("{id}.charge"));
    }

    fn allowance(&mut self, id: &str, links: &str, dice: &mut Dice<'_>) {
        let unit = self.unit();
        let mut buckets = String::new();
        for bucket in 0..1 + dice.throw(3) {
            let grant = 1 + dice.throw(30);
            let every = ["month", "billing-cycle", "week", "day", "day", ""];
            let period = match dice.one_of(&every) {
                "" => dice.one_of(&["", " valid=\"7 d\"", " valid=\"40 d\""]).to_owned(),
                every => format!(" every=\"{every}\" rollover=\"{}\"", dice.throw(4)),
            };
            let priority = dice.throw(3);
            buckets += &format!(
                "<bucket id=\"b{bucket}\" grant=\"{grant}{unit}\"{period} priority=\"{priority}\"/>"
            );
        }
        self.graph += &format!("<Allowance id=\"{id}\" in=\"{links}\">{buckets}</Allowance>\n");
        self.ports.extend([format!("{id}.covered"), format!("{id}.rest")]);
    }

    fn unit(&self) -> &'static str {
        match self.measure {
            "duration" => " us",
            "octets" => " B",
            _ => "",
        }
    }

    fn rater(&mut self, id: &str, links: &str, dice: &mut Dice<'_>) {
        let unit = self.unit();
        let level = match dice.throw(self.accumulators.len() + 1) {
            0 => String::new(),
            n => format!(" level=\"{}.total\"", self.accumulators[n - 1]),
        };
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
            self.ports.push(format!("{id}.rest"));
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

/// When the subscription began: before every record near the edge, long before, or nobody knows.
pub(crate) fn a_beginning(edge: i64, dice: &mut Dice<'_>) -> Timestamp {
    const HOUR_US: i64 = 3_600_000_000;
    let hours = dice.one_of(&[910, 1000, 1300, 3000]) + dice.number(60);
    if dice.throw(4) == 0 {
        Timestamp::MIN
    } else {
        Timestamp(edge - hours * HOUR_US - dice.number(HOUR_US))
    }
}

pub(crate) fn an_account(dice: &mut Dice<'_>) -> (AccountContext, i64) {
    let (zone, edge) = dice.one_of(EDGES);
    (account(zone), micros(edge))
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

/// Totals of some months around the edge, as if there had been usage before.
pub(crate) fn a_state(code: &ObjectCode, edge: i64, dice: &mut Dice<'_>) -> AccountState {
    let mut state = AccountState::default();
    let date =
        jiff::Timestamp::from_microsecond(edge).unwrap().to_zoned(jiff::tz::TimeZone::UTC).date();
    let first = date.first_of_month();
    for variable in code.variables() {
        let counted = code.components().iter().any(|known| known.level == Some(variable.id));
        let charge = !counted && !variable.primitive.contains("/b");
        for months in [-1, 0, 1] {
            let month = first.checked_add(jiff::Span::new().months(months)).unwrap();
            let days = month.since(jiff::civil::date(1970, 1, 1)).unwrap().get_days();
            let value = if charge { 1 } else { dice.throw(40) as i128 };
            if dice.throw(3) == 0 {
                state.set(StateEntry { variable: variable.id, period: Period(days), value });
            }
        }
    }
    state
}
