//! Lists suspended records, pass by pass.
//!
//! A partition may have a million suspended records of which few match. The owner scans a bounded
//! number of them in one turn, and other requests get their turns in between.

use turnpike_proto::node::v1::NodeSuspenseResponse;
use turnpike_proto::suspense::v1::ListRequest;

use super::gates::{Asker, Gates};
use crate::owner::Request;

/// What a pass costs in the owner's queue, in bytes of records whose rating takes as long.
const PASS_COST: usize = 64 << 10;

impl Gates {
    /// The answer of the owner that lists the first records that match.
    pub(super) async fn list_suspense(
        &self,
        partition: u32,
        asker: Asker,
        mut filter: ListRequest,
    ) -> NodeSuspenseResponse {
        loop {
            let pass = filter.clone();
            let asked = |reply| Request::Suspense { filter: pass, reply };
            let (standing, listed) = self.ask(partition, asker, PASS_COST, asked).await;
            let standing = Some(standing);
            // Without an answer of the owner there are no records; the standing gives the reason.
            let Some(listed) = listed else {
                return NodeSuspenseResponse { standing, ..NodeSuspenseResponse::default() };
            };
            match listed.scanned_to {
                Some(position) if listed.records.is_empty() => filter.after = Some(position),
                scanned_to => {
                    let more = listed.is_cut || scanned_to.is_some();
                    return NodeSuspenseResponse { standing, records: listed.records, more };
                }
            }
        }
    }
}
