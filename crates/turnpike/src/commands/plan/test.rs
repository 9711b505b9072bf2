//! `turnpike plan test`: runs the examples of plans.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use turnpike_trial::{ExampleReport, Inputs, run_examples};

use crate::exit::{EXIT_CODES, Finish};
use crate::{plans, tables, ui};

const EXAMPLES: &str = "\
The exit code is 1 if an example fails or a plan is invalid. For a failed example, each record and
component with an unexpected charge is shown.

Examples:
  turnpike plan test plan.xml
  turnpike plan test plans/*.xml --json
  turnpike plan test calls.xml --table world-dial.csv";

/// Options of `plan test`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct TestArgs {
    /// Plans in XML; files that their examples name are in the same directory
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// A reference table that the plans read; repeat for several, or for versions of one
    #[arg(long = "table", value_name = "FILE")]
    tables: Vec<PathBuf>,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// The result of one file.
#[derive(Serialize)]
struct Tested {
    file: String,
    plan: String,
    version: u32,
    examples: Vec<ExampleReport>,
}

pub(super) fn run(args: &TestArgs) -> anyhow::Result<Finish> {
    let tables = args.tables.iter().map(|file| tables::load(file).map(Arc::new));
    let tables: Vec<_> = tables.collect::<Result<_, _>>()?;
    let (mut tested, mut unread) = (Vec::new(), 0);
    for file in &args.files {
        match plans::load(file) {
            Ok(loaded) => {
                loaded.warnings.iter().for_each(ui::print_stderr);
                let plan = &loaded.plan;
                let beside = |name: &str| plans::example_file(file, name);
                tested.push(Tested {
                    file: file.display().to_string(),
                    plan: plan.id().to_owned(),
                    version: plan.version(),
                    examples: run_examples(plan, &Inputs::new(&beside).with_tables(&tables))
                        .examples,
                });
            }
            Err(error) => {
                unread += 1;
                ui::print_stderr(format_args!("{error:#}"));
            }
        }
    }
    let failed = tested.iter().flat_map(|t| &t.examples).filter(|e| !e.passed()).count();
    let examples: usize = tested.iter().map(|tested| tested.examples.len()).sum();
    if args.json {
        ui::print_json(&tested)?;
    } else {
        tested.iter().try_for_each(print)?;
    }
    match (failed, unread) {
        (0, 0) => Ok(Finish::Done),
        (_, 0) => bail!("{failed} of {examples} examples failed"),
        (0, _) => bail!("{unread} of {} plans are invalid", args.files.len()),
        _ => bail!(
            "{failed} of {examples} examples failed, and {unread} of {} plans are invalid",
            args.files.len()
        ),
    }
}

fn print(tested: &Tested) -> std::io::Result<()> {
    let file = &tested.file;
    if tested.examples.is_empty() {
        return ui::print(format_args!(
            "{file}: no examples; an <example> in the plan states usage and its expected charges"
        ));
    }
    tested.examples.iter().try_for_each(|example| ui::print(format_args!("{file}: {example}")))
}
