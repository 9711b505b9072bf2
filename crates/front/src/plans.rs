//! The catalogue of price plans: what can't be right never gets in (DESIGN section 7).

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::{self, TimeZone};
use moka::sync::Cache;
use tonic::{Request, Response, Status};
use turnpike_proto::plan::v1::plan_service_server::PlanService;
use turnpike_proto::plan::v1::{
    GetRequest, GetResponse, ListRequest, ListResponse, PlanVersion, PublishRequest,
    PublishResponse,
};
use turnpike_store::{CatalogueEntry, PublishOutcome, PublishPlan, StoreResult};
use turnpike_types::Timestamp;
use turnpike_types::limits::PLAN_XML_BYTES_MAX;

use crate::FrontError;
use crate::core::Core;

/// Currencies remembered by content hash, so that a listing parses each plan once.
const CURRENCIES_MAX: u64 = 10_000;

/// The gRPC service.
pub struct Plans {
    core: Arc<Core>,
    currencies: Cache<[u8; 32], String>,
}

impl Plans {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, currencies: Cache::new(CURRENCIES_MAX) }
    }

    async fn publish_xml(&self, xml: String) -> Result<PublishResponse, FrontError> {
        self.core.enter()?;
        if xml.len() > PLAN_XML_BYTES_MAX {
            let bytes = xml.len();
            return Err(FrontError::Invalid(format!(
                "the plan has {bytes} bytes of XML; at most {PLAN_XML_BYTES_MAX} are taken"
            )));
        }
        let plan =
            turnpike_plan::parse(&xml).map_err(|errors| FrontError::Invalid(errors.to_string()))?;
        let publish = PublishPlan {
            plan_id: plan.id().to_owned(),
            version: plan.version(),
            starts: plan.starts().to_string(),
            supersedes: plan.supersedes(),
            content_hash: plan.content_hash(),
            xml,
        };
        self.check_start(&publish, plan.starts()).await?;
        let outcome = self.core.db.publish_plan(&publish).await?;
        let (catalogue_version, already) = place(&publish, outcome)?;
        let known = self.core.db.catalogue_since(catalogue_version.saturating_sub(1)).await?;
        let entry = known.iter().find(|entry| entry.catalogue_version == catalogue_version);
        let published = PlanVersion {
            plan_id: publish.plan_id,
            version: publish.version,
            starts: publish.starts,
            currency: plan.currency().to_string(),
            content_hash: hexadecimal(&publish.content_hash),
            catalogue_version,
            published_at_us: entry.map_or(0, |entry| entry.published_at.0),
        };
        tracing::info!(
            plan = published.plan_id,
            version = published.version,
            already,
            "price plan published"
        );
        Ok(PublishResponse {
            plan: Some(published),
            already,
            warnings: plan.warnings().iter().map(ToString::to_string).collect(),
        })
    }

    /// Refuses a further version whose start has begun: records were rated by another one since
    /// then, and only re-rating could take that back (P36).
    async fn check_start(&self, publish: &PublishPlan, starts: Date) -> Result<(), FrontError> {
        let known = self.entries(&publish.plan_id).await?;
        // The first version rates what waited for it in suspense. One that is there already is the
        // catalogue's to judge.
        if known.is_empty() || known.iter().any(|entry| entry.version == publish.version) {
            return Ok(());
        }
        let now = self.core.db.observe().await?.now;
        match earliest_start(now) {
            Some(earliest) if starts < earliest => {
                Err(FrontError::Conflict(backdated(publish, starts, earliest, &known)))
            }
            _ => Ok(()),
        }
    }

    async fn entries(&self, plan_id: &str) -> StoreResult<Vec<CatalogueEntry>> {
        let mut entries = self.core.db.catalogue_since(0).await?;
        entries.retain(|entry| plan_id.is_empty() || entry.plan_id == plan_id);
        entries.sort_by(|a, b| (&a.plan_id, a.version).cmp(&(&b.plan_id, b.version)));
        Ok(entries)
    }

    fn show(&self, entry: &CatalogueEntry) -> PlanVersion {
        let currency = self.currencies.get_with(entry.content_hash, || {
            // A plan that only a newer program can read is listed without its currency.
            turnpike_plan::parse(&entry.xml)
                .map(|plan| plan.currency().to_string())
                .unwrap_or_default()
        });
        PlanVersion {
            plan_id: entry.plan_id.clone(),
            version: entry.version,
            starts: entry.starts.clone(),
            currency,
            content_hash: hexadecimal(&entry.content_hash),
            catalogue_version: entry.catalogue_version,
            published_at_us: entry.published_at.0,
        }
    }
}

/// The catalogue version of a publication, and whether it was there already.
fn place(plan: &PublishPlan, outcome: PublishOutcome) -> Result<(u64, bool), FrontError> {
    let PublishPlan { plan_id, version, starts, .. } = plan;
    match outcome {
        PublishOutcome::Published(catalogue_version) => Ok((catalogue_version, false)),
        PublishOutcome::Already(catalogue_version) => Ok((catalogue_version, true)),
        PublishOutcome::Immutable => Err(FrontError::Conflict(format!(
            "plan {plan_id} version {version} is in the catalogue with other content, and versions \
             are immutable: publish this under the next version number"
        ))),
        PublishOutcome::SameStart(other) => Err(FrontError::Occupied(format!(
            "plan {plan_id} version {other} starts on {starts} too: give version {version} another \
             start, or say supersedes=\"{other}\" if it is to replace that one"
        ))),
    }
}

/// Where a date begins first: UTC+14.
const EASTERNMOST_HOURS: i8 = 14;

/// The first date that has begun nowhere on earth at `now`; `None` at the ends of the calendar.
fn earliest_start(now: Timestamp) -> Option<Date> {
    let now = jiff::Timestamp::from_microsecond(now.micros()).ok()?;
    let easternmost = TimeZone::fixed(tz::offset(EASTERNMOST_HOURS));
    now.to_zoned(easternmost).date().tomorrow().ok()
}

/// Why a further version of a plan can't start then, and when it could.
fn backdated(
    publish: &PublishPlan,
    starts: Date,
    earliest: Date,
    known: &[CatalogueEntry],
) -> String {
    let PublishPlan { plan_id, version, .. } = publish;
    let start_of = |entry: &CatalogueEntry| entry.starts.parse::<Date>().ok();
    let in_force = known
        .iter()
        .filter(|entry| start_of(entry).is_some_and(|start| start <= starts))
        .max_by_key(|entry| (start_of(entry), entry.catalogue_version));
    let why = match in_force {
        Some(entry) => {
            format!("records from then on were rated by version {} already", entry.version)
        }
        None => "the plan has other versions already, and records may have been rated".to_owned(),
    };
    format!(
        "plan {plan_id} version {version}: its start {starts} is in the past, at UTC+14 if not \
         everywhere; {why}. Choose a start of {earliest} or later, or wait for re-rating"
    )
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tonic::async_trait]
impl PlanService for Plans {
    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        Ok(Response::new(self.publish_xml(request.into_inner().xml).await?))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let entries = self.entries(&request.into_inner().plan_id).await;
        let entries = entries.map_err(FrontError::from)?;
        let plans = entries.iter().map(|entry| self.show(entry)).collect();
        Ok(Response::new(ListResponse { plans }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let GetRequest { plan_id, version } = request.into_inner();
        if plan_id.is_empty() {
            return Err(FrontError::Invalid("which plan? give plan_id".to_owned()).into());
        }
        let entries = self.entries(&plan_id).await.map_err(FrontError::from)?;
        let found = match version {
            0 => entries.last(),
            _ => entries.iter().find(|entry| entry.version == version),
        };
        let Some(entry) = found else {
            let why = match (version, entries.is_empty()) {
                (_, true) => {
                    format!("no plan {plan_id} in the catalogue: list shows what there is")
                }
                (_, false) => format!("plan {plan_id} has no version {version}"),
            };
            return Err(FrontError::NotFound(why).into());
        };
        let response = GetResponse { plan: Some(self.show(entry)), xml: entry.xml.clone() };
        Ok(Response::new(response))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn p36_a_date_may_be_chosen_until_it_begins_in_the_easternmost_zone() {
        let earliest = |now: &str| {
            let now: jiff::Timestamp = now.parse().unwrap();
            earliest_start(Timestamp(now.as_microsecond()))
        };
        assert_eq!(earliest("2026-01-31T09:59:59.999999Z"), Some(date(2026, 2, 1)));
        assert_eq!(earliest("2026-01-31T10:00:00Z"), Some(date(2026, 2, 2)));
        assert_eq!(earliest_start(Timestamp::MAX), None);
    }
}
