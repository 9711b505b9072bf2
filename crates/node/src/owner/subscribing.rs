//! Checks the plans of a subscription or an offer. The owner checks them when the command commits,
//! since a front's catalogue may be older than the owner's.

use std::collections::BTreeMap;

use turnpike_plan::{SubscriberSettings, SubscriptionAsked, Zone, check_subscription};
use turnpike_segment::head::{Change, Settings};
use turnpike_types::{AccountNumber, Timestamp};

use super::Owner;

impl Owner {
    /// Why the plans of a change can't rate the account, by this owner's catalogue.
    pub(super) fn plan_fault(&self, account: AccountNumber, change: &Change) -> Option<String> {
        let nothing = BTreeMap::new();
        match change {
            Change::Subscribed(asked) => {
                let plan = (asked.plan_id.as_str(), &asked.parameters);
                self.check_plan(account, plan, asked.from_us)
            }
            Change::Offered(offer) => {
                let mut plans = offer.plans.iter();
                plans.find_map(|plan| self.check_plan(account, (plan, &nothing), offer.from_us))
            }
            _ => None,
        }
    }

    fn check_plan(
        &self,
        account: AccountNumber,
        (plan_id, parameters): (&str, &BTreeMap<String, String>),
        from_us: i64,
    ) -> Option<String> {
        let catalogue = self.tariffs.catalogue();
        let from = Timestamp(from_us);
        let settings = self.settings_at(account, from);
        let zone = settings.and_then(|settings| Zone::parse(&settings.zone).ok());
        let currency = settings.and_then(|settings| settings.currency.parse().ok());
        let settings = zone.as_ref().zip(currency);
        let settings = settings.map(|(zone, currency)| SubscriberSettings { zone, currency });
        let asked = SubscriptionAsked { plan_id, from, parameters, settings };
        let versions = catalogue.published(plan_id);
        let mut compile = |plan: &turnpike_plan::Plan, parameters: &BTreeMap<String, String>| {
            let compiled = self.shared.codes.compiled(plan, parameters);
            compiled.map(|code| code.posts()).map_err(|why| why.to_string())
        };
        let checked = check_subscription(&asked, &versions, catalogue.plan_ids(), &mut compile);
        checked.err().map(|fault| fault.to_string())
    }

    fn settings_at(&self, account: AccountNumber, at: Timestamp) -> Option<&Settings> {
        let known = self.state.account(account)?;
        self.state.profiles().get(known.profile)?.settings_at(at)
    }
}
