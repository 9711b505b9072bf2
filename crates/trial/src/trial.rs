//! The trial itself: records in, in their order; charges out.
//!
//! Every way to charge ends in [`Trial::keep`], where state and balances change. What is to come
//! has its place: charges that fall due without usage are swept per account to an instant and kept
//! like a record's; alternatives rate to lines that no balance counts; a line that is posted to a
//! second account goes to that one's balance ([`Charge::account`](crate::Charge)).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use turnpike_plan::{AccountContext, AccountState, ObjectCode, PlanInForce, Rater};
use turnpike_types::{
    AccountNumber, Currency, Money, SuspenseReason, Timestamp, UsageRecord, UsageView,
};

use crate::{Accounts, Catalogue, Charges, Outcome, TrialError};

/// Records that one trial remembers, to tell a repetition from a conflict.
pub const RECORDS_MAX: usize = 100_000_000;

/// Accounts, their state and their plans, in memory.
#[derive(Debug)]
pub struct Trial {
    catalogue: Catalogue,
    accounts: Accounts,
    states: HashMap<AccountNumber, AccountState>,
    /// `None` where a sum has more than 38 digits.
    balances: BTreeMap<(AccountNumber, Currency), Option<Money>>,
    /// Key -> where it came from, and its content.
    seen: HashMap<(AccountNumber, String), (u64, Content)>,
    rater: Rater,
    /// What rates the record at hand.
    codes: Vec<Arc<ObjectCode>>,
}

/// A hash of a record's content.
type Content = [u8; 16];

impl Trial {
    /// A trial in which nothing happened yet.
    pub fn new(catalogue: Catalogue, accounts: Accounts) -> Self {
        Self {
            catalogue,
            accounts,
            states: HashMap::new(),
            balances: BTreeMap::new(),
            seen: HashMap::new(),
            rater: Rater::new(),
            codes: Vec::new(),
        }
    }

    /// Lets an account begin where another state left off: what would happen if.
    pub fn begin_with(&mut self, account: AccountNumber, state: AccountState) {
        self.states.insert(account, state);
    }

    /// An account's accumulators and marks; `None` while nothing was rated.
    pub fn state(&self, account: AccountNumber) -> Option<&AccountState> {
        self.states.get(&account)
    }

    /// The sum of what was posted to an account, by currency; `None` past 38 digits.
    pub fn balance(
        &self,
        account: AccountNumber,
    ) -> impl Iterator<Item = (Currency, Option<Money>)> + '_ {
        let known = self.balances.iter().filter(move |((whose, _), _)| *whose == account);
        known.map(|((_, currency), sum)| (*currency, *sum))
    }

    /// The plan versions.
    pub const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Gives the plan versions back, compiled as they are, for another trial.
    pub fn into_catalogue(self) -> Catalogue {
        self.catalogue
    }

    /// Rates one record and keeps what it changed. `place` is where the record comes from, such as
    /// its line in a file: an outcome names it when the record comes again.
    ///
    /// # Errors
    /// When an account's parameters do not fit its plan, or after [`RECORDS_MAX`] records.
    pub fn rate(&mut self, record: &UsageRecord, place: u64) -> Result<Outcome<'_>, TrialError> {
        let Some(number) = self.guide(record) else {
            return Ok(Outcome::Suspended(SuspenseReason::UnboundIdentity));
        };
        if let Some(earlier) = self.earlier(number, record, place)? {
            return Ok(earlier);
        }
        let resolved =
            resolve(&self.accounts, &mut self.catalogue, &mut self.codes, (number, record.start))?;
        let settings = match resolved {
            Ok(settings) => settings,
            Err(reason) => return Ok(Outcome::Suspended(reason)),
        };
        let plans: Vec<_> = self.codes.iter().map(|code| PlanInForce::always(code)).collect();
        let state = self.states.entry(number).or_default();
        let (measures, attributes) = borrowed(record);
        let view = view(record, number, &measures, &attributes);
        let rated = match self.rater.rate(&plans, settings, state, &view, Timestamp::MIN) {
            Ok(rated) => rated,
            Err(reason) => return Ok(Outcome::Suspended(reason)),
        };
        let charges = Charges { account: number, codes: &self.codes, rated };
        keep(&charges, state, &mut self.balances);
        Ok(Outcome::Rated(charges))
    }

    fn guide(&self, record: &UsageRecord) -> Option<AccountNumber> {
        match record.account {
            AccountNumber(0) => self.accounts.guide(&record.identity),
            known => Some(known),
        }
    }

    /// Was there a record of this key before? A record's id is unique within its account for ever.
    fn earlier(
        &mut self,
        number: AccountNumber,
        record: &UsageRecord,
        place: u64,
    ) -> Result<Option<Outcome<'static>>, TrialError> {
        let content = content(record);
        let key = (number, record.record_id.clone());
        match self.seen.get(&key) {
            Some((place, same)) if *same == content => Ok(Some(Outcome::Duplicate(*place))),
            Some((place, _)) => Ok(Some(Outcome::Conflict(*place))),
            None if self.seen.len() >= RECORDS_MAX => {
                Err(TrialError::TooManyRecords { max: RECORDS_MAX })
            }
            None => {
                self.seen.insert(key, (place, content));
                Ok(None)
            }
        }
    }
}

/// The settings in force, with the codes in force in `codes`, the first to be asked first; or why
/// there are none.
fn resolve<'a>(
    accounts: &'a Accounts,
    catalogue: &mut Catalogue,
    codes: &mut Vec<Arc<ObjectCode>>,
    (number, at): (AccountNumber, Timestamp),
) -> Result<Result<&'a AccountContext, SuspenseReason>, TrialError> {
    codes.clear();
    let Some(account) = accounts.get(number) else {
        return Ok(Err(SuspenseReason::UnknownAccount));
    };
    let settings = account.settings_at(at);
    for subscription in account.subscriptions_at(at) {
        let (plan, parameters) = (&subscription.plan, &subscription.parameters);
        let code = catalogue.code(plan, parameters, &settings.zone, at).map_err(|errors| {
            TrialError::Parameters { account: number, plan: plan.clone(), errors }
        })?;
        match code {
            Some(code) => codes.push(code),
            None => return Ok(Err(SuspenseReason::UnknownPlan)),
        }
    }
    Ok(if codes.is_empty() { Err(SuspenseReason::NoPlan) } else { Ok(settings) })
}

/// Keeps what was charged: the account's state, and every line in the balance that it is posted to.
fn keep(
    charges: &Charges<'_>,
    state: &mut AccountState,
    balances: &mut BTreeMap<(AccountNumber, Currency), Option<Money>>,
) {
    state.apply(&charges.rated().changes);
    for charge in charges.iter() {
        let key = (charge.account, charge.code.currency());
        let sum = balances.entry(key).or_insert(Some(Money::ZERO));
        *sum = sum.and_then(|sum| sum.checked_add(charge.line.amount));
    }
}

/// Equal for equal records alone: numbers of a fixed length first, each text behind its length.
fn content(record: &UsageRecord) -> Content {
    let mut hasher = blake3::Hasher::new();
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let numbers = [
        record.start.micros(),
        record.duration_us,
        i64::from(record.quantity.is_some()),
        record.quantity.unwrap_or(0),
        count(record.attributes.len()),
        count(record.measures.len()),
    ];
    for number in numbers.iter().chain(record.measures.values()) {
        hasher.update(&number.to_le_bytes());
    }
    let attributes = record.attributes.iter().flat_map(|(name, value)| [name, value]);
    let fixed = [&record.identity, &record.usage_type];
    for text in fixed.into_iter().chain(attributes).chain(record.measures.keys()) {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    let mut content = Content::default();
    content.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    content
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
