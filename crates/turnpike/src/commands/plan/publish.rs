//! `turnpike plan publish`: adds plans, with the files of their examples, to the catalogue.

use std::path::{Path, PathBuf};

use clap::Args;
use turnpike_proto::plan::v1::{PlanVersion, PublishRequest};

use crate::client::{ClientArgs, ClientSettings, stated};
use crate::context::Context;
use crate::exit::{EXIT_CODES, Finish};
use crate::{plans, ui};

const EXAMPLES: &str = "\
The examples of a plan run before it is published, and a plan that fails one is refused. Files that
the examples name are read from the directory of the plan. A further version is compared with the
version before: a version in another currency is refused, and a parameter that is gone is warned of.

Examples:
  turnpike plan publish plan.xml";

/// Options of `plan publish`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct PlanPublishArgs {
    /// Plans in XML
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
}

/// The resolved settings of `plan publish`.
pub(super) struct PlanPublishSettings {
    files: Vec<PathBuf>,
    client: ClientSettings,
}

impl PlanPublishArgs {
    pub(super) fn resolve(self, context: &Context) -> anyhow::Result<PlanPublishSettings> {
        let client = self.client.resolve(&context.config)?;
        Ok(PlanPublishSettings { files: self.files, client })
    }
}

pub(super) async fn run(settings: PlanPublishSettings) -> anyhow::Result<Finish> {
    // All files are read before the first plan is published.
    let requests: Vec<PublishRequest> =
        settings.files.iter().map(|file| request(file)).collect::<anyhow::Result<_>>()?;
    let front = settings.client.connect().await?;
    for (file, request) in settings.files.iter().zip(requests) {
        let doing = format!("{} was not published", file.display());
        let answer = front
            .call(&doing, || {
                let (mut plans, request) = (front.plans(), request.clone());
                async move { plans.publish(request).await }
            })
            .await?;
        for warning in &answer.warnings {
            ui::print_stderr(format_args!("{}: warning: {warning}", file.display()));
        }
        for example in &answer.examples {
            ui::print_stderr(format_args!("{}: example {example}", file.display()));
        }
        let plan = stated(answer.plan, "the published plan")?;
        let what = if answer.already { "was in the catalogue already" } else { "published" };
        let PlanVersion { plan_id, version, starts, .. } = plan;
        ui::print(format_args!("plan {plan_id} version {version}, from {starts}: {what}"))?;
    }
    Ok(Finish::Done)
}

fn request(file: &Path) -> anyhow::Result<PublishRequest> {
    let xml = plans::read_xml(file)?;
    // A plan that can't be parsed here is sent without files; the front reports its errors.
    let files = match turnpike_plan::parse(&xml) {
        Ok(plan) => plans::example_files(file, &plan)?,
        Err(_) => [].into(),
    };
    let files = files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
    Ok(PublishRequest { xml, files })
}
