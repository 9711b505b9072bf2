//! `turnpike collect`: converts files of other programs to usage records and sends them to the
//! cluster.

mod accounts;
mod source;
mod survey;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use turnpike_collect::{AccessLog, AccessLogOptions, LogFormat};
use turnpike_types::{Currency, Timestamp};

use crate::client::ClientArgs;
use crate::commands::ingest::BatchArgs;
use crate::context::Context;
use crate::exit::{EXIT_CODES, Finish, usage};
use crate::tally::FileReport;
use crate::usage_file::{self, Rows, Sending};
use crate::{ui, values};

use survey::Survey;

const EXAMPLES: &str = "\
Examples:
  turnpike collect access-log access.log
  turnpike collect access-log access.log --open-accounts 1000 --plan octets --plan-from 2026-11-01";

/// The kinds of files that can be converted.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum CollectCommand {
    /// A web server's access log, in one of Apache's formats
    AccessLog(AccessLogArgs),
}

const ACCESS_LOG_EXAMPLES: &str = "\
Each line becomes one record: identity ip:ADDRESS of the client, without port, usage type octets
(status 200 and 206), octets-failed (4xx, 5xx) or octets-uncharged (the rest), quantity the size.
Record ids are SOURCE:HASH:N, so a second run changes nothing. Rotation may rename the file
(access.log.1, access.log.2.gz, access.log-20261130): the source stays. See docs/formats.md.

The formats common, combined and vhost_combined are recognized by the first line that matches. For
any other format, give the server's LogFormat. A line whose requester is not an address is reported
and not sent, unless --hostnames says that the server logs host names.

--open-accounts opens accounts for requesters that have none, and no others. Everything is checked
first: the file, the plan, the account numbers, and whether the cluster takes records of that time (a
cluster for old logs: turnpike up --data NEW-DIR --accept-since DATE). An access that is too old or in
the future opens no account. --plan subscribes the accounts that this run opens. Their fees are
charged from --plan-from on, and usage before it waits as no-plan.

Examples:
  turnpike collect access-log access.log
  turnpike collect access-log /var/log/www1/access.log --source www1
  zstdcat access.log.zst | turnpike collect access-log - --source www1
  turnpike collect access-log other_vhosts_access.log --format vhost_combined
  turnpike collect access-log site.log --format '%v %h %l %u %t \"%r\" %>s %b'
  turnpike collect access-log access.log --open-accounts 1000 --plan octets \\
      --plan-from 2026-11-01 --currency USD";

/// Options of `collect access-log`.
#[derive(Debug, Args)]
#[command(after_help = ACCESS_LOG_EXAMPLES)]
#[command(after_long_help = format!("{ACCESS_LOG_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct AccessLogArgs {
    /// The log, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The prefix of record ids: one for each server, the same whenever its log is collected;
    /// needed for standard input [default: the file's name without .1, .2.gz, -20261130]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// The format of the lines: common, combined, vhost_combined, or the server's LogFormat
    /// [default: recognized by the first line that matches]
    #[arg(long, value_name = "FORMAT")]
    format: Option<LogFormat>,
    /// Requesters may be host names (HostnameLookups On); their identity is user:NAME
    #[arg(long, requires = "format")]
    hostnames: bool,
    /// Keep each request's path as the attribute `path`
    #[arg(long)]
    path: bool,
    /// First open an account for each requester that has none, numbered from here in order of first
    /// appearance; numbers already in use are skipped
    #[arg(long, value_name = "FROM")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    open_accounts: Option<u64>,
    /// Subscribe the opened accounts to this plan; needs --plan-from
    #[arg(long, value_name = "ID", requires = "open_accounts")]
    plan: Option<String>,
    /// The start of the subscriptions: an instant, or a date in the zone
    #[arg(long, value_name = "TIME", requires_all = ["open_accounts", "plan"])]
    plan_from: Option<String>,
    /// Also subscribe the requesters' accounts that an interrupted run left without a plan:
    /// accounts with the same settings, numbered FROM or higher
    #[arg(long, requires_all = ["open_accounts", "plan"])]
    resume: bool,
    /// Time zone of the opened accounts
    #[arg(long, value_name = "ZONE", default_value = "UTC", requires = "open_accounts")]
    zone: String,
    /// Currency of the opened accounts
    #[arg(long, value_name = "CODE", default_value = "USD", requires = "open_accounts")]
    #[arg(value_parser = values::currency)]
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
    let plan_from = args.plan_from.as_ref().map(|text| values::instant_in(text, &zone));
    let plan_from =
        plan_from.transpose().map_err(|error| usage(format!("--plan-from: {error}")))?;
    if args.open_accounts.is_some() && args.file == Path::new("-") {
        return Err(usage("--open-accounts reads the log twice: name a file, not -"));
    }
    let source = match &args.source {
        Some(source) => source.clone(),
        None => source::default_source(&args.file)?,
    };
    let log = access_log(&args, &source)?;
    let exceptions = args.batches.exceptions(&args.file)?;
    let now = Timestamp(values::now_us());
    let survey =
        args.open_accounts.map(|_| Survey::of(access_log(&args, &source)?, now)).transpose()?;
    if args.plan.is_some() && plan_from.is_none() {
        return Err(no_start(survey.as_ref()));
    }
    check_start(plan_from, survey.as_ref())?;
    let front = args.client.connect(&context.config).await?;
    if args.source.is_none() && !context.quiet {
        ui::print_stderr(format_args!(
            "source {source}: name the server with --source if several write logs of this name"
        ));
    }
    if let Some((from, survey)) = args.open_accounts.zip(survey) {
        accounts::open(&front, &args, from, plan_from, survey, context).await?;
    }
    let bar = ui::progress(None, name.clone(), context.quiet || args.batches.json);
    let sending = Sending {
        source: &source,
        batch_records: args.batches.batch,
        window: usize::from(args.batches.window),
    };
    let report = FileReport { file: name, ..FileReport::default() };
    let report = usage_file::send(&front, &sending, log, report, &bar).await?;
    report.print(args.batches.json, exceptions)
}

/// Refuses a plan start that is later than every access: all of them would be suspended as
/// `no-plan`.
fn check_start(plan_from: Option<Timestamp>, survey: Option<&Survey>) -> anyhow::Result<()> {
    let spans = survey.and_then(|survey| survey.oldest.zip(survey.newest));
    let Some((plan_from, (oldest, newest))) = plan_from.zip(spans) else { return Ok(()) };
    let is_late = plan_from > newest;
    let is_within = plan_from > oldest;
    let [plan_from, oldest, newest] =
        [plan_from, oldest, newest].map(|at| values::show_instant(at.micros()));
    if !is_late {
        if is_within {
            ui::print_stderr(format_args!(
                "the log begins {oldest}: accesses before --plan-from {plan_from} wait as no-plan if \
                 this run subscribes their account"
            ));
        }
        return Ok(());
    }
    Err(usage(format!(
        "--plan-from {plan_from} is after every access, which would wait as no-plan: the log ends \
         {newest}. Nothing was changed; give a start before the log"
    )))
}

/// The error of a plan without a start. There is no default, because neither 1970 nor the present
/// is a plausible start for a log.
fn no_start(survey: Option<&Survey>) -> anyhow::Error {
    let oldest =
        survey.and_then(|survey| survey.oldest).map(|oldest| values::show_instant(oldest.0));
    let begins = oldest.map(|oldest| format!("; the log begins {oldest}")).unwrap_or_default();
    usage(format!(
        "--plan needs --plan-from TIME: a plan charges its fees from that time on, and usage before \
         it waits as no-plan{begins}"
    ))
}

fn access_log(args: &AccessLogArgs, source: &str) -> anyhow::Result<Rows> {
    let AccessLogArgs { path, format, hostnames, .. } = args;
    let options = AccessLogOptions { path: *path, format: format.clone(), hostnames: *hostnames };
    let (name, reader) = (args.file.display().to_string(), usage_file::open(&args.file)?);
    let log = AccessLog::new(&name, source, reader, options);
    Ok(Box::new(log.map_err(|error| usage(format!("--source: {error}")))?))
}
