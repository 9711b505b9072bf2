//! Reads price plans from files; errors are prefixed with the file name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use turnpike_plan::{ExampleBody, Plan, PlanErrors};
use turnpike_types::limits::{EXAMPLES_BYTES_MAX, PLAN_XML_BYTES_MAX};

use crate::usage_file;

/// The plan of Fig. 6B (docs/plan-semantics.md section 9): connect time with free hours, peak and
/// off-peak steps.
pub(crate) const FIG6B: &str = include_str!("../plans/fig6b.xml");
/// A plan that prices octets in tiers.
pub(crate) const OCTETS: &str = include_str!("../plans/octets.xml");

/// A checked and compiled plan.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) plan: Plan,
    pub(crate) warnings: Vec<String>,
    /// The plan's id, version, start and content hash, as text.
    pub(crate) title: String,
}

/// Reads the XML of a plan from a file, also if the file is compressed or in UTF-16.
pub(crate) fn read_xml(file: &Path) -> anyhow::Result<String> {
    let opened = usage_file::open(file)?;
    Ok(turnpike_collect::read_text(&file.display().to_string(), opened, PLAN_XML_BYTES_MAX)?)
}

/// Reads and checks the plan in `file`.
pub(crate) fn load(file: &Path) -> anyhow::Result<Loaded> {
    parse(&file.display().to_string(), &read_xml(file)?)
}

/// Checks a plan; messages refer to it as `name`.
pub(crate) fn parse(name: &str, xml: &str) -> anyhow::Result<Loaded> {
    let plan = turnpike_plan::parse(xml).map_err(|errors| refused(name, &errors))?;
    let warnings =
        plan.warnings().iter().map(|warning| format!("{name}: warning: {warning}")).collect();
    let hash: String =
        plan.content_hash().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let title = format!(
        "plan {} version {}, from {}, {}, content {hash}: it can be published",
        plan.id(),
        plan.version(),
        plan.starts(),
        plan.currency()
    );
    Ok(Loaded { plan, warnings, title })
}

/// Reads the file `name` (without a directory) of an example, from the directory of the plan.
/// `None` if the file can't be read; a file over the limit is cut, and the caller refuses it.
pub(crate) fn example_file(plan_file: &Path, name: &str) -> Option<Vec<u8>> {
    let file = File::open(plan_file.with_file_name(name)).ok()?;
    let mut bytes = Vec::new();
    // Reads up to one byte more than the limit of all files together, so that an excess is
    // detected.
    let bytes_max = EXAMPLES_BYTES_MAX as u64 + 1;
    file.take(bytes_max).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The files of a plan's examples, by name.
pub(crate) fn example_files(
    plan_file: &Path,
    plan: &Plan,
) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for example in plan.examples() {
        let ExampleBody::Files { usage, expect } = &example.body else { continue };
        for name in [usage, expect] {
            let bytes = example_file(plan_file, name).with_context(|| {
                let (plan, line) = (plan_file.display(), example.line);
                format!("{plan}: line {line}: {name} can't be read; put it into the directory of the plan")
            })?;
            files.insert(name.clone(), bytes);
        }
    }
    Ok(files)
}

/// One error per line, each prefixed with the file, so that editors can jump to it.
fn refused(name: &str, errors: &PlanErrors) -> anyhow::Error {
    let faults: Vec<String> = errors.0.iter().map(|error| format!("{name}: {error}")).collect();
    anyhow!("{}", faults.join("\n"))
}
