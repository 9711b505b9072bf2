//! The refusal of a request for which there is no room now.

use tonic::Status;
use tonic::metadata::MetadataValue;

/// The metadata key under which a refusal states after how many milliseconds to try again.
pub const RETRY_AFTER: &str = "grpc-retry-pushback-ms";

/// The refusal of a request for which there is no room now.
pub fn exhausted(why: &str) -> Status {
    let mut status = Status::resource_exhausted(format!("{why}; try again in a second"));
    status.metadata_mut().insert(RETRY_AFTER, MetadataValue::from_static("1000"));
    status
}

/// Counts a request that the transport refuses.
pub(crate) fn refused(cause: &'static str) {
    metrics::counter!("turnpike_requests_refused_total", "cause" => cause).increment(1);
}
