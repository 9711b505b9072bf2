//! `turnpike account import`: opens accounts from a CSV file.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use clap::Args;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use turnpike_collect::{AccountRow, AccountsCsv, Fault};
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, Settings, Subscribe, Subscription,
};
use turnpike_types::Timestamp;

use crate::accounts_file::warn_of_begin;
use crate::apply::{self, Applied};
use crate::client::{ClientArgs, ClientSettings, Front};
use crate::context::Context;
use crate::exit::{EXIT_CODES, Finish};
use crate::{ui, usage_file, values};

const EXAMPLES: &str = "\
Columns: account_number, zone, currency; optionally cycle_day (1), plan (several separated by ;,
tried in this order), plan_from (a date in the zone, or an instant), identities (separated by ;,
bound for all time: ip:ADDRESS, ip:ADDRESS/LENGTH, user:NAME, tel:NUMBER), attribute:NAME,
parameter:NAME. Without plan_from, a plan begins now, and usage before that waits as no-plan. Of a
bad row nothing is imported; a refused subscription leaves the rest of its row. A repeated import
changes nothing.

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
    /// The number of accounts without `plan_from` whose plans begin at the time of this import.
    begin_now: u64,
    bad_rows: Vec<String>,
}

/// The number of accounts that are looked up concurrently.
const SHOWS_AT_ONCE: usize = 16;
/// The number of rows that are read before their commands are sent. It bounds memory for a file of
/// any size.
const CHUNK: usize = 20_000;

/// The resolved settings of `account import`.
pub(super) struct ImportSettings {
    file: PathBuf,
    json: bool,
    /// Whether progress is not shown.
    hidden: bool,
    client: ClientSettings,
}

impl ImportArgs {
    pub(super) fn resolve(self, context: &Context) -> anyhow::Result<ImportSettings> {
        Ok(ImportSettings {
            file: self.file,
            json: self.json,
            hidden: context.quiet || self.json,
            client: self.client.resolve(&context.config)?,
        })
    }
}

pub(super) async fn run(settings: ImportSettings) -> anyhow::Result<Finish> {
    let name = settings.file.display().to_string();
    let mut rows = AccountsCsv::new(&name, usage_file::open(&settings.file)?)?;
    let front = settings.client.connect().await?;
    let bar = ui::progress(None, name, settings.hidden);
    let mut faults: Vec<Fault> = Vec::new();
    let mut report = Report {
        accounts: 0,
        opened: Applied::default(),
        subscribed: Applied::default(),
        begin_now: 0,
        bad_rows: Vec::new(),
    };
    let now = Timestamp(values::now_us());
    loop {
        let chunk = next_chunk(&mut rows, &mut faults);
        if chunk.is_empty() {
            break;
        }
        report.accounts += chunk.len() as u64;
        let (chunk, unfit) = fitting(&front, chunk, now).await?;
        report.subscribed.add(unfit);
        // All accounts of the chunk are opened before the subscriptions: a retried command is sent
        // after the rest of its request, so one request with both could subscribe too early.
        let opens = chunk.iter().map(open);
        let opened = apply::apply(&front, opens, |_, _| bar.inc(1)).await?;
        // A row whose account could not be opened with the row's settings gets no subscription.
        let unopened: HashSet<u64> =
            opened.refusals.iter().map(|refusal| refusal.account_number).collect();
        report.opened.add(opened);
        let opened: Vec<AccountRow> =
            chunk.into_iter().filter(|row| !unopened.contains(&row.account.0)).collect();
        let had = had_before(&front, &opened).await?;
        let mut begun = HashSet::new();
        let subscriptions = opened.iter().flat_map(|row| {
            let had = had.get(&row.account.0).map(Vec::as_slice).unwrap_or_default();
            subscriptions(row, had, now)
        });
        let subscribed = apply::apply(&front, subscriptions, |account, outcome| {
            if outcome == AccountOutcome::Applied && had.contains_key(&account) {
                begun.insert(account);
            }
        });
        report.subscribed.add(subscribed.await?);
        report.begin_now += begun.len() as u64;
    }
    bar.finish_and_clear();
    report.bad_rows = faults.iter().map(ToString::to_string).collect();
    print_report(&report, settings.json)?;
    warn_of_begin(report.begin_now, now);
    let refused = report.opened.refused + report.subscribed.refused;
    Ok(Finish::unless(refused > 0 || !faults.is_empty()))
}

/// Removes each row that has a plan that does not fit the account, or an identity of another
/// account. Reports one refusal for each such row; nothing of the row is applied.
async fn fitting(
    front: &Front,
    rows: Vec<AccountRow>,
    now: Timestamp,
) -> anyhow::Result<(Vec<AccountRow>, Applied)> {
    let commands = rows.iter().map(|row| {
        let mut commands = vec![open(row)];
        commands.extend(subscriptions(row, &[], now));
        commands
    });
    let faults = apply::check(front, commands).await?;
    let (mut fit, mut unfit) = (Vec::with_capacity(rows.len()), Applied::default());
    // The identities of the accepted rows, with their accounts. The front does not know them yet.
    let mut holders: HashMap<String, u64> = HashMap::new();
    for (row, fault) in rows.into_iter().zip(faults) {
        let fault = fault.or_else(|| held_by_row(&row, &holders));
        if fault.is_none() {
            holders.extend(row.identities.iter().map(|id| (id.clone(), row.account.0)));
        }
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

/// The reason to refuse a row if an earlier row gives one of its identities to another account.
fn held_by_row(row: &AccountRow, holders: &HashMap<String, u64>) -> Option<String> {
    row.identities.iter().find_map(|identity| {
        let holder = holders.get(identity).filter(|&&holder| holder != row.account.0)?;
        Some(format!("an earlier row gives {identity} to account {holder}"))
    })
}

/// The present and past subscriptions of the accounts of rows without `plan_from`.
async fn had_before(
    front: &Front,
    rows: &[AccountRow],
) -> anyhow::Result<HashMap<u64, Vec<Subscription>>> {
    let without_start = rows.iter().filter(|row| row.plan_from.is_none() && !row.plans.is_empty());
    let numbers: Vec<u64> = without_start.map(|row| row.account.0).collect();
    let shown = stream::iter(numbers).map(|number| async move {
        let shown = front.account(number).await?;
        anyhow::Ok((number, shown.map(|shown| shown.subscriptions).unwrap_or_default()))
    });
    shown.buffer_unordered(SHOWS_AT_ONCE).try_collect().await
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

/// The commands that subscribe the account of a row. Without `plan_from` a plan begins `now`. If
/// `had` contains the same subscription already, its start is used instead: a repeated import
/// changes nothing, and a cancelled plan does not begin again.
fn subscriptions<'a>(
    row: &'a AccountRow,
    had: &'a [Subscription],
    now: Timestamp,
) -> impl Iterator<Item = AccountCommand> + 'a {
    // The first plan is tried first, so it gets the highest priority.
    let priorities = (1..=u32::try_from(row.plans.len()).unwrap_or(u32::MAX)).rev();
    row.plans.iter().zip(priorities).map(move |(plan, priority)| {
        let is_as_stated = |one: &&Subscription| {
            let parameters = one.parameters.iter().eq(row.parameters.iter());
            one.option.is_empty() && one.plan_id == *plan && one.priority == priority && parameters
        };
        let begun = had.iter().filter(is_as_stated).map(|one| Timestamp(one.from_us)).max();
        let subscription = Subscribe {
            plan_id: plan.clone(),
            from_us: row.plan_from.or(begun).unwrap_or(now).0,
            priority,
            parameters: row.parameters.clone().into_iter().collect(),
        };
        apply::subscribe(row.account.0, subscription)
    })
}

fn print_report(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        return ui::print_json(report);
    }
    ui::print(format_args!("{} accounts: {}", ui::count(report.accounts), report.opened))?;
    ui::print(format_args!("subscriptions: {}", report.subscribed))?;
    ui::print_some_stderr(&report.opened.refusals, 20, " (--json has them)");
    ui::print_some_stderr(&report.subscribed.refusals, 20, " (--json has them)");
    if !report.bad_rows.is_empty() {
        let bad = ui::count(report.bad_rows.len() as u64);
        ui::print_stderr(format_args!("{bad} bad rows were left out:"));
        ui::print_some_stderr(&report.bad_rows, 20, " (--json has them)");
    }
    Ok(())
}
