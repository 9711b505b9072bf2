//! `turnpike account import`: opens accounts from a CSV file.

use std::collections::HashSet;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use turnpike_collect::{AccountRow, AccountsCsv, Fault};
use turnpike_proto::account::v1::{AccountCommand, Settings, Subscribe};

use crate::apply::{self, Applied};
use crate::cli::Context;
use crate::client::{ClientArgs, Front};
use crate::exit::{EXIT_CODES, Finish};
use crate::{ui, usage_file};

const EXAMPLES: &str = "\
Columns: account_number, zone, currency; optionally cycle_day (1), plan (several separated by ;,
tried in this order), plan_from (a date in the zone, or an instant; 1970), identities (separated by
;, bound for all time: ip:ADDRESS, ip:ADDRESS/LENGTH, user:NAME, tel:NUMBER), attribute:NAME,
parameter:NAME. A repeated import changes nothing.

Examples:
  turnpike account import accounts.csv
  turnpike account import accounts.csv --json";

/// Options of `account import`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct ImportArgs {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Serialize)]
struct Report {
    accounts: u64,
    opened: Applied,
    subscribed: Applied,
    bad_rows: Vec<String>,
}

/// Rows read before their commands are sent: this bounds memory for a file of any size.
const CHUNK: usize = 20_000;

pub(crate) async fn run(args: ImportArgs, context: &Context) -> anyhow::Result<Finish> {
    let name = args.file.display().to_string();
    let mut rows = AccountsCsv::new(&name, usage_file::open(&args.file)?)?;
    let front = args.client.connect(&context.config).await?;
    let bar = ui::progress(None, name, context.quiet || args.json);
    let mut faults: Vec<Fault> = Vec::new();
    let mut report = Report {
        accounts: 0,
        opened: Applied::default(),
        subscribed: Applied::default(),
        bad_rows: Vec::new(),
    };
    loop {
        let chunk = next_chunk(&mut rows, &mut faults);
        if chunk.is_empty() {
            break;
        }
        report.accounts += chunk.len() as u64;
        let (chunk, unfit) = fitting(&front, chunk).await?;
        report.subscribed.add(unfit);
        // All accounts of the chunk are opened before the subscriptions: a retried command is sent
        // after the rest of its request, so one request with both could subscribe too early.
        let opens = chunk.iter().map(open);
        let opened = apply::apply(&front, opens, |_, _| bar.inc(1)).await?;
        // No subscription for a row whose account could not be opened with the row's settings.
        let unopened: HashSet<u64> =
            opened.refusals.iter().map(|refusal| refusal.account_number).collect();
        report.opened.add(opened);
        let opened = chunk.iter().filter(|row| !unopened.contains(&row.account.0));
        let subscriptions = opened.flat_map(subscriptions);
        report.subscribed.add(apply::apply(&front, subscriptions, |_, _| {}).await?);
    }
    bar.finish_and_clear();
    report.bad_rows = faults.iter().map(ToString::to_string).collect();
    tell(&report, args.json)?;
    let refused = report.opened.refused + report.subscribed.refused;
    Ok(Finish::unless(refused > 0 || !faults.is_empty()))
}

/// Removes the rows that have a plan that does not fit the account, and reports one refusal for
/// each. Nothing of such a row is applied.
async fn fitting(
    front: &Front,
    rows: Vec<AccountRow>,
) -> anyhow::Result<(Vec<AccountRow>, Applied)> {
    let commands = rows.iter().map(|row| {
        let mut commands = vec![open(row)];
        commands.extend(subscriptions(row));
        commands
    });
    let faults = apply::check(front, commands).await?;
    let (mut fit, mut unfit) = (Vec::with_capacity(rows.len()), Applied::default());
    for (row, fault) in rows.into_iter().zip(faults) {
        match fault {
            None => fit.push(row),
            Some(fault) => {
                let message = format!("nothing of the row is imported: {fault}");
                unfit.refuse(row.account.0, message);
            }
        }
    }
    Ok((fit, unfit))
}

fn next_chunk<R: std::io::Read>(
    rows: &mut AccountsCsv<R>,
    faults: &mut Vec<Fault>,
) -> Vec<AccountRow> {
    let mut chunk = Vec::new();
    while chunk.len() < CHUNK
        && let Some(row) = rows.next()
    {
        match row {
            Ok(row) => chunk.push(row.content),
            Err(fault) => faults.push(fault),
        }
    }
    chunk
}

fn open(row: &AccountRow) -> AccountCommand {
    let settings = Settings {
        zone: row.zone.clone(),
        cycle_day: u32::from(row.cycle_day),
        currency: row.currency.to_string(),
        attributes: row.attributes.clone().into_iter().collect(),
    };
    apply::open(row.account.0, settings, row.identities.clone())
}

fn subscriptions(row: &AccountRow) -> impl Iterator<Item = AccountCommand> + '_ {
    // The first plan is tried first, so it gets the highest priority.
    let priorities = (1..=u32::try_from(row.plans.len()).unwrap_or(u32::MAX)).rev();
    row.plans.iter().zip(priorities).map(|(plan, priority)| {
        let subscription = Subscribe {
            plan_id: plan.clone(),
            from_us: row.plan_from.0,
            priority,
            parameters: row.parameters.clone().into_iter().collect(),
        };
        apply::subscribe(row.account.0, subscription)
    })
}

fn tell(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        return ui::print_json(report);
    }
    ui::print(format_args!("{} accounts: {}", ui::count(report.accounts), report.opened))?;
    ui::print(format_args!("subscriptions: {}", report.subscribed))?;
    ui::tell_some(&report.opened.refusals, 20, " (--json has them)");
    ui::tell_some(&report.subscribed.refusals, 20, " (--json has them)");
    if !report.bad_rows.is_empty() {
        let bad = ui::count(report.bad_rows.len() as u64);
        ui::tell(format_args!("{bad} bad rows were left out:"));
        ui::tell_some(&report.bad_rows, 20, " (--json has them)");
    }
    Ok(())
}
