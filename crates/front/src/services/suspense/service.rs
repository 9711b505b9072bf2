//! The suspense service.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use turnpike_access::audit::{Action, ChangeEnd, Intent};
use turnpike_access::{Actor, Permit, request_id};
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
#[derive(Clone)]
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
        let client = Actor::of(&request).client_key();
        let filter = checked(request.into_inner())?;
        check_reach(&permit, &filter)?;
        let list = self.lists.enter(client)?;
        let table = self.table().await?;
        let (sender, pages) = mpsc::channel(1);
        let core = Arc::clone(&self.core);
        self.core.tasks.spawn(request_id::carried(async move {
            let may_go_on = |filter: &ListRequest| check_reach(&permit.renewed()?, filter);
            let listed = list_into(&core, &table, filter, (&list, &sender), may_go_on).await;
            if let Err(status) = listed {
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
        let api = self.clone();
        // A recycling may be stopped between two chunks, unlike other changes.
        let client_left = CancellationToken::new();
        let _stops = client_left.clone().drop_guard();
        let change = async move {
            let may_go_on = |filter: &ListRequest| {
                if client_left.is_cancelled() {
                    return Err(Status::cancelled("the client has disconnected"));
                }
                check_reach(&permit.renewed()?, filter)
            };
            let done = api.recycle_all(&table, filter, may_go_on).await;
            let end = recycled(&done);
            (done, end)
        };
        let done = self.core.audit.change(&actor, Action::SuspenseRecycle, intent, change).await;
        let (tally, stopped) = done.map_err(FrontError::from)?;
        stopped?;
        Ok(Response::new(tally))
    }
}

/// How a recycling ended, for the audit log.
fn recycled((tally, stopped): &(RecycleResponse, Result<(), Status>)) -> ChangeEnd {
    let RecycleResponse { rated, retry, .. } = tally;
    let counts = format!("{rated} rated, {retry} without a durable answer");
    match stopped {
        Err(why) => {
            let detail = format!("{counts}; then it was stopped: {}", why.message());
            ChangeEnd::of(AuditOutcome::Partial, detail)
        }
        Ok(()) if *retry == 0 => ChangeEnd::of(AuditOutcome::Applied, counts),
        Ok(()) => ChangeEnd::of(AuditOutcome::Unknown, counts),
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
    /// Recycles the records that `filter` selects, and asks before each chunk whether it may go on.
    /// Returns the counts, and why it stopped early.
    async fn recycle_all(
        &self,
        table: &RouteTable,
        mut filter: ListRequest,
        may_go_on: impl Fn(&ListRequest) -> Result<(), Status>,
    ) -> (RecycleResponse, Result<(), Status>) {
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
                    if let Err(stopped) = may_go_on(&filter) {
                        return (tally, Err(stopped));
                    }
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
        (tally, Ok(()))
    }
}
