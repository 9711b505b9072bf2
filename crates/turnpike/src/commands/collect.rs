//! `turnpike collect`: foreign files to usage records to the cluster.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use turnpike_collect::{AccessLog, AccessLogOptions};
use turnpike_proto::account::v1::{Settings, Subscribe};
use turnpike_types::{Currency, Timestamp};

use crate::apply;
use crate::cli::Context;
use crate::client::{ClientArgs, Front};
use crate::commands::ingest::BatchArgs;
use crate::exit::{EXIT_CODES, Finish, usage};
use crate::tally::FileReport;
use crate::usage_file::{self, Rows, Sending};
use crate::{ui, values};

const EXAMPLES: &str = "\
Examples:
  turnpike collect access-log access.log
  turnpike collect access-log access.log --open-accounts 1000 --plan octets --currency USD";

/// Kinds of foreign files.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum CollectCommand {
    /// A web server's access log, Apache common or combined
    AccessLog(AccessLogArgs),
}

const ACCESS_LOG_EXAMPLES: &str = "\
Each line becomes one record: identity ip:ADDRESS (user:NAME where the requester is no address),
usage type octets (status 200 and 206), octets-failed (4xx, 5xx) or octets-uncharged (the rest),
quantity the size. Record ids are SOURCE:HASH:N, so running it again changes nothing.

Examples:
  turnpike collect access-log access.log
  turnpike collect access-log access.log.1 --source www1
  turnpike collect access-log access.log --open-accounts 1000 --plan octets --currency USD";

/// Options of `collect access-log`.
#[derive(Debug, Args)]
#[command(after_help = ACCESS_LOG_EXAMPLES)]
#[command(after_long_help = format!("{ACCESS_LOG_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct AccessLogArgs {
    /// The log, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What record ids begin with; keep it when the file is renamed [default: the file's name]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Keep each request's path as the attribute `path`
    #[arg(long)]
    path: bool,
    /// First open an account for each requester, numbered from here in order of first appearance
    #[arg(long, value_name = "FROM")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    open_accounts: Option<u64>,
    /// Subscribe the opened accounts to this plan
    #[arg(long, value_name = "ID", requires = "open_accounts")]
    plan: Option<String>,
    /// Since when: an instant, or a date in the zone
    #[arg(long, value_name = "TIME", default_value = "1970-01-01T00:00:00Z")]
    plan_from: String,
    /// Time zone of the opened accounts
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    zone: String,
    /// Currency of the opened accounts
    #[arg(long, value_name = "CODE", default_value = "USD")]
    currency: Currency,
    #[command(flatten)]
    batches: BatchArgs,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) async fn run(command: CollectCommand, context: &Context) -> anyhow::Result<Finish> {
    let CollectCommand::AccessLog(args) = command;
    let name = args.file.display().to_string();
    let zone = values::zone(&args.zone).map_err(|error| usage(format!("--zone: {error}")))?;
    let plan_from = values::instant_in(&args.plan_from, &zone)
        .map_err(|error| usage(format!("--plan-from: {error}")))?;
    if args.open_accounts.is_some() && args.file == Path::new("-") {
        return Err(usage("--open-accounts reads the log twice: name a file, not -"));
    }
    let log = access_log(&args)?;
    let front = args.client.connect(&context.config).await?;
    if let Some(from) = args.open_accounts {
        open_accounts(&front, &args, from, plan_from, context).await?;
    }
    let bar = ui::progress(None, name.clone(), context.quiet || args.batches.json);
    let source = source(&args);
    let sending = Sending {
        source: &source,
        batch_records: args.batches.batch,
        window: usize::from(args.batches.window),
    };
    let report = FileReport { file: name, ..FileReport::default() };
    let report = usage_file::send(&front, &sending, log, report, &bar).await?;
    report.tell(args.batches.json, args.batches.exceptions.as_deref())
}

fn source(args: &AccessLogArgs) -> String {
    args.source.clone().unwrap_or_else(|| {
        let name = args.file.file_name().unwrap_or_default().to_string_lossy();
        if name == "-" || name.is_empty() { "stdin".to_owned() } else { name.replace(' ', "_") }
    })
}

fn access_log(args: &AccessLogArgs) -> anyhow::Result<Rows> {
    let options = AccessLogOptions { path: args.path };
    let (name, reader) = (args.file.display().to_string(), usage_file::open(&args.file)?);
    let log = AccessLog::new(&name, &source(args), reader, options);
    Ok(Box::new(log.map_err(|error| usage(format!("--source: {error}")))?))
}

/// Opens an account for each requester of the log. Numbers follow from the order of first
/// appearance alone, so a second run asks for the same and is told that it stands so already.
async fn open_accounts(
    front: &Front,
    args: &AccessLogArgs,
    from: u64,
    plan_from: Timestamp,
    context: &Context,
) -> anyhow::Result<()> {
    let identities = requesters(args)?;
    let last = from.checked_add(identities.len() as u64);
    last.with_context(|| format!("--open-accounts {from}: not enough numbers are left"))?;
    let settings = Settings {
        zone: args.zone.clone(),
        cycle_day: 1,
        currency: args.currency.to_string(),
        attributes: [].into(),
    };
    let hidden = context.quiet || args.batches.json;
    let bar = ui::progress(Some(identities.len() as u64), "accounts", hidden);
    let (plan, accounts) = (args.plan.as_ref(), identities.len() as u64);
    let commands = (from..).zip(identities);
    let commands = commands.map(|(number, id)| apply::open(number, settings.clone(), [id]));
    let mut applied = apply::apply(front, commands, |done| bar.inc(done)).await?;
    if let Some(plan_id) = plan {
        let subscription = Subscribe {
            plan_id: plan_id.clone(),
            from_us: plan_from.0,
            priority: 1,
            parameters: [].into(),
        };
        let commands =
            (from..from + accounts).map(|number| apply::subscribe(number, subscription.clone()));
        applied.add(apply::apply(front, commands, |_| {}).await?);
    }
    bar.finish_and_clear();
    if applied.refused > 0 {
        ui::tell(format_args!("accounts could not be opened for all requesters:"));
        ui::tell_some(&applied.refusals, 10, "");
        bail!(
            "{} of the commands that open accounts were refused; nothing was sent. If these \
             requesters have accounts already, leave --open-accounts out",
            applied.refused
        );
    }
    ui::tell(format_args!("{} requesters: {applied}", ui::count(accounts)));
    Ok(())
}

/// The distinct identities of the log, in order of first appearance.
fn requesters(args: &AccessLogArgs) -> anyhow::Result<Vec<String>> {
    let (mut seen, mut ordered) = (HashSet::new(), Vec::new());
    // Bad rows are told when the records are sent.
    for row in access_log(args)?.filter_map(Result::ok) {
        let identity = row.content.identity;
        if !seen.contains(&identity) {
            seen.insert(identity.clone());
            ordered.push(identity);
        }
    }
    Ok(ordered)
}
