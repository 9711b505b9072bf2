//! Checks whether accounts may subscribe to the plans that commands name, before a command is sent
//! to its owner, so that a refused command has no effect. The owner checks again, since it knows
//! the account's settings.
//!
//! The list of published plans is refreshed for every request that names a plan, so that no request
//! is refused because of an outdated catalogue. Heads are read in increments and kept. Bodies are
//! read when a command names the plan.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::civil::Date;
use tokio::sync::Mutex;
use turnpike_plan::{
    Compiled, Plan, PublishedVersion, SubscriberSettings, SubscriptionAsked, Zone,
    check_subscription,
};
use turnpike_proto::account::v1::AccountCommand;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_store::{CatalogueHead, CatalogueKind, CatalogueStore, StoreError, StoreResult};
use turnpike_types::{Currency, Timestamp};

/// How many plan versions are kept in memory. Beyond this limit the cache is cleared.
const PLANS_KEPT_MAX: usize = 1_000;
/// How many of the last versions of a plan the front checks. The owner checks all versions.
const VERSIONS_JUDGED_MAX: usize = 64;

/// The published plans as of this front's last read.
#[derive(Debug, Default)]
pub(crate) struct PublishedPlans(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The catalogue version up to which the published plan versions were read.
    through: u64,
    /// By plan id; versions are sorted by start, then by publication.
    versions: BTreeMap<String, Vec<Head>>,
    /// By catalogue version; `None` if this program can't read the plan.
    plans: HashMap<u64, Option<Arc<Plan>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    starts: Date,
    published: u64,
    version: u32,
}

impl PublishedPlans {
    /// For each command, why the plans that it names can't be subscribed to; `None` if the front
    /// found no fault.
    ///
    /// # Errors
    /// When the catalogue can't be read.
    pub(crate) async fn faults(
        &self,
        db: &dyn CatalogueStore,
        commands: &[AccountCommand],
    ) -> StoreResult<Vec<Option<String>>> {
        let named: BTreeSet<&str> = commands.iter().flat_map(plans_of).map(|(id, ..)| id).collect();
        if named.is_empty() {
            return Ok(vec![None; commands.len()]);
        }
        let mut known = self.0.lock().await;
        known.refresh(db).await?;
        for id in named {
            known.load(db, id).await?;
        }
        let mut judge = Judge { known: &known, compiled: HashMap::new() };
        let mut opened: HashMap<u64, (Zone, Currency)> = HashMap::new();
        let mut faults = Vec::with_capacity(commands.len());
        for command in commands {
            if let Some(settings) = settings_of(command) {
                opened.insert(command.account_number, settings);
            }
            let settings = opened.get(&command.account_number);
            faults.push(judge.fault(command, settings));
        }
        Ok(faults)
    }
}

impl Known {
    async fn refresh(&mut self, db: &dyn CatalogueStore) -> StoreResult<()> {
        loop {
            let page = db.catalogue_heads(CatalogueKind::Plan, None, self.through).await?;
            if page.is_empty() {
                return Ok(());
            }
            for CatalogueHead { id, version, starts, catalogue_version, .. } in page {
                let starts = starts.parse().map_err(|_| StoreError::Corrupt {
                    doing: "read the catalogue",
                    cause: format!(
                        "plan {id} version {version} starts on {starts:?}, which is no date"
                    ),
                })?;
                let head = Head { starts, published: catalogue_version, version };
                let versions = self.versions.entry(id).or_default();
                let place = versions.partition_point(|known| *known < head);
                versions.insert(place, head);
                self.through = self.through.max(catalogue_version);
            }
        }
    }

    /// Reads the last versions of a plan that are not in memory yet.
    async fn load(&mut self, db: &dyn CatalogueStore, id: &str) -> StoreResult<()> {
        if self.plans.len() > PLANS_KEPT_MAX {
            self.plans.clear();
        }
        let versions = self.versions.get(id).map(Vec::as_slice).unwrap_or_default();
        for head in versions.iter().rev().take(VERSIONS_JUDGED_MAX) {
            if self.plans.contains_key(&head.published) {
                continue;
            }
            let entry = db.catalogue_since(head.published.saturating_sub(1), 1).await?.pop();
            let entry = entry.filter(|entry| entry.head.catalogue_version == head.published);
            let plan = entry.and_then(|entry| turnpike_plan::parse(&entry.body).ok());
            self.plans.insert(head.published, plan.map(Arc::new));
        }
        Ok(())
    }

    fn published(&self, id: &str) -> Vec<PublishedVersion<'_>> {
        let versions = self.versions.get(id).into_iter().flatten();
        let published = versions.map(|head| PublishedVersion {
            version: head.version,
            starts: head.starts,
            plan: self.plans.get(&head.published).and_then(Option::as_deref),
        });
        published.collect()
    }
}

/// Checks the commands of one request. Compiled plans are cached, because the commands of an import
/// differ mostly in the account.
struct Judge<'a> {
    known: &'a Known,
    compiled: HashMap<(String, u32, BTreeMap<String, String>), Compiled>,
}

impl Judge<'_> {
    fn fault(
        &mut self,
        command: &AccountCommand,
        settings: Option<&(Zone, Currency)>,
    ) -> Option<String> {
        let settings =
            settings.map(|(zone, currency)| SubscriberSettings { zone, currency: *currency });
        let Self { known, compiled } = self;
        let mut compile = |plan: &Plan, parameters: &BTreeMap<String, String>| {
            let key = (plan.id().to_owned(), plan.version(), parameters.clone());
            let make = || match turnpike_plan::compile(plan, parameters) {
                Ok(code) => Ok(code.posts()),
                Err(errors) => Err(errors.to_string()),
            };
            compiled.entry(key).or_insert_with(make).clone()
        };
        plans_of(command).find_map(|(plan_id, from_us, parameters)| {
            let from = Timestamp(from_us);
            let asked = SubscriptionAsked { plan_id, from, parameters, settings };
            let ids = known.versions.keys().map(String::as_str);
            let checked = check_subscription(&asked, &known.published(plan_id), ids, &mut compile);
            checked.err().map(|fault| fault.to_string())
        })
    }
}

static NO_PARAMETERS: BTreeMap<String, String> = BTreeMap::new();

/// The plans that a command subscribes its account to: id, start in microseconds, and parameters.
fn plans_of(
    command: &AccountCommand,
) -> impl Iterator<Item = (&str, i64, &BTreeMap<String, String>)> {
    let (subscribed, offered) = match &command.command {
        Some(Command::Subscribe(asked)) => (Some(asked), None),
        Some(Command::Offer(offer)) => (None, Some(offer)),
        _ => (None, None),
    };
    // A command without a plan id is refused for that reason elsewhere.
    let subscribed = subscribed.filter(|asked| !asked.plan_id.is_empty());
    let subscribed =
        subscribed.map(|asked| (asked.plan_id.as_str(), asked.from_us, &asked.parameters));
    let offered = offered.into_iter().flat_map(|offer| {
        offer.plan_ids.iter().map(|id| (id.as_str(), offer.from_us, &NO_PARAMETERS))
    });
    subscribed.into_iter().chain(offered)
}

/// The settings with which a command opens its account.
fn settings_of(command: &AccountCommand) -> Option<(Zone, Currency)> {
    let Some(Command::Open(open)) = &command.command else { return None };
    let settings = open.settings.as_ref()?;
    Some((Zone::parse(&settings.zone).ok()?, settings.currency.parse().ok()?))
}
