//! Compiled plans, for each set of parameters.

use std::collections::BTreeMap;
use std::sync::Arc;

use moka::sync::Cache;
use turnpike_plan::{ACCOUNT_CURRENCY, ObjectCode, Plan};

use crate::notice::{Notice, Tell};
use crate::settings::{Settings, Subscription};

/// Key of a compiled plan: plan id, version, and the subscription's overrides of parameters.
type CodeKey = (String, u32, BTreeMap<String, String>);

/// A compiled plan, or why the parameters do not fit it.
pub type Compilation = Result<Arc<ObjectCode>, Arc<str>>;

/// Compiled plans. Clones share them. A plan is compiled on a miss.
#[derive(Clone, Debug)]
pub struct CodeCache {
    codes: Cache<CodeKey, Compilation>,
    tell: Tell,
}

impl CodeCache {
    /// A cache of at most `codes_max` compiled plans. `tell` takes what goes wrong in resolving
    /// tariffs from them.
    pub fn new(codes_max: u64, tell: Tell) -> Self {
        Self { codes: Cache::new(codes_max), tell }
    }

    pub(crate) const fn tell(&self) -> &Tell {
        &self.tell
    }

    /// The compiled `plan` with `overrides`. `None` when the overrides of an existing subscription
    /// do not fit the plan; this is told once ([`Notice::Unfit`]).
    pub fn code(
        &self,
        plan: &Plan,
        overrides: &BTreeMap<String, String>,
    ) -> Option<Arc<ObjectCode>> {
        let (id, version) = (plan.id(), plan.version());
        let tell = |errors: &str| self.tell.tell(&Notice::Unfit { plan: id, version, errors });
        self.compiled_with(plan, overrides, &tell).ok()
    }

    /// Like [`CodeCache::code`], but returns why the overrides do not fit the plan, one fault per
    /// line.
    ///
    /// # Errors
    /// The overrides do not fit the plan.
    pub fn compiled(&self, plan: &Plan, overrides: &BTreeMap<String, String>) -> Compilation {
        self.compiled_with(plan, overrides, &|_| ())
    }

    fn compiled_with(
        &self,
        plan: &Plan,
        overrides: &BTreeMap<String, String>,
        tell: &dyn Fn(&str),
    ) -> Compilation {
        let key = (plan.id().to_owned(), plan.version(), overrides.clone());
        self.codes.get_with(key, || match turnpike_plan::compile(plan, overrides) {
            Ok(code) => Ok(Arc::new(code)),
            Err(errors) => {
                let errors = errors.to_string();
                tell(&errors);
                Err(errors.into())
            }
        })
    }
}

/// The subscription's parameters. For plans that convert to the account's currency, that currency
/// is added.
pub fn parameters_of(
    plan: &Plan,
    settings: Option<&Settings>,
    subscription: &Subscription,
) -> BTreeMap<String, String> {
    let mut parameters = subscription.parameters.clone();
    if let Some(settings) = settings.filter(|_| plan.converts_to_account()) {
        parameters.insert(ACCOUNT_CURRENCY.to_owned(), settings.currency.clone());
    }
    parameters
}
