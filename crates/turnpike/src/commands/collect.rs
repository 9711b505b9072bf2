//! `turnpike collect`: converts files of other programs to usage records and sends them to the
//! cluster.

mod accounts;
mod settings;
mod source;
mod survey;

use clap::Subcommand;
use turnpike_collect::AccessLog;
use turnpike_types::Timestamp;

use crate::context::Context;
use crate::exit::{Finish, usage};
use crate::tally::FileReport;
use crate::usage_file::{self, Rows, Sending};
use crate::{ui, values};

use settings::{AccessLogArgs, AccessLogSettings};
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

pub(crate) async fn run(command: CollectCommand, context: &Context) -> anyhow::Result<Finish> {
    match command {
        CollectCommand::AccessLog(args) => collect(args.resolve(context)?).await,
    }
}

async fn collect(settings: AccessLogSettings) -> anyhow::Result<Finish> {
    let (batches, source) = (&settings.batches, settings.source.as_str());
    let name = settings.file.display().to_string();
    let log = access_log(&settings)?;
    let exceptions = batches.exceptions(&settings.file)?;
    let now = Timestamp(values::now_us());
    let survey = match &settings.opening {
        Some(opening) => {
            let survey = Survey::of(access_log(&settings)?, now)?;
            if opening.plan.is_some() && opening.plan_from.is_none() {
                return Err(no_start(&survey));
            }
            check_start(opening.plan_from, &survey)?;
            Some((opening, survey))
        }
        None => None,
    };
    let front = settings.client.connect().await?;
    if settings.is_source_by_name && !settings.quiet {
        ui::print_stderr(format_args!(
            "source {source}: name the server with --source if several write logs of this name"
        ));
    }
    if let Some((opening, survey)) = survey {
        accounts::open(&front, opening, survey).await?;
    }
    let bar = ui::progress(None, name.clone(), settings.quiet || batches.json);
    let sending =
        Sending { source, batch_records: batches.batch, window: usize::from(batches.window) };
    let report = FileReport { file: name, ..FileReport::default() };
    let report = usage_file::send(&front, &sending, log, report, &bar).await?;
    report.print(batches.json, exceptions)
}

/// Refuses a plan start that is later than every access: all of them would be suspended as
/// `no-plan`.
fn check_start(plan_from: Option<Timestamp>, survey: &Survey) -> anyhow::Result<()> {
    let spans = survey.oldest.zip(survey.newest);
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
fn no_start(survey: &Survey) -> anyhow::Error {
    let oldest = survey.oldest.map(|oldest| values::show_instant(oldest.0));
    let begins = oldest.map(|oldest| format!("; the log begins {oldest}")).unwrap_or_default();
    usage(format!(
        "--plan needs --plan-from TIME: a plan charges its fees from that time on, and usage before \
         it waits as no-plan{begins}"
    ))
}

fn access_log(settings: &AccessLogSettings) -> anyhow::Result<Rows> {
    let name = settings.file.display().to_string();
    let reader = usage_file::open(&settings.file)?;
    let log = AccessLog::new(&name, &settings.source, reader, settings.log.clone());
    Ok(Box::new(log.map_err(|error| usage(format!("--source: {error}")))?))
}
