//! Plan versions, their object code for each set of parameters, and reference tables.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use turnpike_plan::{ACCOUNT_CURRENCY, ObjectCode, Plan, PlanErrors, Table, TableName, Zone};
use turnpike_types::{Currency, Timestamp};

/// The plan versions and reference tables of a trial.
#[derive(Debug, Default)]
pub struct TrialCatalogue {
    versions: Vec<Version>,
    tables: Vec<Arc<Table>>,
}

#[derive(Debug)]
struct Version {
    plan: Plan,
    /// The object code by parameter values, which include the account's currency.
    codes: HashMap<BTreeMap<String, String>, Arc<ObjectCode>>,
}

impl TrialCatalogue {
    /// A catalogue of these versions of one or more plans.
    pub fn new(plans: impl IntoIterator<Item = Plan>) -> Self {
        let versions = plans.into_iter().map(|plan| Version { plan, codes: HashMap::new() });
        Self { versions: versions.collect(), tables: Vec::new() }
    }

    /// Adds the reference tables that the plans read, in any number of versions.
    #[must_use]
    pub fn with_tables(mut self, tables: impl IntoIterator<Item = Arc<Table>>) -> Self {
        self.tables.extend(tables);
        self
    }

    /// The plans' ids without repetition, in the given order.
    pub fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = Vec::new();
        for version in &self.versions {
            if !ids.iter().any(|id| id == version.plan.id()) {
                ids.push(version.plan.id().to_owned());
            }
        }
        ids
    }

    /// All versions, in the given order.
    pub fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.versions.iter().map(|version| &version.plan)
    }

    /// The instants in a zone at which the versions of plan `id` begin, in any order.
    pub(crate) fn starts(&self, id: &str, zone: &Zone) -> impl Iterator<Item = Timestamp> {
        self.plans().filter(move |plan| plan.id() == id).map(move |plan| plan.starts_at(zone))
    }

    /// The instants in a zone at which versions of tables begin, in any order.
    pub(crate) fn table_starts(&self, zone: &Zone) -> impl Iterator<Item = Timestamp> {
        self.tables.iter().map(move |table| table.starts_at(zone))
    }

    /// The code of the version of plan `id` in force at `at`; `None` before the first version.
    pub(crate) fn code(
        &mut self,
        id: &str,
        parameters: &BTreeMap<String, String>,
        (zone, currency): (&Zone, Currency),
        at: Timestamp,
    ) -> Result<Option<Arc<ObjectCode>>, PlanErrors> {
        let started = self
            .versions
            .iter_mut()
            .filter(|version| version.plan.id() == id && version.plan.starts_at(zone) <= at);
        let newest = started.max_by_key(|v| (v.plan.starts(), v.plan.version()));
        let Some(version) = newest else { return Ok(None) };
        let mut parameters = parameters.clone();
        parameters.insert(ACCOUNT_CURRENCY.to_owned(), currency.to_string());
        if let Some(code) = version.codes.get(&parameters) {
            return Ok(Some(Arc::clone(code)));
        }
        let code = Arc::new(turnpike_plan::compile(&version.plan, &parameters)?);
        version.codes.insert(parameters, Arc::clone(&code));
        Ok(Some(code))
    }

    /// The version of a table in force at `at`; `None` if no version is in force, or if the table
    /// is of another kind than the plan expects.
    pub(crate) fn table(&self, name: &TableName, zone: &Zone, at: Timestamp) -> Option<Arc<Table>> {
        let started =
            self.tables.iter().filter(|table| table.id() == name.id && table.starts_at(zone) <= at);
        let newest = started.max_by_key(|table| (table.starts(), table.version()))?;
        (newest.kind() == name.kind).then(|| Arc::clone(newest))
    }
}
