//! Whether accounts may subscribe to the plans that commands name: checked before a command goes to
//! its owner, so that nothing of it is done. The owner checks again; it knows the account's settings.
//!
//! What is published is read anew for every request that names a plan: nothing is refused by an old
//! catalogue. Heads are read in increments and kept; bodies are read when a command names the plan.

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
use turnpike_store::{CatalogueHead, CatalogueKind, SharedDatabase, StoreResult};
use turnpike_types::{Currency, Timestamp};

/// Plans kept in memory; past it they are read again.
const PLANS_KEPT_MAX: usize = 1_000;
/// Of one plan, so many of its last versions are judged here; its owner judges all of them.
const VERSIONS_JUDGED_MAX: usize = 64;

/// Published plans as this front read them last.
#[derive(Debug, Default)]
pub(crate) struct PublishedPlans(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Heads up to this catalogue version are known.
    through: u64,
    /// By id, ordered by start and then by publication.
    versions: BTreeMap<String, Vec<Head>>,
    /// By catalogue version; `None` where this program can't read it.
    plans: HashMap<u64, Option<Arc<Plan>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    starts: Date,
    published: u64,
    version: u32,
}

impl PublishedPlans {
    /// For each command why the plans that it names can't be subscribed to; `None` where nothing is
    /// known against it.
    ///
    /// # Errors
    /// When the catalogue can't be read.
    pub(crate) async fn faults(
        &self,
        db: &dyn SharedDatabase,
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
    async fn refresh(&mut self, db: &dyn SharedDatabase) -> StoreResult<()> {
        loop {
            let page = db.catalogue_heads(CatalogueKind::Plan, None, self.through).await?;
            if page.is_empty() {
                return Ok(());
            }
            for CatalogueHead { id, version, starts, catalogue_version, .. } in page {
                let starts = starts.parse().unwrap_or(Date::MIN);
                let head = Head { starts, published: catalogue_version, version };
                let versions = self.versions.entry(id).or_default();
                let place = versions.partition_point(|known| *known < head);
                versions.insert(place, head);
                self.through = self.through.max(catalogue_version);
            }
        }
    }

    /// Reads the last versions of a plan that are not in memory.
    async fn load(&mut self, db: &dyn SharedDatabase, id: &str) -> StoreResult<()> {
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

/// Judges the commands of one request; those of an import differ in little but the account.
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

/// The plans that a command subscribes its account to: the id, from when, and the parameters.
fn plans_of(
    command: &AccountCommand,
) -> impl Iterator<Item = (&str, i64, &BTreeMap<String, String>)> {
    let (subscribed, offered) = match &command.command {
        Some(Command::Subscribe(asked)) => (Some(asked), None),
        Some(Command::Offer(offer)) => (None, Some(offer)),
        _ => (None, None),
    };
    // A command without a plan's id is refused for that.
    let subscribed = subscribed.filter(|asked| !asked.plan_id.is_empty());
    let subscribed =
        subscribed.map(|asked| (asked.plan_id.as_str(), asked.from_us, &asked.parameters));
    let offered = offered.into_iter().flat_map(|offer| {
        offer.plan_ids.iter().map(|id| (id.as_str(), offer.from_us, &NO_PARAMETERS))
    });
    subscribed.into_iter().chain(offered)
}

/// The settings that a command opens its account with.
fn settings_of(command: &AccountCommand) -> Option<(Zone, Currency)> {
    let Some(Command::Open(open)) = &command.command else { return None };
    let settings = open.settings.as_ref()?;
    Some((Zone::parse(&settings.zone).ok()?, settings.currency.parse().ok()?))
}
