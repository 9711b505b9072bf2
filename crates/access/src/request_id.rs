//! The id of a request. It is in all log lines of the request, in its answer, in the audit log, and in
//! the requests that a front sends to nodes for it.

use tonic::metadata::{MetadataMap, MetadataValue};
use tracing::Instrument as _;

use crate::client;

/// The header of a request and of its answer.
pub const HEADER: &str = "x-request-id";
/// The most characters of an id.
pub const BYTES_MAX: usize = 64;

tokio::task_local! {
    static CURRENT: String;
}

/// Whether a client's id is used as it is: 1 to 64 letters, digits, dots, colons, hyphens and
/// underscores.
pub fn is_valid(id: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (1..=BYTES_MAX).contains(&id.len()) && id.bytes().all(is_fine)
}

/// A new id: 16 hexadecimal digits.
pub fn made() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// The id of the request that the present task works on.
pub fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Runs `work` for the request `id`.
pub async fn scope<F: Future>(id: String, work: F) -> F::Output {
    CURRENT.scope(id, work).await
}

/// `work`, for a task of its own, under the request, the client and the span of the present task.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let id = current();
    let work = client::scope(client::current(), work);
    async move {
        match id {
            Some(id) => CURRENT.scope(id, work).await,
            None => work.await,
        }
    }
    .in_current_span()
}

/// Adds the id of the present request to the metadata of a call to another process.
pub fn add_to(metadata: &mut MetadataMap) {
    // An id in scope is valid, and a valid id is a valid value.
    if let Some(id) = current().and_then(|id| MetadataValue::try_from(id).ok()) {
        metadata.insert(HEADER, id);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_used_only_if_it_is_short_and_harmless_in_a_log() {
        for good in ["a", "0f3c", "job-17_a.b", &"x".repeat(64), &made()] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "a b", "a\nb", "a\"b", "ä", &"x".repeat(65)] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_task_of_its_own_keeps_the_id_of_its_request() {
        assert_eq!(current(), None);
        let inner = async { tokio::spawn(carried(async { current() })).await };
        assert_eq!(scope("r1".to_owned(), inner).await.unwrap(), Some("r1".to_owned()));
        let mut metadata = MetadataMap::new();
        add_to(&mut metadata);
        assert!(metadata.is_empty());
        scope("r2".to_owned(), async { add_to(&mut metadata) }).await;
        assert_eq!(metadata.get(HEADER).unwrap(), "r2");
    }
}
