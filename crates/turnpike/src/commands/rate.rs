//! `turnpike rate`: usage priced here, by the evaluator that nodes run, with no cluster.

mod report;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use turnpike_collect::AccountsCsv;
use turnpike_plan::{AccountContext, Plan};
use turnpike_trial::{Account, Accounts, Catalogue, Trial};
use turnpike_types::Currency;

use crate::exit::{EXIT_CODES, Finish, usage};
use crate::usage_file::Format;
use crate::{plans, ui, usage_file, values};

use report::Lines;

const EXAMPLES: &str = "\
Prints one line for each priced portion, with its receipt. What can't be rated is listed on
standard error with its reason. Records are taken in the order of the file.

Examples:
  turnpike rate --plan plan.xml --usage usage.csv --zone America/New_York
  turnpike rate --plan plan.xml --usage usage.csv --accounts accounts.csv --json
  turnpike rate --plan basic.xml --plan add-on.xml --usage usage.jsonl > lines.csv";

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
    /// Print JSON, one object a line
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
    let catalogue = Catalogue::new(loaded);
    let accounts = accounts(args, &catalogue)?;
    let rows = usage_file::rows(&args.usage, args.format)?;
    let mut trial = Trial::new(catalogue, accounts);
    let mut lines = Lines::new(args.json);
    for row in rows {
        match row {
            Ok(row) => lines.write(&row, trial.rate(&row.content, row.line)?)?,
            Err(fault) => lines.bad_row(&fault),
        }
    }
    lines.finish()
}

fn accounts(args: &RateArgs, catalogue: &Catalogue) -> anyhow::Result<Accounts> {
    let Some(file) = &args.accounts else {
        let zone = values::plan_zone(&args.zone).map_err(|e| usage(format!("--zone: {e}")))?;
        let first = catalogue.plans().next().map(Plan::currency);
        let currency = args.currency.or(first);
        let currency = currency.ok_or_else(|| usage("name a plan with --plan"))?;
        let (cycle_day, attributes) = (args.cycle_day, BTreeMap::new());
        let account = Account::new(AccountContext { zone, cycle_day, currency, attributes });
        return Ok(Accounts::all_alike(account.with_all(catalogue.ids())));
    };
    let rows = AccountsCsv::new(&file.display().to_string(), usage_file::open(file)?)?;
    // A wrong account would make wrong bills; so here one bad row is one too many.
    let rows: Vec<_> = rows.map(|row| row.map(|row| row.content)).collect::<Result<_, _>>()?;
    Ok(Accounts::from_rows(rows)?)
}
