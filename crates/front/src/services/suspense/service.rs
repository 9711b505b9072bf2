//! The suspense service.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use turnpike_access::audit::{Action, Intent};
use turnpike_access::{Actor, Permit, request_id};
use turnpike_listen::ClientKey;
use turnpike_proto::audit::v1::AuditOutcome;
use turnpike_proto::suspense::v1::suspense_service_server::SuspenseService;
use turnpike_proto::suspense::v1::{ListRequest, RecycleRequest, RecycleResponse, SuspendedRecord};
use turnpike_types::AccountNumber;

use crate::FrontError;
use crate::core::Core;
use crate::ingest::service::Ingest;
use crate::routing::table::RouteTable;
use crate::services::suspense::listing::{checked, list_into, list_one, note_listed, partitions};
use crate::services::suspense::lists::{SuspenseLists, SuspenseStream};
use crate::services::suspense::recycling::{CHUNK, recycle_chunk};

/// The gRPC service `SuspenseService`.
pub struct SuspenseApi {
    core: Arc<Core>,
    /// Ingests the records that belong elsewhere now.
    ingest: Ingest,
    lists: SuspenseLists,
}

impl SuspenseApi {
    pub(crate) fn new(ingest: Ingest, lists: SuspenseLists) -> Self {
        Self { core: Arc::clone(&ingest.core), ingest, lists }
    }

    async fn table(&self) -> Result<Arc<RouteTable>, FrontError> {
        self.core.enter()?;
        let wait = Instant::now() + self.core.config.suspicion();
        let table = self.core.routes.first(wait).await.ok_or(FrontError::NoRoutes)?;
        if table.len() == 0 { Err(FrontError::NoPartitions) } else { Ok(table) }
    }

    /// The routes, once look-ups of identities with them are valid for records that start now
    /// (P28).
    async fn table_for_look_ups(&self) -> Result<Arc<RouteTable>, FrontError> {
        self.table().await?;
        let wait = Instant::now() + self.core.config.attempt();
        self.core.routes.for_look_ups(wait).await.ok_or(FrontError::NoRoutes)
    }
}

/// Refuses a selection of records that the sender may not see or recycle.
fn check_reach(permit: &Permit, filter: &ListRequest) -> Result<(), Status> {
    match filter.account_number {
        0 => permit.check_all_accounts(),
        account => permit.check_account(AccountNumber(account)),
    }
}

#[tonic::async_trait]
impl SuspenseService for SuspenseApi {
    type ListStream = Pin<Box<dyn Stream<Item = Result<SuspendedRecord, Status>> + Send>>;

    async fn list(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let permit = self.core.permit(&request)?;
        let client = ClientKey::of(Actor::of(&request).share_name());
        let filter = checked(request.into_inner())?;
        check_reach(&permit, &filter)?;
        let list = self.lists.enter(client)?;
        let table = self.table().await?;
        let (sender, pages) = mpsc::channel(1);
        let core = Arc::clone(&self.core);
        self.core.tasks.spawn(request_id::carried(async move {
            if let Err(status) = list_into(&core, &table, filter, (&list, &sender)).await {
                // A send error means that the client has disconnected: no reason is needed.
                let _ = sender.send(Err(status)).await;
            }
        }));
        Ok(Response::new(Box::pin(SuspenseStream::new(pages))))
    }

    async fn recycle(
        &self,
        request: Request<RecycleRequest>,
    ) -> Result<Response<RecycleResponse>, Status> {
        let permit = self.core.permit(&request)?;
        let actor = Actor::of(&request);
        let RecycleRequest { reason, account_number, records_max, after } = request.into_inner();
        let intent = intent(&reason, account_number, records_max);
        let filter = checked(ListRequest { reason, account_number, records_max, after })?;
        check_reach(&permit, &filter)?;
        let table = self.table_for_look_ups().await?;
        let begun = self.core.audit.begin(&actor, Action::SuspenseRecycle, &intent).await;
        let operation = begun.map_err(FrontError::from)?;
        let tally = self.recycle_all(&table, filter).await;
        let RecycleResponse { rated, retry, .. } = tally;
        let outcome = if retry == 0 { AuditOutcome::Applied } else { AuditOutcome::Unknown };
        let detail = format!("{rated} rated, {retry} without a durable answer");
        operation.end(outcome, &detail, &[]).await;
        Ok(Response::new(tally))
    }
}

/// What is recycled, for the audit log.
fn intent(reason: &str, account: u64, records_max: u32) -> Intent {
    let reason = if reason.is_empty() { "any reason" } else { reason };
    let mut intent = Intent::of(format!("records in suspense for {reason}"));
    intent.detail = format!("at most {records_max}");
    if account != 0 {
        intent.accounts.push((account, "recycle".to_owned()));
    }
    intent
}

impl SuspenseApi {
    async fn recycle_all(&self, table: &RouteTable, mut filter: ListRequest) -> RecycleResponse {
        let mut tally = RecycleResponse::default();
        for partition in partitions(table, &filter) {
            while filter.records_max > 0 {
                let (records, more) = match list_one(&self.core, partition, &filter).await {
                    Ok(listed) => listed,
                    Err(error) => {
                        tracing::warn!(%partition, %error, "suspended records can't be listed");
                        tally.retry += 1;
                        break;
                    }
                };
                note_listed(&mut filter, partition, &records);
                for chunk in records.chunks(CHUNK) {
                    recycle_chunk(&self.ingest, table, partition, chunk, &mut tally).await;
                }
                if filter.records_max == 0 {
                    // The client continues after this position: later partitions may hold more
                    // records, even if this one does not.
                    tally.last = filter.after.clone();
                }
                if !more {
                    break;
                }
            }
        }
        tally
    }
}
