//! `turnpike plan`: price plans in files and in the catalogue.

mod diff;
mod primitives;
mod publish;
mod test;

use std::path::PathBuf;

use anyhow::bail;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use turnpike_proto::plan::v1::{ListRequest, PlanVersion};

use crate::catalogue::{self, NEWEST};
use crate::client::{ClientArgs, ClientSettings};
use crate::context::Context;
use crate::exit::Finish;
use crate::{plans, ui, values};

const EXAMPLES: &str = "\
Examples:
  turnpike plan check plan.xml
  turnpike plan test plan.xml
  turnpike plan diff fig6b@1 plan.xml
  turnpike plan publish plan.xml
  turnpike plan list
  turnpike plan show fig6b --version 1 > fig6b.xml
  turnpike plan primitives StepRater";

/// The plan commands.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum PlanCommand {
    /// Checks plans in files, without a cluster
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// Plans in XML
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Runs the examples in plans, without a cluster
    Test(test::TestArgs),
    /// Shows the differences between two plans, and the state that the second would lose
    Diff(diff::PlanDiffArgs),
    /// Adds plans to the catalogue; a published version never changes
    Publish(publish::PlanPublishArgs),
    /// Lists the catalogue
    List(PlanListArgs),
    /// Prints a published plan's XML
    Show(PlanShowArgs),
    /// Lists the types of primitives that plans consist of, with their ports and properties
    Primitives(primitives::PrimitivesArgs),
}

const CHECK_EXAMPLES: &str = "\
The exit code is 1 if a plan is invalid; each error is shown with its line and primitive.

Examples:
  turnpike plan check plan.xml
  turnpike plan check plans/*.xml";

const LIST_EXAMPLES: &str = "\
Examples:
  turnpike plan list
  turnpike plan list --plan fig6b --json";

/// Options of `plan list`.
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct PlanListArgs {
    /// Only this plan's versions
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    plan: Option<String>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

const SHOW_EXAMPLES: &str = "\
The XML goes to standard output; the time of publication and the version of the time-zone database
go to standard error.

Examples:
  turnpike plan show fig6b
  turnpike plan show fig6b --version 1 > fig6b.xml";

/// Options of `plan show`.
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(crate) struct PlanShowArgs {
    /// The plan's id
    #[arg(value_name = "ID")]
    plan: String,
    /// The plan's version [default: the newest]
    #[arg(long = "plan-version", visible_alias = "version", value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) async fn run(command: PlanCommand, context: &Context) -> anyhow::Result<Finish> {
    match command {
        PlanCommand::Check { files } => check(&files),
        PlanCommand::Test(args) => test::run(&args),
        PlanCommand::Diff(args) => diff::run(args.resolve(context)?).await,
        PlanCommand::Publish(args) => publish::run(args.resolve(context)?).await,
        PlanCommand::List(args) => list(args.resolve(context)?).await,
        PlanCommand::Show(args) => show(args.resolve(context)?).await,
        PlanCommand::Primitives(args) => primitives::run(&args),
    }
}

fn check(files: &[PathBuf]) -> anyhow::Result<Finish> {
    let mut wrong = 0;
    for file in files {
        match plans::load(file) {
            Ok(loaded) => {
                loaded.warnings.iter().for_each(ui::print_stderr);
                ui::print(format_args!("{}: {}", file.display(), loaded.title))?;
            }
            Err(error) => {
                wrong += 1;
                ui::print_stderr(format_args!("{error:#}"));
            }
        }
    }
    if wrong > 0 {
        bail!("{wrong} of {} plans are invalid; correct the errors above", files.len());
    }
    Ok(Finish::Done)
}

#[derive(Serialize)]
struct Listed {
    plan_id: String,
    version: u32,
    starts: String,
    currency: String,
    content_hash: String,
    catalogue_version: u64,
    published_at: String,
    /// The version of the time-zone database of the front that published the plan; empty if that
    /// front ran an older release.
    tz_database: String,
}

/// The resolved settings of `plan list`.
struct PlanListSettings {
    plan: Option<String>,
    json: bool,
    client: ClientSettings,
}

impl PlanListArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<PlanListSettings> {
        let client = self.client.resolve(&context.config)?;
        Ok(PlanListSettings { plan: self.plan, json: self.json, client })
    }
}

async fn list(settings: PlanListSettings) -> anyhow::Result<Finish> {
    let front = settings.client.connect().await?;
    let request = ListRequest { plan_id: settings.plan.clone().unwrap_or_default() };
    let answer = front
        .call("the catalogue could not be read", || {
            let (mut plans, request) = (front.plans(), request.clone());
            async move { plans.list(request).await }
        })
        .await?;
    let listed: Vec<Listed> = answer.plans.into_iter().map(Listed::from).collect();
    if let (true, Some(id)) = (listed.is_empty(), &settings.plan) {
        bail!("the catalogue has no plan {id} (see `turnpike plan list`)");
    }
    if settings.json {
        ui::print_json(&listed)?;
        return Ok(Finish::Done);
    }
    let rows: Vec<Vec<String>> = listed
        .into_iter()
        .map(|plan| {
            let hash = plan.content_hash.chars().take(12).collect();
            let version = plan.version.to_string();
            let zones = if plan.tz_database.is_empty() { "-".to_owned() } else { plan.tz_database };
            vec![plan.plan_id, version, plan.starts, plan.currency, hash, plan.published_at, zones]
        })
        .collect();
    let header = ["PLAN", "VERSION", "STARTS", "CURRENCY", "CONTENT", "PUBLISHED", "TZ DATABASE"];
    ui::print_table(&header, &rows)?;
    Ok(Finish::Done)
}

impl From<PlanVersion> for Listed {
    fn from(plan: PlanVersion) -> Self {
        Self {
            plan_id: plan.plan_id,
            version: plan.version,
            starts: plan.starts,
            currency: plan.currency,
            content_hash: plan.content_hash,
            catalogue_version: plan.catalogue_version,
            published_at: values::show_instant(plan.published_at_us),
            tz_database: plan.tz_database,
        }
    }
}

/// The resolved settings of `plan show`.
struct PlanShowSettings {
    plan: String,
    version: u32,
    /// Whether the facts of the publication are left out.
    quiet: bool,
    client: ClientSettings,
}

impl PlanShowArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<PlanShowSettings> {
        Ok(PlanShowSettings {
            plan: self.plan,
            version: self.version.unwrap_or(NEWEST),
            quiet: context.quiet,
            client: self.client.resolve(&context.config)?,
        })
    }
}

async fn show(settings: PlanShowSettings) -> anyhow::Result<Finish> {
    let front = settings.client.connect().await?;
    let answer = catalogue::get(&front, &settings.plan, settings.version).await?;
    if let Some(plan) = answer.plan.map(Listed::from).filter(|_| !settings.quiet) {
        let zones = match plan.tz_database.as_str() {
            "" => "an unknown time-zone database".to_owned(),
            version => format!("time-zone database {version}"),
        };
        let Listed { plan_id, version, published_at, .. } = plan;
        ui::print_stderr(format_args!(
            "plan {plan_id} version {version}, published at {published_at} with {zones}"
        ));
    }
    ui::print(answer.xml.trim_end())?;
    Ok(Finish::Done)
}
