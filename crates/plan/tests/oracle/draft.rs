//! Random plans: their primitives and links.

use super::dice::Dice;
use super::drawn;

/// A usage output, and the properties of its units.
#[derive(Clone, Debug, PartialEq)]
struct Port {
    name: String,
    kind: Kind,
}

/// The properties of the units at a port. Ports with equal `count` and `label` can be linked to one
/// input.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kind {
    /// The measure that the units belong to, or the `UsageIncrement` that created it.
    count: String,
    /// The classifier that derived the usage type of the units.
    label: String,
    /// Whether each record passes the port as a whole.
    whole: bool,
}

/// The set of primitives that a plan may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Everything,
    /// Only primitives whose result does not depend on the record as a whole, so that a record and
    /// its parts give the same result.
    Units,
}

/// A plan under construction. It reads one measure of the record, and each primitive reads one or
/// two of the earlier ports.
pub(crate) struct Draft {
    of: Of,
    pub(crate) measure: &'static str,
    ports: Vec<Port>,
    taken: Vec<String>,
    /// The accumulators: the id, and the measure that each counts, as in [`Kind::count`].
    accumulators: Vec<(String, String)>,
    charges: Vec<String>,
    /// Whether lines book differences of rounded running totals.
    running: bool,
    graph: String,
}

impl Draft {
    pub(crate) fn random(of: Of, dice: &mut Dice<'_>) -> Self {
        let measure = dice.one_of(&["duration", "quantity", "octets"]);
        let mut draft = Self {
            of,
            measure,
            ports: vec![Port {
                name: format!("record.{measure}"),
                kind: Kind { count: String::new(), label: String::new(), whole: true },
            }],
            taken: Vec::new(),
            accumulators: Vec::new(),
            charges: Vec::new(),
            running: dice.throw(4) == 0,
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
        let way = if self.running { "running" } else { "half-even" };
        format!(
            "<plan xmlns=\"urn:turnpike:plan:1\" id=\"p\" version=\"1\" starts=\"2000-01-01\" currency=\"USD\" round=\"{digits} {way}\">\n<graph>\n{}</graph>\n</plan>",
            self.graph
        )
    }

    fn take(&mut self, dice: &mut Dice<'_>) -> (String, Kind) {
        let mut links: Vec<&Port> = Vec::new();
        for _ in 0..dice.one_of(&[1, 1, 1, 2, 3]) {
            // Mostly the latest ports are linked, so that graphs become deep.
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

    /// A random port at which the usage type of the units has the given origin.
    fn take_of(&mut self, label: &str, dice: &mut Dice<'_>) -> String {
        let same: Vec<&Port> = self.ports.iter().filter(|port| port.kind.label == label).collect();
        let name = same[dice.throw(same.len())].name.clone();
        self.taken.push(name.clone());
        name
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

    /// A link to an accumulator that counts the same measure, or no link; without a link, units are
    /// counted within the record.
    fn level(&self, kind: &Kind, dice: &mut Dice<'_>) -> String {
        let same = self.accumulators.iter().filter(|(_, count)| *count == kind.count);
        let same: Vec<&str> = same.map(|(id, _)| id.as_str()).collect();
        let link = |id: &str| format!(" level=\"{id}.total\"");
        match (self.of, same.as_slice()) {
            (_, []) => String::new(),
            (Of::Units, same) => link(dice.one_of(same)),
            (Of::Everything, same) => match dice.throw(same.len() + 1) {
                0 => String::new(),
                n => link(same[n - 1]),
            },
        }
    }

    fn add(&mut self, number: usize, dice: &mut Dice<'_>) {
        let (id, (links, kind)) = (format!("n{number}"), self.take(dice));
        let split = Kind { whole: false, ..kind.clone() };
        let whatever = self.of == Of::Everything;
        match dice.throw(22) {
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
                if whatever || !level.is_empty() {
                    self.graph += &drawn::threshold(&id, &links, &level, self.unit(), dice);
                    self.leave(&id, &["pass", "rest"], split);
                } else {
                    self.accumulator(&id, &links, split, dice);
                }
            }
            8 if whatever => {
                self.graph += &drawn::classifier(&id, &links, dice);
                self.leave(&id, &["out"], Kind { label: id.clone(), ..kind });
            }
            9 | 10 if whatever && kind.whole => {
                self.graph += &drawn::increment(&id, &links, self.unit(), dice);
                self.leave(&id, &["out"], Kind { count: id.clone(), ..split });
            }
            8..=12 => self.accumulator(&id, &links, split, dice),
            13 => {
                self.graph += &drawn::weigher_by_value(&id, &links, dice);
                self.leave(&id, &["out"], split);
            }
            14 => {
                self.graph += &drawn::weigher_by_time(&id, &links, dice);
                self.leave(&id, &["out"], split);
            }
            15 => self.fee("OneTimeCharge", &id, &links, dice),
            16 => self.fee("MonthlyRecurringCharge", &id, &links, dice),
            17 | 18 => {
                // When a record is rated in parts, units that a later part buys are not available
                // to the earlier parts.
                let bought = whatever && dice.throw(2) == 0;
                let topup = bought.then(|| self.take_of(&kind.label, dice));
                self.graph += &drawn::allowance(&id, &links, topup.as_deref(), self.unit(), dice);
                self.leave(&id, &["covered", "rest"], split);
            }
            _ => self.rater(&id, &links, split, dice),
        }
    }

    fn accumulator(&mut self, id: &str, links: &str, split: Kind, dice: &mut Dice<'_>) {
        self.graph += &drawn::accumulator(id, links, dice);
        self.accumulators.push((id.to_owned(), split.count.clone()));
        self.leave(id, &["out"], split);
    }

    fn fee(&mut self, kind: &str, id: &str, links: &str, dice: &mut Dice<'_>) {
        let amount = dice.one_of(&["10.00", "0.005", "0", "2.5"]);
        self.graph += &format!(
            "<{kind} id=\"{id}\" trigger=\"{links}\" amount=\"{amount}\" due=\"first-use\"/>\n"
        );
        self.charges.push(format!("{id}.charge"));
    }

    fn rater(&mut self, id: &str, links: &str, split: Kind, dice: &mut Dice<'_>) {
        let mode = dice.one_of(&["graduated", "graduated", "volume", "package"]);
        let level = match mode {
            "graduated" => self.level(&split, dice),
            _ => String::new(),
        };
        // The price depends on the level, so the level needs an accumulator that counts exactly the
        // priced units.
        let reads_level = self.running || (mode != "graduated" && dice.throw(2) == 0);
        let must_level = self.of == Of::Units && level.is_empty();
        let (links, level) = if reads_level || must_level {
            let counter = format!("c{id}");
            self.accumulator(&counter, links, split.clone(), dice);
            self.taken.push(format!("{counter}.out"));
            (format!("{counter}.out"), format!(" level=\"{counter}.total\""))
        } else {
            (links.to_owned(), level)
        };
        let endless = dice.throw(2) == 0;
        let steps = drawn::steps(endless, self.unit(), dice);
        let fee_per = match level.is_empty() {
            true => dice.one_of(&["", " fee-per=\"call\"", " fee-per=\"rater\""]),
            false => "",
        };
        self.graph += &format!(
            "<StepRater id=\"{id}\" in=\"{links}\"{level} mode=\"{mode}\"{fee_per}>{steps}</StepRater>\n"
        );
        self.charges.push(format!("{id}.charge"));
        if !endless {
            self.leave(id, &["rest"], split);
        }
    }
}
