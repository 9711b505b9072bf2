//! `turnpike rate`: prices usage locally, without a cluster, with the same evaluator as the nodes.

mod happened;
mod option;
mod report;
mod start;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use jiff::civil::Date;
use turnpike_collect::AccountsCsv;
use turnpike_plan::{AccountContext, Plan, Table, Zone, first_instant_of};
use turnpike_trial::{Trial, TrialAccount, TrialAccounts, TrialCatalogue, TrialOutcome};
use turnpike_types::{Currency, Timestamp};

use crate::commands::account::warn_of_begin;
use crate::commands::table;
use crate::exit::{EXIT_CODES, Finish, usage};
use crate::usage_file::{Format, Rows, Source};
use crate::{plans, ui, usage_file, values};

use happened::Happened;
use report::ChargeWriter;

const EXAMPLES: &str = "\
Prints one line for each priced portion, with its receipt, in the columns of `turnpike pull`.
Records that can't be rated are listed on standard error with the reason. Records are rated in the
order of the file; before each record, charges of its account that are due by then are booked.

Without --accounts-file every account is subscribed to all plans. If a plan books charges that fall
due without usage, such as a monthly fee, the subscriptions begin with the billing cycle of the
earliest record; the date is printed on standard error. --plan-from sets another start.

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
    /// charges that fall due until then
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

pub(crate) fn run(args: &RateArgs) -> anyhow::Result<Finish> {
    let mut loaded = Vec::new();
    for file in &args.plans {
        let plan = plans::load(file)?;
        plan.warnings.iter().for_each(ui::print_stderr);
        loaded.push(plan.plan);
    }
    let versions = loaded.iter().map(|plan| (plan.id(), plan.version()));
    check_given_once("plan", args.plans.iter().zip(versions))?;
    let tables = args.tables.iter().map(|file| table::load(file).map(Arc::new));
    let tables: Vec<_> = tables.collect::<Result<_, _>>()?;
    let versions = tables.iter().map(|table| (table.id(), table.version()));
    check_given_once("table", args.tables.iter().zip(versions))?;
    loaded.iter().for_each(|plan| warn_of_missing_tables(plan, &tables));
    let catalogue = TrialCatalogue::new(loaded).with_tables(tables);
    let zone = values::plan_zone(&args.zone).map_err(|e| usage(format!("--zone: {e}")))?;
    let until = args.until.map(|date| first_instant_of(&zone, date));
    let happened = happened(args)?;
    let mut attributes = read_names(&catalogue);
    attributes.extend(args.attributes.iter().cloned());
    let (path, format) = (args.usage.as_path(), args.format);
    let named = args.attributes.as_slice();
    let source = Source { path, format, attributes: &attributes, named };
    let (rows, from) = start::rows_and_start(args, source, &zone, &catalogue, &happened)?;
    let accounts = accounts(args, zone, &catalogue, from, happened.now())?;
    if args.step {
        step::check_breakpoints(&args.breakpoints, &catalogue)?;
        return step_through(args, Trial::new(catalogue, accounts), rows, happened, until);
    }
    let mut happened = happened;
    let mut trial = Trial::new(catalogue, accounts);
    let mut lines = ChargeWriter::new(args.json);
    for row in rows {
        match row {
            Ok(row) => {
                if let Err(why) = happened.check(&row.content) {
                    lines.rejected(&row, &why);
                    continue;
                }
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
    happened.warn();
    lines.finish()
}

/// Refuses a version that two files hold: only one of them would be used.
fn check_given_once<'a>(
    what: &str,
    files: impl Iterator<Item = (&'a PathBuf, (&'a str, u32))>,
) -> anyhow::Result<()> {
    let mut given: BTreeMap<(&str, u32), &PathBuf> = BTreeMap::new();
    for (file, (id, version)) in files {
        if let Some(first) = given.insert((id, version), file) {
            let (first, second) = (first.display(), file.display());
            return Err(usage(format!(
                "--{what} {second}: {first} is version {version} of {what} {id} too: give each \
                 version once, or change the version in one of the files"
            )));
        }
    }
    Ok(())
}

fn happened(args: &RateArgs) -> anyhow::Result<Happened> {
    let Some(text) = &args.now else { return Ok(Happened::by_the_clock()) };
    let zone = values::zone(&args.zone).map_err(|error| usage(format!("--zone: {error}")))?;
    let now = values::instant_in(text, &zone).map_err(|error| usage(format!("--now: {error}")))?;
    Ok(Happened::by(now))
}

/// Words in properties of the plans that may be the name of a record attribute, and the measures
/// that the plans read, as columns `measure:NAME`.
fn read_names(catalogue: &TrialCatalogue) -> BTreeSet<String> {
    let primitives = catalogue.plans().flat_map(Plan::primitives);
    let properties = primitives.flat_map(|primitive| {
        let children = primitive.children.iter().flat_map(|child| &child.properties);
        primitive.properties.iter().chain(children)
    });
    let texts = properties.filter(|(name, _)| *name != "id").map(|(_, text)| text.as_str());
    let attributes = texts.map(|text| text.strip_prefix("record.").unwrap_or(text).to_owned());
    let inputs = catalogue.plans().flat_map(Plan::primitives).flat_map(|one| &one.inputs);
    let sources = inputs.flat_map(|input| &input.links).filter(|link| link.is_source());
    attributes.chain(sources.map(|link| format!("measure:{}", link.port))).collect()
}

/// Warns of the tables that a plan reads and no `--table` provides.
fn warn_of_missing_tables(plan: &Plan, tables: &[Arc<Table>]) {
    for name in plan.tables() {
        let of_kind = tables.iter().filter(|table| table.kind() == name.kind);
        let known: Vec<&str> = of_kind.map(|table| table.id()).collect();
        if !known.contains(&name.id.as_str()) {
            ui::print_stderr(format_args!(
                "plan {}: warning: it reads the {} table {}, and no --table holds it{}: records that need it are suspended as no-table",
                plan.id(),
                name.kind,
                name.id,
                turnpike_plan::hint(&name.id, known)
            ));
        }
    }
}

fn step_through(
    args: &RateArgs,
    mut trial: Trial,
    rows: Rows,
    mut happened: Happened,
    until: Option<Timestamp>,
) -> anyhow::Result<Finish> {
    let mut walk = step::at_terminal(args.json, args.breakpoints.clone(), &args.usage);
    let mut left_over = false;
    for row in rows {
        match row {
            Ok(row) => {
                if let Err(why) = happened.check(&row.content) {
                    left_over = true;
                    let (line, id) = (row.line, &row.content.record_id);
                    ui::print_stderr(format_args!("line {line}, record {id}: {why}"));
                    continue;
                }
                trial.book_before_stepping(&row.content, &mut walk)?;
                walk.fell_due(&trial.take_due())?;
                let outcome = trial.rate_stepping(&row.content, row.line, &mut walk)?;
                left_over |=
                    matches!(outcome, TrialOutcome::Suspended(_) | TrialOutcome::Conflict(_));
                walk.outcome(&row.content.record_id, &outcome)?;
            }
            Err(fault) => {
                left_over = true;
                ui::print_stderr(fault);
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
    happened.warn();
    Ok(Finish::unless(left_over))
}

fn accounts(
    args: &RateArgs,
    zone: Zone,
    catalogue: &TrialCatalogue,
    from: Timestamp,
    now: Timestamp,
) -> anyhow::Result<TrialAccounts> {
    let Some(file) = &args.accounts else {
        let first = catalogue.plans().next().map(Plan::currency);
        let currency = args.currency.or(first);
        let currency = currency.ok_or_else(|| usage("name a plan with --plan"))?;
        let (cycle_day, attributes) = (args.cycle_day, BTreeMap::new());
        let account = TrialAccount::new(AccountContext { zone, cycle_day, currency, attributes });
        return Ok(TrialAccounts::all_alike(option::subscribed(args, account, catalogue, from)?));
    };
    let rows = AccountsCsv::new(&file.display().to_string(), usage_file::open(file)?)?;
    // A wrong account would give wrong bills, so one bad row is an error.
    let rows: Vec<_> = rows.map(|row| row.map(|row| row.content)).collect::<Result<_, _>>()?;
    let without_start = rows.iter().filter(|row| row.plan_from.is_none() && !row.plans.is_empty());
    warn_of_begin(without_start.count() as u64, now);
    Ok(TrialAccounts::from_rows(rows, now)?)
}
