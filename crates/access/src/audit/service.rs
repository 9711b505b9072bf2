//! The audit service: pages of the log.

use std::sync::Arc;

use prost::Message as _;
use tonic::{Request, Response, Status};
use turnpike_proto::audit::v1::audit_service_server::{AuditService, AuditServiceServer};
use turnpike_proto::audit::v1::{Entry, ReadRequest, ReadResponse, Row};
use turnpike_store::{AuditRow, AuditSelection, SharedDatabase, StoreError, StoreResult};
use turnpike_types::Timestamp;
use turnpike_types::limits::MESSAGE_BYTES_MAX;

/// The most pages of the database that one request reads, so that a filter that nothing passes ends
/// in time. The client continues.
const PAGES_MAX: usize = 8;

/// The gRPC service `AuditService`.
pub struct AuditApi {
    db: Arc<dyn SharedDatabase>,
}

impl AuditApi {
    /// The service over a database.
    pub fn server(db: Arc<dyn SharedDatabase>) -> AuditServiceServer<Self> {
        AuditServiceServer::new(Self { db })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    async fn page(&self, request: &ReadRequest) -> StoreResult<ReadResponse> {
        // Read before the rows: an entry that is appended meanwhile is after `last`.
        let head = self.db.audit_head().await?;
        let mut page = ReadResponse {
            through: request.after,
            last: head.next.saturating_sub(1),
            last_hash: head.last_hash.to_vec().into(),
            ..ReadResponse::default()
        };
        for _ in 0..PAGES_MAX {
            let selection = AuditSelection {
                after: page.through,
                since: request.since_us.map_or(Timestamp::MIN, Timestamp),
                until: request.until_us.map_or(Timestamp::MAX, Timestamp),
            };
            let rows = self.db.read_audit(&selection).await?;
            let Some(last) = rows.last() else {
                page.more = false;
                return Ok(page);
            };
            page.through = last.sequence;
            page.more = true;
            page.rows.extend(rows.iter().filter(|row| passes(request, row)).map(sent));
            if !page.rows.is_empty() {
                break;
            }
        }
        Ok(page)
    }
}

/// Whether an entry passes the filters. An entry that can't be read passes: it is to be seen.
fn passes(request: &ReadRequest, row: &AuditRow) -> bool {
    if request.principal.is_empty() && request.action.is_empty() && request.account == 0 {
        return true;
    }
    let Ok(entry) = Entry::decode(row.body.clone()) else { return true };
    let of = |asked: &str, is: &str| asked.is_empty() || asked == is;
    of(&request.principal, &entry.principal)
        && of(&request.action, &entry.action)
        && (request.account == 0
            || entry.accounts.iter().any(|named| named.account == request.account))
}

fn sent(row: &AuditRow) -> Row {
    Row {
        sequence: row.sequence,
        prev_hash: row.prev_hash.to_vec().into(),
        hash: row.hash.to_vec().into(),
        body: row.body.clone(),
        at_us: row.at.micros(),
    }
}

#[tonic::async_trait]
impl AuditService for AuditApi {
    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadResponse>, Status> {
        let failed = |error: StoreError| Status::new(error.code(), error.to_string());
        Ok(Response::new(self.page(request.get_ref()).await.map_err(failed)?))
    }
}
