//! Runs a plan's own examples before the plan is published. A plan whose results differ from its
//! examples is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use turnpike_plan::{Plan, Table};
use turnpike_trial::{ExampleReport, ExamplesReport, Inputs, run_examples};

use crate::FrontError;
use crate::services::catalogue::checks::CheckPermit;
use crate::services::catalogue::versions::message;

/// The time limit for the examples of one plan. They usually take milliseconds.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Runs the examples and returns one line of text for each. Fails when an example gives another result.
pub(crate) async fn run(
    plan: Plan,
    files: BTreeMap<String, Bytes>,
    tables: Vec<Arc<Table>>,
    permit: CheckPermit,
) -> Result<Vec<String>, FrontError> {
    if plan.examples().is_empty() {
        return Ok(Vec::new());
    }
    let name = format!("plan {} version {}", plan.id(), plan.version());
    // Dropped when this call ends for any reason, so that an abandoned run stops.
    let stop = StopOnDrop::default();
    let stopped = Arc::clone(&stop.0);
    let running = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let file = |name: &str| files.get(name).map(|bytes| bytes.to_vec());
        let stop = || stopped.load(Ordering::Relaxed);
        run_examples(&plan, &Inputs::new(&file).with_tables(&tables).stopping_when(&stop))
    });
    match tokio::time::timeout(TIME_MAX, running).await {
        Ok(Ok(report)) => judge(&name, &report),
        Ok(Err(error)) => {
            Err(FrontError::Invalid(format!("{name}: its examples could not be run: {error}")))
        }
        Err(_) => Err(FrontError::Invalid(format!(
            "{name}: its examples take longer than {TIME_MAX:?}; give them less usage"
        ))),
    }
}

#[derive(Default)]
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn judge(name: &str, report: &ExamplesReport) -> Result<Vec<String>, FrontError> {
    if report.passed() {
        return Ok(report.examples.iter().map(ToString::to_string).collect());
    }
    let differences = |example: &ExampleReport| -> Vec<String> {
        let name = &example.name;
        example.differences.iter().map(|difference| format!("{name}: {difference}")).collect()
    };
    let differences: Vec<String> = report.examples.iter().flat_map(differences).collect();
    Err(FrontError::Invalid(format!(
        "{name} gives other results than its own examples; correct the plan or the examples\n{}",
        message(&differences)
    )))
}
