//! The parts of an example.

use std::collections::BTreeMap;
use std::fmt;

use jiff::civil::Date;
use turnpike_types::{AccountNumber, Currency, Money, SuspenseReason, UsageRecord};

use crate::calendar::zone::Zone;
use crate::language::measure::Unit;

/// Maximum number of examples of a plan.
pub(crate) const EXAMPLES_MAX: usize = 256;

/// One example of a plan: usage, and the expected lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The name, unique within the plan; by default `example` and a number.
    pub name: String,
    /// Line of the XML, from 1.
    pub line: u32,
    /// The settings of the example's accounts.
    pub settings: ExampleSettings,
    /// The precision with which sums are compared.
    pub tolerance: Tolerance,
    /// The usage and the expected results.
    pub body: ExampleBody,
}

/// Settings shared by all accounts of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleSettings {
    /// The time zone of the accounts' days and months. Default: UTC.
    pub zone: Zone,
    /// The day on which the accounts' billing cycles start, 1 to 31. Default: 1.
    pub cycle_day: u8,
    /// The currency in which the accounts are billed. Default: the plan's currency.
    pub currency: Currency,
    /// The first local date of the subscriptions. Default: no start.
    pub since: Option<Date>,
    /// The local date of the cancellation, which is the first date without the subscription.
    /// Default: none.
    pub cancelled: Option<Date>,
    /// After the last record, time advances to the first instant of this local date: charges that
    /// fall due until then are booked, and cycles whose grace period has ended are closed.
    pub until: Option<Date>,
    /// Values for the plan's parameters.
    pub parameters: BTreeMap<String, String>,
}

/// The precision with which a sum of amounts is compared with the expected one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tolerance {
    /// The sums must be equal in every decimal.
    #[default]
    Exact,
    /// The sums may differ by half a unit of the ninth decimal for each line. This is for an
    /// expected sum that was rounded once, while the plan rounds each line.
    PerLine,
}

/// The location of an example's usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExampleBody {
    /// The usage and the expected results are in files in the plan's directory, named without a
    /// directory.
    Files {
        /// The name of the file of usage records, which ends in `.csv` or `.jsonl`.
        usage: String,
        /// The name of the file of expected results, which ends in `.csv`.
        expect: String,
    },
    /// The usage and the expected results are in the plan document.
    Inline(InlineExample),
}

/// An example written in the plan document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InlineExample {
    /// The accounts that exist; when empty, every account exists.
    pub accounts: Vec<ExampleAccount>,
    /// The usage, in the order in which it is rated.
    pub records: Vec<ExampleRecord>,
    /// The expected results of the records.
    pub expectations: Vec<Expectation>,
    /// The expected totals of accounts.
    pub totals: Vec<ExpectedTotal>,
}

/// An account of an example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleAccount {
    /// The number of the account.
    pub number: AccountNumber,
    /// Line of the XML, from 1.
    pub line: u32,
    /// The attributes that plans read as `account.NAME`.
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

/// The expected result of one record, or of the charges due on one date, in total or in one
/// component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Line of the XML or of the CSV file, from 1.
    pub line: u64,
    /// The record or the date.
    pub of: Subject,
    /// Whether the record's billing cycle must already be closed; `None` if this is not compared.
    pub late: Option<bool>,
    /// The expected result.
    pub expected: Expected,
}

/// The record or the date that an expectation is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The record with this id.
    Record(String),
    /// Charges that fell due on this local date. For the close of a cycle, the date on which its
    /// grace period ended.
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

/// The words for the posting of a line, which says where the line's amount goes.
pub const POSTINGS: [&str; 5] = ["account", "second-account", "nobody", "replaced", "trial"];

/// The expected result of a record, or of the charges due on a date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Lines of one component; a value of `None` is not compared.
    Lines {
        /// A step's or charge's id, or `PRIMITIVE/STEP` where several primitives have the step.
        component: String,
        /// Only lines with this posting, one of [`POSTINGS`]. `None` for lines posted to any
        /// account or to `nobody`, but not `replaced` or `trial` lines.
        posting: Option<&'static str>,
        /// The sum of the lines' quantities.
        quantity: Option<ExpectedQuantity>,
        /// The sum of the lines' amounts.
        amount: Option<Money>,
    },
    /// The record is in suspense.
    Suspended(SuspenseReason),
}

/// A quantity as the author wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedQuantity {
    /// The text as written, such as `3600 s`.
    pub text: String,
    /// The quantity in base units: microseconds, bytes, or a bare count.
    pub base: i128,
    /// The unit, if one was written; else base units of the measure that is priced.
    pub unit: Option<Unit>,
}

/// The expected total of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedTotal {
    /// Line of the XML, from 1.
    pub line: u32,
    /// The number of the account.
    pub account: AccountNumber,
    /// The sum of all amounts posted to the account.
    pub amount: Money,
}
