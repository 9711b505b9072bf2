//! Examples: what a plan's author says that usage must come to (docs/plan-semantics.md section 9).
//!
//! They are read and checked here, and run by whoever can rate: a plan that does not do what its
//! own examples say is not published.

mod read;
mod value;

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;
use turnpike_types::{AccountNumber, Currency, Money, SuspenseReason, UsageRecord};

use crate::measure::Unit;
use crate::zone::Zone;

pub(crate) use read::read;
pub use value::parse_amount;

/// Examples of one plan.
pub(crate) const EXAMPLES_MAX: usize = 256;

/// One example of a plan: usage, and the lines it must come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Its name, unique within the plan; `example 2` where its author gave none.
    pub name: String,
    /// Line of the XML, from 1.
    pub line: u32,
    /// Whose usage it is.
    pub settings: ExampleSettings,
    /// How closely sums are compared.
    pub tolerance: Tolerance,
    /// The usage and what it comes to.
    pub body: ExampleBody,
}

/// What all accounts of an example have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleSettings {
    /// The zone of their days and months; UTC unless said.
    pub zone: Zone,
    /// The day on which their billing cycles start, 1 to 31; 1 unless said.
    pub cycle_day: u8,
    /// The currency they are billed in; the plan's unless said.
    pub currency: Currency,
    /// The first local date of their subscription; always, unless said.
    pub since: Option<Date>,
    /// The local date on which they are cancelled, the first one without the subscription; never,
    /// unless said.
    pub cancelled: Option<Date>,
    /// After all records, time goes on to the first instant of this local date: what falls due until
    /// then is booked, and cycles close whose grace is over.
    pub until: Option<Date>,
    /// Values for the plan's parameters.
    pub parameters: BTreeMap<String, String>,
}

/// How closely a sum of amounts is compared with what is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tolerance {
    /// To the last decimal.
    #[default]
    Exact,
    /// Within half a unit of the ninth decimal for each line of the sum: for expectations that
    /// were rounded once where a plan rounds each of several lines.
    PerLine,
}

/// Where an example's usage stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExampleBody {
    /// In files beside the plan, named without a directory.
    Files {
        /// Usage records: `.csv`, or `.jsonl`.
        usage: String,
        /// What they come to: `.csv`.
        expect: String,
    },
    /// In the plan itself.
    Inline(InlineExample),
}

/// An example that is written out in the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InlineExample {
    /// The accounts there are; with none, every account exists.
    pub accounts: Vec<ExampleAccount>,
    /// The usage, in the order in which it is rated.
    pub records: Vec<ExampleRecord>,
    /// What the records come to.
    pub expectations: Vec<Expectation>,
    /// What accounts come to.
    pub totals: Vec<ExpectedTotal>,
}

/// An account of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleAccount {
    /// Its number.
    pub number: AccountNumber,
    /// Line of the XML, from 1.
    pub line: u32,
    /// What plans read as `account.NAME`.
    pub attributes: BTreeMap<String, String>,
}

/// A record of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleRecord {
    /// Line of the XML, from 1.
    pub line: u32,
    /// The record.
    pub record: UsageRecord,
}

/// What one record must come to, or what must fall due, as a whole or in one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Line of the XML or of the file, from 1.
    pub line: u64,
    /// What it speaks of.
    pub of: Subject,
    /// Must its billing cycle have been closed before? Not compared unless said.
    pub late: Option<bool>,
    /// What becomes of it.
    pub expected: Expected,
}

/// What an expectation speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The record with this id.
    Record(String),
    /// What fell due on this local date; of the close of a cycle, the date on which its grace was
    /// over.
    Due(Date),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(id) => write!(f, "record {id}"),
            Self::Due(date) => write!(f, "due {date}"),
        }
    }
}

/// The words by which lines are told apart by where their amounts go.
pub const POSTINGS: [&str; 5] = ["account", "second-account", "nobody", "replaced", "trial"];

/// What becomes of a record, or of what fell due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Lines of one component; what is not said is not compared.
    Lines {
        /// A step's or charge's id, or `PRIMITIVE/STEP` where several primitives have the step.
        component: String,
        /// Only those whose amounts go there, one of [`POSTINGS`]; unless said, those that are
        /// posted to somebody or to nobody, but not what others replaced nor what is on trial.
        posting: Option<&'static str>,
        /// The sum of their quantities.
        quantity: Option<ExpectedQuantity>,
        /// The sum of their amounts.
        amount: Option<Money>,
    },
    /// It waits in suspense.
    Suspended(SuspenseReason),
}

/// A quantity as its author wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedQuantity {
    /// As written: `3600 s`.
    pub text: String,
    /// In base units.
    pub base: i128,
    /// The unit, where one was written; else base units of whatever is priced.
    pub unit: Option<Unit>,
}

/// What an account must come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedTotal {
    /// Line of the XML, from 1.
    pub line: u32,
    /// The account.
    pub account: AccountNumber,
    /// The sum of all amounts that are posted to it.
    pub amount: Money,
}
