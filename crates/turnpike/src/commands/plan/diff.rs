//! `turnpike plan diff`: the differences between two plans.

use std::path::Path;

use clap::Args;
use turnpike_plan::Plan;

use crate::catalogue::{NEWEST, published};
use crate::client::{ClientArgs, ClientSettings};
use crate::context::Context;
use crate::exit::{Finish, usage};
use crate::{plans, ui};

const EXAMPLES: &str = "\
A plan is a file, or ID@VERSION in the catalogue (ID@ for its newest version). Warns of counters and
charges of the first plan that the second plan would lose, and of subscribed accounts that it would
not rate.

Examples:
  turnpike plan diff old.xml new.xml
  turnpike plan diff fig6b@1 fig6b.xml
  turnpike plan diff fig6b@1 fig6b@2 --json
  turnpike plan diff old.xml new.xml --exit-code && echo the same";

/// Options of `plan diff`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PlanDiffArgs {
    /// The present plan
    #[arg(value_name = "PLAN")]
    before: String,
    /// The new plan
    #[arg(value_name = "PLAN")]
    after: String,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    /// Return exit code 1 if the plans are different
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// The resolved settings of `plan diff`.
pub(super) struct PlanDiffSettings {
    before: String,
    after: String,
    json: bool,
    exit_code: bool,
    client: ClientSettings,
}

impl PlanDiffArgs {
    pub(super) fn resolve(self, context: &Context) -> anyhow::Result<PlanDiffSettings> {
        let client = self.client.resolve(&context.config)?;
        Ok(PlanDiffSettings {
            before: self.before,
            after: self.after,
            json: self.json,
            exit_code: self.exit_code,
            client,
        })
    }
}

pub(super) async fn run(settings: PlanDiffSettings) -> anyhow::Result<Finish> {
    let before = plan(&settings.before, &settings.client).await?;
    let after = plan(&settings.after, &settings.client).await?;
    let difference = turnpike_trial::diff(&before, &after);
    if settings.json {
        ui::print_json(&difference)?;
    } else {
        ui::print(difference.to_string().trim_end())?;
    }
    let differs = settings.exit_code && !difference.is_empty();
    Ok(if differs { Finish::Different } else { Finish::Done })
}

/// Reads a plan from a file if there is one of this name, else from the catalogue.
async fn plan(name: &str, client: &ClientSettings) -> anyhow::Result<Plan> {
    let file = Path::new(name);
    let Some((id, version)) = name.split_once('@').filter(|_| !file.exists()) else {
        return Ok(plans::load(file)?.plan);
    };
    let version = match version {
        "" => NEWEST,
        number => number.parse::<u32>().ok().filter(|&number| number > 0).ok_or_else(|| {
            usage(format!(
                "{name}: no such file, and {number:?} is not a version; write ID@VERSION"
            ))
        })?,
    };
    let front = client.connect().await?;
    let xml = published(&front, id, version).await?;
    Ok(plans::parse(name, &xml)?.plan)
}
