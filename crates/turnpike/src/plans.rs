//! Price plans from files, and their faults with the file's name in front.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::anyhow;
use turnpike_plan::{ObjectCode, Plan, PlanErrors};

use crate::commands::plan::read_xml;

/// The plan of the seed's Fig. 6B: connect time with free hours, peak and off-peak steps.
pub(crate) const FIG6B: &str = include_str!("../plans/fig6b.xml");
/// Octets in tiers.
pub(crate) const OCTETS: &str = include_str!("../plans/octets.xml");

/// A plan that was read, checked and compiled.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) plan: Plan,
    pub(crate) warnings: Vec<String>,
    /// Its id, version, start and content, for people.
    pub(crate) title: String,
}

/// Reads and checks the plan in `file`.
pub(crate) fn load(file: &Path) -> anyhow::Result<Loaded> {
    let xml = read_xml(file)?;
    let plan = turnpike_plan::parse(&xml).map_err(|errors| refused(file, &errors))?;
    let name = file.display();
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

/// Compiles a plan with a subscription's overrides.
pub(crate) fn compile(
    loaded: &Loaded,
    overrides: &BTreeMap<String, String>,
) -> anyhow::Result<ObjectCode> {
    turnpike_plan::compile(&loaded.plan, overrides)
        .map_err(|errors| anyhow!("plan {}: {errors}", loaded.plan.id()))
}

/// One fault a line, each with the file in front, so that editors find the place.
fn refused(file: &Path, errors: &PlanErrors) -> anyhow::Error {
    let faults: Vec<String> =
        errors.0.iter().map(|error| format!("{}: {error}", file.display())).collect();
    anyhow!("{}", faults.join("\n"))
}
