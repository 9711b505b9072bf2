//! Accounts, their states and the plans in force, without a cluster.

use std::collections::{BTreeMap, HashMap};

use anyhow::{anyhow, bail};
use turnpike_collect::{AccountRow, Row};
use turnpike_plan::{AccountContext, AccountState, ObjectCode, PlanInForce, Rated, Rater, Zone};
use turnpike_types::{AccountNumber, Currency, SuspenseReason, Timestamp, UsageRecord, UsageView};

use crate::plans::{Loaded, compile};
use crate::values;

/// What became of a record.
pub(crate) enum Outcome<'a> {
    /// Priced; with the object codes that its lines refer to, and the account it was guided to.
    Rated {
        rated: &'a Rated,
        codes: Vec<&'a ObjectCode>,
        account: AccountNumber,
    },
    Suspended(SuspenseReason),
    /// The same record stands on this earlier line.
    Duplicate(u64),
    /// Another record with the same id stands on this earlier line.
    Conflict(u64),
}

/// Who is rated by what.
pub(crate) struct Accounts {
    /// For accounts that are not listed; `None` when only listed ones exist.
    everyone: Option<AccountContext>,
    listed: HashMap<AccountNumber, Listed>,
    identities: HashMap<String, AccountNumber>,
}

struct Listed {
    context: AccountContext,
    plans: Vec<String>,
    plan_from: Timestamp,
    parameters: BTreeMap<String, String>,
}

impl Accounts {
    pub(crate) fn all_alike(zone: Zone, cycle_day: u8, currency: Currency) -> Self {
        let attributes = BTreeMap::new();
        let everyone = Some(AccountContext { zone, cycle_day, currency, attributes });
        Self { everyone, listed: HashMap::new(), identities: HashMap::new() }
    }

    pub(crate) fn listed(rows: Vec<AccountRow>) -> anyhow::Result<Self> {
        let mut accounts =
            Self { everyone: None, listed: HashMap::new(), identities: HashMap::new() };
        for row in rows {
            for identity in row.identities {
                let bound = accounts.identities.insert(identity.clone(), row.account);
                if let Some(other) = bound.filter(|other| *other != row.account) {
                    bail!("identity {identity} is bound to accounts {other} and {}", row.account);
                }
            }
            let zone = values::plan_zone(&row.zone).map_err(|error| anyhow!(error))?;
            let listed = Listed {
                context: AccountContext {
                    zone,
                    cycle_day: row.cycle_day,
                    currency: row.currency,
                    attributes: row.attributes,
                },
                plans: row.plans,
                plan_from: row.plan_from,
                parameters: row.parameters,
            };
            if accounts.listed.insert(row.account, listed).is_some() {
                bail!("account {} stands twice in the list of accounts; drop one", row.account);
            }
        }
        Ok(accounts)
    }
}

/// Rates records in the order they come, as their accounts' owners would.
pub(crate) struct Offline {
    plans: Vec<Loaded>,
    /// Compiled with an account's overrides: place in `plans`, overrides -> place in `compiled`.
    codes: HashMap<(usize, BTreeMap<String, String>), usize>,
    compiled: Vec<ObjectCode>,
    accounts: Accounts,
    states: HashMap<AccountNumber, AccountState>,
    /// Key -> line and content, to tell a repetition from a conflict.
    seen: HashMap<(AccountNumber, String), (u64, UsageRecord)>,
    rater: Rater,
}

impl Offline {
    pub(crate) fn new(plans: Vec<Loaded>, accounts: Accounts) -> Self {
        Self {
            plans,
            codes: HashMap::new(),
            compiled: Vec::new(),
            accounts,
            states: HashMap::new(),
            seen: HashMap::new(),
            rater: Rater::new(),
        }
    }

    /// Rates one record and keeps what it changed.
    ///
    /// # Errors
    /// When an account's parameters do not fit its plan: then no bill would be right.
    pub(crate) fn rate(&mut self, row: &Row<UsageRecord>) -> anyhow::Result<Outcome<'_>> {
        let record = &row.content;
        let account = match record.account {
            AccountNumber(0) => match self.accounts.identities.get(&record.identity) {
                Some(account) => *account,
                None => return Ok(Outcome::Suspended(SuspenseReason::UnboundIdentity)),
            },
            known => known,
        };
        if let Some(earlier) = self.earlier(account, row) {
            return Ok(earlier);
        }
        let context = match self.accounts.listed.get(&account) {
            Some(listed) => listed.context.clone(),
            None => match &self.accounts.everyone {
                Some(everyone) => everyone.clone(),
                None => return Ok(Outcome::Suspended(SuspenseReason::UnknownAccount)),
            },
        };
        let in_force = match self.in_force(account, &context, record.start)? {
            Ok(in_force) => in_force,
            Err(reason) => return Ok(Outcome::Suspended(reason)),
        };
        let codes: Vec<&ObjectCode> =
            in_force.iter().filter_map(|&place| self.compiled.get(place)).collect();
        let plans: Vec<PlanInForce<'_>> =
            codes.iter().map(|&code| PlanInForce::always(code)).collect();
        let state = self.states.entry(account).or_default();
        let (measures, attributes) = borrowed(record);
        let view = view(record, account, &measures, &attributes);
        match self.rater.rate(&plans, &context, state, &view, Timestamp::MIN) {
            Ok(rated) => {
                state.apply(&rated.changes);
                Ok(Outcome::Rated { rated, codes, account })
            }
            Err(reason) => Ok(Outcome::Suspended(reason)),
        }
    }

    /// Was there a record of this key before? A record's id is unique within its account for ever.
    fn earlier(
        &mut self,
        account: AccountNumber,
        row: &Row<UsageRecord>,
    ) -> Option<Outcome<'static>> {
        let key = (account, row.content.record_id.clone());
        match self.seen.get(&key) {
            Some((line, same)) if *same == row.content => Some(Outcome::Duplicate(*line)),
            Some((line, _)) => Some(Outcome::Conflict(*line)),
            None => {
                self.seen.insert(key, (row.line, row.content.clone()));
                None
            }
        }
    }

    /// Places in `compiled` of the versions in force at `start`, the first to be asked first; or
    /// why there are none.
    fn in_force(
        &mut self,
        account: AccountNumber,
        context: &AccountContext,
        start: Timestamp,
    ) -> anyhow::Result<Result<Vec<usize>, SuspenseReason>> {
        let (ids, overrides) = match self.accounts.listed.get(&account) {
            Some(listed) if listed.plan_from > start => (Vec::new(), BTreeMap::new()),
            Some(listed) => (listed.plans.clone(), listed.parameters.clone()),
            None => {
                let mut ids: Vec<String> = Vec::new();
                for loaded in &self.plans {
                    if !ids.iter().any(|id| id == loaded.plan.id()) {
                        ids.push(loaded.plan.id().to_owned());
                    }
                }
                (ids, BTreeMap::new())
            }
        };
        let mut in_force = Vec::with_capacity(ids.len());
        for id in &ids {
            let started = self.plans.iter().enumerate().filter(|(_, loaded)| {
                loaded.plan.id() == id && loaded.plan.starts_at(&context.zone) <= start
            });
            let newest = started.max_by_key(|(_, l)| (l.plan.starts(), l.plan.version()));
            let Some((place, loaded)) = newest else {
                return Ok(Err(SuspenseReason::UnknownPlan));
            };
            let key = (place, overrides.clone());
            let code = match self.codes.get(&key) {
                Some(code) => *code,
                None => {
                    let code = compile(loaded, &overrides)
                        .map_err(|error| error.context(format!("account {account}")))?;
                    self.compiled.push(code);
                    self.codes.insert(key, self.compiled.len() - 1);
                    self.compiled.len() - 1
                }
            };
            in_force.push(code);
        }
        Ok(Ok(in_force))
    }
}

type Borrowed<'a> = (Vec<(&'a str, i64)>, Vec<(&'a str, &'a str)>);

fn borrowed(record: &UsageRecord) -> Borrowed<'_> {
    let measures = record.measures.iter().map(|(name, number)| (name.as_str(), *number));
    let attributes = record.attributes.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    (measures.collect(), attributes.collect())
}

fn view<'a>(
    record: &'a UsageRecord,
    account: AccountNumber,
    measures: &'a [(&'a str, i64)],
    attributes: &'a [(&'a str, &'a str)],
) -> UsageView<'a> {
    UsageView {
        record_id: &record.record_id,
        account,
        usage_type: &record.usage_type,
        start: record.start,
        duration_us: record.duration_us,
        quantity: record.quantity,
        measures,
        attributes,
    }
}
