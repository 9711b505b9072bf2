//! Plan versions, and their object code for the parameters that accounts have.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use turnpike_plan::{ObjectCode, Plan, PlanErrors, Zone};
use turnpike_types::Timestamp;

/// The plan versions of a trial.
#[derive(Debug, Default)]
pub struct Catalogue {
    versions: Vec<Version>,
}

#[derive(Debug)]
struct Version {
    plan: Plan,
    codes: HashMap<BTreeMap<String, String>, Arc<ObjectCode>>,
}

impl Catalogue {
    /// A catalogue of these versions, of one plan or several.
    pub fn new(plans: impl IntoIterator<Item = Plan>) -> Self {
        let versions = plans.into_iter().map(|plan| Version { plan, codes: HashMap::new() });
        Self { versions: versions.collect() }
    }

    /// The plans' ids, each once, in the order they were given.
    pub fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for version in &self.versions {
            if !ids.iter().any(|id| id == version.plan.id()) {
                ids.push(version.plan.id().to_owned());
            }
        }
        ids
    }

    /// All versions, in the order they were given.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.versions.iter().map(|version| &version.plan)
    }

    /// The code of the version of plan `id` that is in force at `at`; `None` before its first.
    pub(crate) fn code(
        &mut self,
        id: &str,
        parameters: &BTreeMap<String, String>,
        zone: &Zone,
        at: Timestamp,
    ) -> Result<Option<Arc<ObjectCode>>, PlanErrors> {
        let started = self
            .versions
            .iter_mut()
            .filter(|version| version.plan.id() == id && version.plan.starts_at(zone) <= at);
        let newest = started.max_by_key(|v| (v.plan.starts(), v.plan.version()));
        let Some(version) = newest else { return Ok(None) };
        if let Some(code) = version.codes.get(parameters) {
            return Ok(Some(Arc::clone(code)));
        }
        let code = Arc::new(turnpike_plan::compile(&version.plan, parameters)?);
        version.codes.insert(parameters.clone(), Arc::clone(&code));
        Ok(Some(code))
    }
}
