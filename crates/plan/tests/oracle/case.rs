//! One random case: a plan in force, an account and its state.

use std::collections::BTreeMap;
use std::sync::Arc;

use turnpike_plan::{
    AccountContext, AccountState, Cause, ObjectCode, Plan, PlanInForce, Rated, Rater, Table,
    compile, parse,
};
use turnpike_types::{SuspenseReason, Timestamp, UsageRecord};

use super::dice::Dice;
use super::draft::{Draft, Of};
use super::scene::{a_beginning, a_record, a_state, an_account};
use super::tables_of;
use crate::support::with_view;

pub(crate) struct Case {
    pub(crate) xml: String,
    pub(crate) plan: Plan,
    pub(crate) code: ObjectCode,
    pub(crate) measure: &'static str,
    tables: Vec<Option<Arc<Table>>>,
    pub(crate) subscriber: Subscriber,
}

/// An account, the start of its subscription, and an instant near which its clock or calendar
/// changes.
#[derive(Clone)]
pub(crate) struct Subscriber {
    pub(crate) account: AccountContext,
    pub(crate) edge: i64,
    pub(crate) since: Timestamp,
    pub(crate) state: AccountState,
}

pub(crate) type Outcome = Result<Rated, SuspenseReason>;

impl Case {
    pub(crate) fn draw(of: Of, dice: &mut Dice<'_>) -> Self {
        let (measure, xml, plan) = loop {
            let draft = Draft::random(of, dice);
            let measure = draft.measure;
            let xml = draft.xml(dice);
            match parse(&xml) {
                Ok(plan) => break (measure, xml, plan),
                // Several selectors in a row may exclude every usage type; then another plan is
                // drawn.
                Err(errors) if errors.0.iter().all(|e| e.cause == Cause::NothingPasses) => {}
                Err(errors) => panic!("{errors}\n{xml}"),
            }
        };
        let code = compile(&plan, &BTreeMap::new()).unwrap();
        let subscriber = Subscriber::draw(&plan, &code, dice);
        Self { tables: tables_of(&code), xml, plan, code, measure, subscriber }
    }

    pub(crate) fn a_subscriber(&self, dice: &mut Dice<'_>) -> Subscriber {
        Subscriber::draw(&self.plan, &self.code, dice)
    }

    pub(crate) fn a_record(&self, subscriber: &Subscriber, dice: &mut Dice<'_>) -> UsageRecord {
        a_record(self.measure, subscriber.edge, dice)
    }

    /// Rates a record and applies its changes.
    pub(crate) fn rate(
        &self,
        rater: &mut Rater,
        subscriber: &mut Subscriber,
        record: &UsageRecord,
    ) -> Outcome {
        let Subscriber { account, since, state, .. } = subscriber;
        let (tables, since) = (&self.tables, *since);
        let plans = [PlanInForce { tables, since, ..PlanInForce::always(&self.code) }];
        let rated = with_view(record, |view| {
            rater.rate(&plans, account, state, view, Timestamp::MIN).cloned()
        })?;
        state.apply(&rated.changes);
        Ok(rated)
    }

    /// A description of the case for a failure message.
    pub(crate) fn told(&self, record: &UsageRecord) -> String {
        let Subscriber { account, since, .. } = &self.subscriber;
        format!("\n{} since {since:?}\n{}\n{record:?}", account.zone.name(), self.xml)
    }
}

impl Subscriber {
    fn draw(plan: &Plan, code: &ObjectCode, dice: &mut Dice<'_>) -> Self {
        let (account, edge) = an_account(dice);
        let since = a_beginning(edge, dice);
        let state = a_state(plan, code, &account, (edge, since), dice);
        Self { account, edge, since, state }
    }
}
