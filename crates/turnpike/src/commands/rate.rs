//! `turnpike rate`: usage priced here, by the evaluator that nodes run, with no cluster.

mod option;
mod report;
mod step;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::civil::Date;
use turnpike_collect::AccountsCsv;
use turnpike_plan::{AccountContext, Plan, Zone, first_instant_of};
use turnpike_trial::{Account, Accounts, Catalogue, Outcome, Trial};
use turnpike_types::{Currency, Timestamp};

use crate::commands::table;
use crate::exit::{EXIT_CODES, Finish, usage};
use crate::usage_file::{Format, Rows};
use crate::{plans, ui, usage_file, values};

use report::Lines;

const EXAMPLES: &str = "\
Prints one line for each priced portion, with its receipt, in the columns of `turnpike pull`. What can't be rated is listed on
standard error with its reason. Records are taken in the order of the file; before each, what is due
of its account by then is booked.

With --step it shows instead what each primitive does with each record, and with what falls due. At a
terminal it stops
there: Enter or n goes on to the next primitive, c to the next breakpoint, r to the next record, q
quits.

Examples:
  turnpike rate --plan plan.xml --usage usage.csv --zone America/New_York
  turnpike rate --plan plan.xml --usage usage.csv --accounts accounts.csv --json
  turnpike rate --plan basic.xml --plan add-on.xml --usage usage.jsonl > lines.csv
  turnpike rate --plan calls.xml --table world-dial.csv --usage calls.csv --until 2026-04-03
  turnpike rate --plan plan.xml --usage usage.csv --step --break StepRater --break peak-time
  turnpike rate --plan small.xml --plan large.xml --option phone=small,large --option-fee phone=2.50 \\
      --usage usage.csv --until 2026-04-03";

/// Options of `rate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct RateArgs {
    /// A plan in XML; repeat for several plans, asked in this order, or versions of one
    #[arg(long = "plan", value_name = "FILE", required = true)]
    plans: Vec<PathBuf>,
    /// Usage records (.csv, .jsonl), or - for standard input
    #[arg(long, value_name = "FILE")]
    usage: PathBuf,
    /// The form of the usage file, where its name does not tell
    #[arg(long)]
    format: Option<Format>,
    /// A reference table that the plans read; repeat for several, or for versions of one
    #[arg(long = "table", value_name = "FILE")]
    tables: Vec<PathBuf>,
    /// Accounts, as `account import` takes them; without, every account has all the plans
    #[arg(long, value_name = "FILE")]
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
    currency: Option<Currency>,
    /// Offer every account alternatives, by their plans' ids; each cycle is billed by the one that comes
    /// cheapest. Repeat for several options
    #[arg(long = "option", value_name = "NAME=ID,ID", value_parser = values::pair)]
    #[arg(conflicts_with = "accounts")]
    options: Vec<(String, String)>,
    /// What an option costs a billing cycle, in the account's currency [default: nothing]
    #[arg(long = "option-fee", value_name = "NAME=AMOUNT", value_parser = values::pair)]
    #[arg(requires = "options")]
    option_fees: Vec<(String, String)>,
    /// After all records let time go on to this date (of --zone, else of UTC), and book what falls
    /// due until then
    #[arg(long, value_name = "DATE")]
    until: Option<Date>,
    /// Show what each primitive does with each record
    #[arg(long)]
    step: bool,
    /// Stop at, and show only, primitives of this id or type; repeat for several
    #[arg(long = "break", value_name = "ID", requires = "step")]
    breakpoints: Vec<String>,
    /// Print JSON, one object a line (or a step)
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &RateArgs) -> anyhow::Result<Finish> {
    let mut loaded = Vec::new();
    for file in &args.plans {
        let plan = plans::load(file)?;
        plan.warnings.iter().for_each(ui::tell);
        loaded.push(plan.plan);
    }
    let tables = args.tables.iter().map(|file| table::load(file).map(Arc::new));
    let tables: Vec<_> = tables.collect::<Result<_, _>>()?;
    let catalogue = Catalogue::new(loaded).with_tables(tables);
    let zone = values::plan_zone(&args.zone).map_err(|e| usage(format!("--zone: {e}")))?;
    let until = args.until.map(|date| first_instant_of(&zone, date));
    let accounts = accounts(args, zone, &catalogue)?;
    let rows = usage_file::rows(&args.usage, args.format)?;
    if args.step {
        step::check_breakpoints(&args.breakpoints, &catalogue)?;
        return step_through(args, Trial::new(catalogue, accounts), rows, until);
    }
    let mut trial = Trial::new(catalogue, accounts);
    let mut lines = Lines::new(args.json);
    for row in rows {
        match row {
            Ok(row) => {
                trial.book_before(&row.content)?;
                lines.fell_due(trial.take_due())?;
                lines.write(&row, trial.rate(&row.content, row.line)?)?;
            }
            Err(fault) => lines.bad_row(&fault),
        }
    }
    if let Some(until) = until {
        trial.advance(until)?;
        lines.fell_due(trial.take_due())?;
    }
    lines.finish()
}

fn step_through(
    args: &RateArgs,
    mut trial: Trial,
    rows: Rows,
    until: Option<Timestamp>,
) -> anyhow::Result<Finish> {
    let mut walk = step::at_terminal(args.json, args.breakpoints.clone(), &args.usage);
    let mut left_over = false;
    for row in rows {
        match row {
            Ok(row) => {
                trial.book_before_stepping(&row.content, &mut walk)?;
                walk.fell_due(&trial.take_due())?;
                let outcome = trial.rate_stepping(&row.content, row.line, &mut walk)?;
                left_over |= matches!(outcome, Outcome::Suspended(_) | Outcome::Conflict(_));
                walk.outcome(&row.content.record_id, &outcome)?;
            }
            Err(fault) => {
                left_over = true;
                ui::tell(fault);
            }
        }
        if walk.is_over() {
            return Ok(Finish::Done);
        }
    }
    if let Some(until) = until {
        trial.advance_stepping(until, &mut walk)?;
        walk.fell_due(&trial.take_due())?;
    }
    Ok(Finish::unless(left_over))
}

fn accounts(args: &RateArgs, zone: Zone, catalogue: &Catalogue) -> anyhow::Result<Accounts> {
    let Some(file) = &args.accounts else {
        let first = catalogue.plans().next().map(Plan::currency);
        let currency = args.currency.or(first);
        let currency = currency.ok_or_else(|| usage("name a plan with --plan"))?;
        let (cycle_day, attributes) = (args.cycle_day, BTreeMap::new());
        let account = Account::new(AccountContext { zone, cycle_day, currency, attributes });
        return Ok(Accounts::all_alike(option::subscribed(args, account, catalogue)?));
    };
    let rows = AccountsCsv::new(&file.display().to_string(), usage_file::open(file)?)?;
    // A wrong account would make wrong bills; so here one bad row is one too many.
    let rows: Vec<_> = rows.map(|row| row.map(|row| row.content)).collect::<Result<_, _>>()?;
    Ok(Accounts::from_rows(rows)?)
}
