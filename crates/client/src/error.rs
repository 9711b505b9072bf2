//! The errors of a client. Each says what failed, where, and what to do.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status};

use crate::window::{PushError, UnknownBatch};

/// The metadata of an answer with the id of the request.
const REQUEST_ID: &str = "x-request-id";

/// An error of a request to the cluster. All records without an answer may be sent again: those that
/// the cluster has already are answered as duplicates.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// No front was named.
    #[error("no front is named; name at least one, such as http://127.0.0.1:7070")]
    NoFront,
    /// The address of a front is not valid.
    #[error("{url:?} is not a front's address; write http://HOST:PORT or https://HOST:PORT")]
    BadAddress {
        /// The address as given.
        url: String,
    },
    /// The address requires TLS, and the client has no certificates to check the front with.
    #[error("{url} requires the certificate of the cluster's authority")]
    NoCertificates {
        /// The address as given.
        url: String,
    },
    /// A token would be sent without TLS to another machine.
    #[error(
        "the token is not sent to {url}: without TLS, others could read it on its way; write \
         https://HOST:PORT"
    )]
    TokenInClear {
        /// The address as given.
        url: String,
    },
    /// Requests would be sent without TLS to another machine.
    #[error(
        "nothing is sent to {url}: without TLS, others could read and change it on its way; write \
         https://HOST:PORT"
    )]
    Plaintext {
        /// The address as given.
        url: String,
    },
    /// Addresses with and without TLS are mixed.
    #[error(
        "{secure} is an address with TLS and {plain} is one without: when the first does not answer, \
         requests would be sent without TLS; write https:// for all"
    )]
    MixedAddresses {
        /// The first address with TLS.
        secure: String,
        /// The first address without TLS.
        plain: String,
    },
    /// No front accepts a connection.
    #[error("no front answers at {}: is one running there?", any_of(failures))]
    Unreachable {
        /// For each front: its address and, in parentheses, the cause.
        failures: Vec<String>,
    },
    /// The front did not answer within the time limit.
    #[error("{url} did not answer within {limit:?}; look at `turnpike status`")]
    NoAnswer {
        /// The address of the front.
        url: String,
        /// The time limit.
        limit: Duration,
    },
    /// The connection to the front was lost.
    #[error("the front at {url} no longer answers ({message}); is it still running?")]
    ConnectionLost {
        /// The address of the front.
        url: String,
        /// The message of the transport.
        message: String,
    },
    /// The server does not have the called method.
    #[error("the server at {url} does not know this call: is it a Turnpike front of this version?")]
    UnknownCall {
        /// The address of the server.
        url: String,
    },
    /// The cluster can't take the request now; a later attempt may succeed.
    #[error("the cluster can't take this now: {message}; look at `turnpike status`")]
    Unavailable {
        /// The message of the front.
        message: String,
    },
    /// The front refused the request; the same request would be refused again.
    #[error("the front refused: {message} ({code:?})")]
    Refused {
        /// The code of the refusal.
        code: Code,
        /// The message of the front.
        message: String,
    },
    /// Batches had no final answer for the whole time limit.
    #[error(
        "no progress for {limit:?} ({unanswered} batches unanswered): {reason}; look at `turnpike \
         status`, then run this again: what was taken is answered as duplicate"
    )]
    NoProgress {
        /// The time limit.
        limit: Duration,
        /// The number of batches without a final answer.
        unanswered: usize,
        /// The last reason for which batches were not answered.
        reason: String,
    },
    /// The front answered a batch that is not in flight. The front does not follow the protocol, so
    /// its answers are not to be trusted.
    #[error("the front at {url} sent {unknown}; is it a Turnpike front of this version?")]
    WrongAnswer {
        /// The address of the front.
        url: String,
        /// The answer.
        unknown: UnknownBatch,
    },
    /// A batch was added at the wrong time, or under a number that is in use.
    #[error(transparent)]
    Push(#[from] PushError),
    /// The window is empty or larger than a front reads.
    #[error("a window of {given} batches; give a number from 1 to {max}")]
    BadWindow {
        /// The number as given.
        given: usize,
        /// The largest number.
        max: usize,
    },
    /// Another process pulls under the same name, and acknowledged the same lines first: both have
    /// stored them.
    #[error(
        "another process pulls as {consumer:?} and acknowledged the lines of a page of partition \
         {partition} first: remove them from one of the outputs, and run one process under a name"
    )]
    Overtaken {
        /// The name of the consumer.
        consumer: String,
        /// The partition of the page.
        partition: u32,
    },
    /// The name of a consumer is not valid.
    #[error("the consumer {name:?} is not a valid name; write 1 to 128 letters, digits, -, _ or .")]
    BadConsumer {
        /// The name as given.
        name: String,
    },
}

impl ClientError {
    /// The error that the status of a call to the front at `url` means.
    pub fn from_status(url: &str, status: &Status) -> Self {
        let url = url.to_owned();
        let request = status.metadata().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let message = match request {
            Some(id) => format!("{} (request {id})", status.message()),
            None => status.message().to_owned(),
        };
        match status.code() {
            Code::Unavailable | Code::Unknown | Code::Internal if status.source().is_some() => {
                Self::ConnectionLost { url, message }
            }
            Code::Unimplemented => Self::UnknownCall { url },
            Code::Unavailable | Code::ResourceExhausted => Self::Unavailable { message },
            code => Self::Refused { code, message },
        }
    }
}

/// The fronts in words: `any of A, B` if there are several.
fn any_of(failures: &[String]) -> String {
    let any = if failures.len() > 1 { "any of " } else { "" };
    format!("{any}{}", failures.join(", "))
}

/// Whether the next attempt should use another front, because this front is unreachable or
/// overloaded.
pub(crate) fn is_unavailable(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::Unknown | Code::Internal | Code::Cancelled => status.source().is_some(),
        _ => false,
    }
}

/// The metadata key under which a front without room says after how many milliseconds to try again.
const RETRY_AFTER: &str = "grpc-retry-pushback-ms";
/// The longest wait that a front's answer causes.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// The wait that the front asks for before the next attempt; zero if it asks for none.
pub(crate) fn retry_after(status: &Status) -> Duration {
    let told = status.metadata().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let wait = told.and_then(|text| text.parse().ok()).map(Duration::from_millis);
    wait.map_or(Duration::ZERO, |wait| wait.min(RETRY_AFTER_MAX))
}

/// Whether a retry of the same call can succeed.
pub(crate) fn is_transient(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::Cancelled => true,
        // tonic reports transport errors with these codes and a source; a server's refusal has no
        // source.
        Code::Unknown | Code::Internal => status.source().is_some(),
        _ => false,
    }
}
