//! The options and the resolved settings of `turnpike rate`.

use std::path::PathBuf;

use clap::Args;
use jiff::civil::Date;
use turnpike_plan::{Zone, first_instant_of};
use turnpike_types::{Currency, Timestamp};

use crate::exit::{EXIT_CODES, usage};
use crate::usage_file::Format;
use crate::values;

const EXAMPLES: &str = "\
Prints one line for each priced portion, with its receipt, in the columns of `turnpike pull`.
Records that can't be rated are listed on standard error with the reason. Records are rated in the
order of the file; before each record, charges of its account that are due by then are booked.

Without --accounts-file every account is subscribed to all plans. The subscriptions begin with the
billing cycle of the earliest record; the date is printed on standard error. --plan-from sets
another start.

With --step it shows instead what each primitive does with each record and each due charge. At a
terminal it stops after each primitive: Enter or n continues to the next primitive, c to the next
breakpoint, r to the next record; q quits.

Examples:
  turnpike rate --plan plan.xml --usage usage.csv --zone America/New_York
  turnpike rate --plan plan.xml --usage usage.csv --accounts-file accounts.csv --json
  turnpike rate --plan basic.xml --plan add-on.xml --usage usage.jsonl > lines.csv
  turnpike rate --plan plan.xml --usage usage.csv --plan-from 2026-01-01
  turnpike rate --plan plan.xml --usage next-year.csv --now 2028-01-01
  turnpike rate --plan calls.xml --table world-dial.csv --usage calls.csv --until 2026-04-03
  turnpike rate --plan plan.xml --usage usage.csv --step --break StepRater --break peak-time
  turnpike rate --plan small.xml --plan large.xml --option phone=small,large --option-fee phone=2.50 \\
      --usage usage.csv --until 2026-04-03";

/// Options of `rate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct RateArgs {
    /// A plan in XML; repeat for several plans, tried in this order, or for versions of one
    #[arg(long = "plan", value_name = "FILE", required = true)]
    plans: Vec<PathBuf>,
    /// Usage records (.csv, .jsonl), or - for standard input
    #[arg(long, value_name = "FILE")]
    usage: PathBuf,
    /// The format of the usage file [default: by its name]
    #[arg(long)]
    format: Option<Format>,
    /// Read this CSV column as an attribute although its name resembles a known one; in JSON lines:
    /// do not warn about this attribute. Repeat for more. Attributes that the plans read need
    /// no such option
    #[arg(long = "attribute", value_name = "COLUMN")]
    attributes: Vec<String>,
    /// The present time for the check that usage is not in the future: an instant, or a date of
    /// --zone [default: the clock; usage that lies entirely in the future is rated, with a warning]
    #[arg(long, value_name = "TIME")]
    now: Option<String>,
    /// A reference table that the plans read; repeat for several, or for versions of one
    #[arg(long = "table", value_name = "FILE")]
    tables: Vec<PathBuf>,
    /// Accounts, in the format of `account import` [default: every account has all plans]
    #[arg(long = "accounts-file", alias = "accounts", value_name = "FILE")]
    accounts: Option<PathBuf>,
    /// Time zone of every account
    #[arg(long, value_name = "ZONE", default_value = "UTC", conflicts_with = "accounts")]
    zone: String,
    /// Cycle day of every account
    #[arg(long, value_name = "DAY", default_value_t = 1, conflicts_with = "accounts")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=31))]
    cycle_day: u8,
    /// Currency of every account [default: the first plan's]
    #[arg(long, value_name = "CODE", conflicts_with = "accounts")]
    #[arg(value_parser = values::currency)]
    currency: Option<Currency>,
    /// The start of every account's subscriptions: an instant, or a date of --zone [default: the
    /// start of the billing cycle of the earliest record]
    #[arg(long, value_name = "TIME", conflicts_with = "accounts")]
    plan_from: Option<String>,
    /// Offer every account alternatives, by their plan ids; each cycle is billed by the cheapest
    /// one. Repeat for several options
    #[arg(long = "option", value_name = "NAME=ID,ID", value_parser = values::pair)]
    #[arg(conflicts_with = "accounts")]
    options: Vec<(String, String)>,
    /// The fee of an option for each billing cycle, in the account's currency [default: nothing]
    #[arg(long = "option-fee", value_name = "NAME=AMOUNT", value_parser = values::pair)]
    #[arg(requires = "options")]
    option_fees: Vec<(String, String)>,
    /// After all records, advance the time to this date (of --zone, else of UTC), and book the
    /// charges that fall due until then. No record may be later
    #[arg(long, value_name = "DATE", value_parser = values::date)]
    until: Option<Date>,
    /// Show what each primitive does with each record
    #[arg(long)]
    step: bool,
    /// Stop at, and show only, primitives of this id or type; repeat for several
    #[arg(long = "break", value_name = "ID", requires = "step")]
    breakpoints: Vec<String>,
    /// Print JSON, one object per line (or per step)
    #[arg(long)]
    json: bool,
}

/// The resolved settings of `rate`.
#[derive(Debug)]
pub(super) struct RateSettings {
    pub(super) plans: Vec<PathBuf>,
    pub(super) usage: PathBuf,
    pub(super) format: Option<Format>,
    pub(super) attributes: Vec<String>,
    /// The present time; `None` for this machine's clock.
    pub(super) now: Option<Timestamp>,
    pub(super) tables: Vec<PathBuf>,
    pub(super) accounts: Option<PathBuf>,
    pub(super) zone: Zone,
    /// The zone as it was given, for messages.
    pub(super) zone_name: String,
    pub(super) cycle_day: u8,
    pub(super) currency: Option<Currency>,
    pub(super) plan_from: Option<Timestamp>,
    pub(super) options: Vec<(String, String)>,
    pub(super) option_fees: Vec<(String, String)>,
    /// The instant to which the time advances after all records.
    pub(super) until: Option<Timestamp>,
    pub(super) step: bool,
    pub(super) breakpoints: Vec<String>,
    pub(super) json: bool,
}

impl RateArgs {
    pub(super) fn resolve(self) -> anyhow::Result<RateSettings> {
        let zone = values::plan_zone(&self.zone).map_err(|e| usage(format!("--zone: {e}")))?;
        let named = values::zone(&self.zone).map_err(|error| usage(format!("--zone: {error}")))?;
        let instant = |option: &str, text: Option<String>| {
            let read = text.map(|text| values::instant_in(&text, &named));
            read.transpose().map_err(|error| usage(format!("{option}: {error}")))
        };
        Ok(RateSettings {
            now: instant("--now", self.now)?,
            plan_from: instant("--plan-from", self.plan_from)?,
            until: self.until.map(|date| first_instant_of(&zone, date)),
            plans: self.plans,
            usage: self.usage,
            format: self.format,
            attributes: self.attributes,
            tables: self.tables,
            accounts: self.accounts,
            zone,
            zone_name: self.zone,
            cycle_day: self.cycle_day,
            currency: self.currency,
            options: self.options,
            option_fees: self.option_fees,
            step: self.step,
            breakpoints: self.breakpoints,
            json: self.json,
        })
    }
}
