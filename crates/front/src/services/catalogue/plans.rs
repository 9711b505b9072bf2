//! The publication of price plans. The catalogue never holds a plan that failed the checks
//! (docs/architecture.md section 7).

use std::sync::Arc;

use jiff::civil::Date;
use tonic::{Request, Response, Status};
use turnpike_access::Actor;
use turnpike_plan::{Plan, SubscriberLoss};
use turnpike_proto::plan::v1::plan_service_server::PlanService;
use turnpike_proto::plan::v1::{
    GetRequest, GetResponse, GetTableRequest, GetTableResponse, ListRequest, ListResponse,
    ListTablesRequest, ListTablesResponse, PlanVersion, PublishRequest, PublishResponse,
    PublishTableRequest, PublishTableResponse,
};
use turnpike_store::{CatalogueHead, CatalogueKind, Publish, StoreError};
use turnpike_types::limits::{EXAMPLES_BYTES_MAX, PLAN_XML_BYTES_MAX};

use crate::FrontError;
use crate::core::Core;
use crate::services::catalogue::checks::Checks;
use crate::services::catalogue::examples;
use crate::services::catalogue::tables;
use crate::services::catalogue::versions::{self, Published, hexadecimal, message};

/// The gRPC service `PlanService`.
pub struct Plans {
    core: Arc<Core>,
    checks: Checks,
}

impl Plans {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, checks: Checks::default() }
    }

    async fn publish_xml(
        &self,
        actor: &Actor,
        request: PublishRequest,
    ) -> Result<PublishResponse, FrontError> {
        self.core.enter()?;
        check_sizes(&request)?;
        let PublishRequest { xml, files } = request;
        let plan = self.accepted(&xml).await?;
        let publish = to_publish(&plan, xml);
        let mut warnings: Vec<String> = plan.warnings().iter().map(ToString::to_string).collect();
        warnings.extend(tables::missing_tables(&self.core, &plan).await?);
        // A plan in the catalogue has passed its examples. A repeated publication need not send the
        // files of the examples.
        let examples = if self.is_there(&publish).await? {
            Vec::new()
        } else {
            warnings.extend(self.losses(&plan).await?);
            let permit = self.checks.next().await?;
            let tables = tables::tables_of(&self.core, &plan, &permit).await?;
            examples::run(plan, files, tables, permit).await?
        };
        let Published { head, already } = versions::publish(&self.core, actor, publish).await?;
        Ok(PublishResponse { plan: Some(show(head)), already, warnings, examples })
    }

    /// The plan, if it may be published, or if it was published under older rules that accepted it.
    async fn accepted(&self, xml: &str) -> Result<Plan, FrontError> {
        let errors = match turnpike_plan::parse(xml) {
            Ok(plan) => return Ok(plan),
            Err(errors) => errors,
        };
        if let Ok(plan) = turnpike_plan::parse_published(xml)
            && self.is_there(&to_publish(&plan, String::new())).await?
        {
            return Ok(plan);
        }
        Err(FrontError::Invalid(message(&errors.0)))
    }

    /// Warnings about the losses of accounts that are subscribed to the preceding version, such as
    /// a parameter that the new version does not have.
    ///
    /// # Errors
    /// A version in another currency is refused: every subscribed account would stop being rated.
    async fn losses(&self, plan: &Plan) -> Result<Vec<String>, FrontError> {
        let db = self.core.db.as_ref();
        let (id, version) = (plan.id(), plan.version());
        let heads = versions::list(db, CatalogueKind::Plan, id).await?;
        // A version with other content is refused when it is written.
        if heads.iter().any(|head| head.version == version) {
            return Ok(Vec::new());
        }
        let Some(before) = version_before(&heads, plan.starts())? else {
            return Ok(Vec::new());
        };
        let old = before.version;
        let entry = versions::find(db, CatalogueKind::Plan, id, old).await?;
        let Ok(before) = turnpike_plan::parse_published(&entry.body) else {
            return Ok(vec![format!(
                "version {old} was published by a newer release: what accounts lose that are \
                 subscribed to it is not known"
            )]);
        };
        let mut warnings = Vec::new();
        for loss in turnpike_plan::subscriber_losses(&before, plan) {
            if matches!(loss, SubscriberLoss::OtherCurrency { .. }) {
                return Err(FrontError::Conflict(format!(
                    "plan {id}: {loss}. Publish it under another id, and subscribe accounts to that"
                )));
            }
            warnings.push(loss.to_string());
        }
        Ok(warnings)
    }

    async fn is_there(&self, asked: &Publish) -> Result<bool, FrontError> {
        let heads = versions::list(self.core.db.as_ref(), asked.kind, &asked.id).await?;
        let same = |head: &CatalogueHead| {
            head.version == asked.version && head.content_hash == asked.content_hash
        };
        Ok(heads.iter().any(same))
    }
}

/// The version in force when a further version `starts`; if none is, the first one after. Among
/// versions with the same start, the one published last is in force.
///
/// # Errors
/// A stored start is no date.
fn version_before(
    heads: &[CatalogueHead],
    starts: Date,
) -> Result<Option<&CatalogueHead>, StoreError> {
    let dated = heads.iter().map(|head| {
        let start = head.starts.parse::<Date>().map_err(|_| StoreError::Corrupt {
            doing: "read the catalogue",
            cause: format!(
                "{} {} version {} starts on {:?}, which is no date",
                head.kind, head.id, head.version, head.starts
            ),
        })?;
        Ok((start, head.catalogue_version, head))
    });
    let mut dated = dated.collect::<Result<Vec<_>, StoreError>>()?;
    dated.sort_unstable_by_key(|(start, published, _)| (*start, *published));
    let begun = dated.partition_point(|(start, ..)| *start <= starts);
    let before = begun.checked_sub(1).map_or_else(|| dated.first(), |last| dated.get(last));
    Ok(before.map(|(.., head)| *head))
}

fn to_publish(plan: &Plan, xml: String) -> Publish {
    Publish {
        kind: CatalogueKind::Plan,
        id: plan.id().to_owned(),
        version: plan.version(),
        starts: plan.starts().to_string(),
        supersedes: plan.supersedes(),
        content_hash: plan.content_hash(),
        form: plan.currency().to_string(),
        rows: 0,
        body: xml,
        tz_database: Some(turnpike_plan::tz_database_version().to_owned()),
    }
}

fn check_sizes(request: &PublishRequest) -> Result<(), FrontError> {
    let bytes = request.xml.len();
    if bytes > PLAN_XML_BYTES_MAX {
        return Err(FrontError::Invalid(format!(
            "the plan has {bytes} bytes of XML; at most {PLAN_XML_BYTES_MAX} are taken"
        )));
    }
    let bytes: usize = request.files.values().map(|file| file.len()).sum();
    if bytes > EXAMPLES_BYTES_MAX {
        return Err(FrontError::Invalid(format!(
            "the plan's examples have {bytes} bytes; at most {EXAMPLES_BYTES_MAX} are taken"
        )));
    }
    Ok(())
}

fn show(head: CatalogueHead) -> PlanVersion {
    PlanVersion {
        plan_id: head.id,
        version: head.version,
        starts: head.starts,
        currency: head.form,
        content_hash: hexadecimal(&head.content_hash),
        catalogue_version: head.catalogue_version,
        published_at_us: head.published_at.0,
        tz_database: head.tz_database.unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl PlanService for Plans {
    async fn publish(
        &self,
        request: Request<PublishRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let actor = Actor::of(&request);
        Ok(Response::new(self.publish_xml(&actor, request.into_inner()).await?))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let plan_id = request.into_inner().plan_id;
        let heads = versions::list(self.core.db.as_ref(), CatalogueKind::Plan, &plan_id).await?;
        Ok(Response::new(ListResponse { plans: heads.into_iter().map(show).collect() }))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let GetRequest { plan_id, version } = request.into_inner();
        let db = self.core.db.as_ref();
        let entry = versions::find(db, CatalogueKind::Plan, &plan_id, version).await?;
        Ok(Response::new(GetResponse { plan: Some(show(entry.head)), xml: entry.body }))
    }

    async fn publish_table(
        &self,
        request: Request<PublishTableRequest>,
    ) -> Result<Response<PublishTableResponse>, Status> {
        let actor = Actor::of(&request);
        let text = request.into_inner().text;
        Ok(Response::new(tables::publish_text(&self.core, &self.checks, &actor, text).await?))
    }

    async fn list_tables(
        &self,
        request: Request<ListTablesRequest>,
    ) -> Result<Response<ListTablesResponse>, Status> {
        Ok(Response::new(tables::tables(&self.core, &request.into_inner().table_id).await?))
    }

    async fn get_table(
        &self,
        request: Request<GetTableRequest>,
    ) -> Result<Response<GetTableResponse>, Status> {
        let GetTableRequest { table_id, version } = request.into_inner();
        Ok(Response::new(tables::table(&self.core, &table_id, version).await?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use turnpike_types::Timestamp;

    use super::*;

    fn head(version: u32, starts: &str) -> CatalogueHead {
        CatalogueHead {
            catalogue_version: version.into(),
            kind: CatalogueKind::Plan,
            id: "calls".to_owned(),
            version,
            starts: starts.to_owned(),
            content_hash: [0; 32],
            form: "USD".to_owned(),
            rows: 0,
            bytes: 1,
            published_at: Timestamp(0),
            tz_database: None,
        }
    }

    #[test]
    fn the_version_before_is_the_last_published_of_those_in_force_or_else_the_first_after() {
        let heads = [
            head(1, "2026-03-01"),
            head(2, "2026-01-01"),
            head(3, "2026-01-01"),
            head(4, "2026-05-01"),
        ];
        let before = |starts: &str| {
            let found = version_before(&heads, starts.parse().unwrap()).unwrap();
            found.map(|head| head.version)
        };
        assert_eq!(before("2026-02-01"), Some(3));
        assert_eq!(before("2026-03-01"), Some(1));
        assert_eq!(before("2025-01-01"), Some(2));
        assert_eq!(version_before(&[], Date::MIN).unwrap(), None);
    }

    #[test]
    fn a_stored_start_that_is_no_date_is_an_error_and_not_the_first_date() {
        let heads = [head(1, "2026-03-01"), head(2, "soon")];
        let error = version_before(&heads, Date::MIN).unwrap_err();
        assert!(error.to_string().contains("plan calls version 2 starts on \"soon\""), "{error}");
    }
}
