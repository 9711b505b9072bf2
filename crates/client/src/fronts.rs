//! The connection to one of several fronts.

use std::error::Error as _;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};
use turnpike_proto::dial::{Connector, Dial};

use crate::addresses::{Plaintext, check_private, is_secure};
use crate::channel::{ClientToken, FrontChannel};
use crate::error::{ClientError, is_transient, is_unavailable, retry_after};
use crate::patience::Patience;

/// HTTP/2 flow-control window of one stream. A smaller window limits throughput on fast links.
pub const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// HTTP/2 flow-control window of a connection, for all its streams together.
pub const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// A connection to one of several fronts; clones share it. It reconnects by itself, and switches to
/// the next front when the current one is unavailable.
#[derive(Clone)]
pub struct Fronts {
    limit: Duration,
    path: Path,
    /// Authenticates each request.
    token: Option<ClientToken>,
    urls: Arc<[String]>,
    current: Arc<Mutex<CurrentFront>>,
}

/// How a front is reached.
#[derive(Clone)]
enum Path {
    /// `http://` through TCP.
    Tcp(Plaintext),
    /// `https://` through these connections, and `http://` through TCP to the own machine.
    Secure(Connector),
    /// Through a transport of the caller.
    Custom(Dial),
}

/// The front in use.
struct CurrentFront {
    /// The index of the front among the addresses.
    at: usize,
    channel: Channel,
}

impl std::fmt::Debug for Fronts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { limit, urls, .. } = self;
        f.debug_struct("Fronts").field("limit", limit).field("urls", urls).finish_non_exhaustive()
    }
}

impl Fronts {
    /// Connects without TLS to the first front of `urls` that accepts a connection. Requests give up
    /// when the cluster makes no progress for `limit`.
    ///
    /// # Errors
    /// An address is invalid or of another machine, or no front accepts a connection.
    pub async fn connect(urls: Vec<String>, limit: Duration) -> Result<Self, ClientError> {
        Self::open(Path::Tcp(Plaintext::OwnMachine), None, urls, limit).await
    }

    /// As [`Self::connect`], also to other machines: others may read and change the requests.
    ///
    /// # Errors
    /// An address is invalid, or no front accepts a connection.
    pub async fn connect_in_clear(urls: Vec<String>, limit: Duration) -> Result<Self, ClientError> {
        Self::open(Path::Tcp(Plaintext::Everywhere), None, urls, limit).await
    }

    /// As [`Self::connect`]; addresses with `https://` are reached through `connector`, which
    /// presents and checks certificates.
    ///
    /// # Errors
    /// An address is invalid, or without TLS and of another machine; addresses with and without TLS
    /// are mixed; or no front accepts a connection.
    pub async fn secure(
        connector: Connector,
        urls: Vec<String>,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        Self::open(Path::Secure(connector), None, urls, limit).await
    }

    /// As [`Self::connect`]; each request is authenticated by `token`. Without TLS, a token is sent
    /// to the own machine only.
    ///
    /// # Errors
    /// An address is invalid or of another machine, or no front accepts a connection.
    pub async fn connect_with_token(
        token: ClientToken,
        urls: Vec<String>,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        Self::open(Path::Tcp(Plaintext::OwnMachine), Some(token), urls, limit).await
    }

    /// As [`Self::secure`]; each request is authenticated by `token`.
    ///
    /// # Errors
    /// An address is invalid, or has no TLS and is of another machine; or no front accepts a
    /// connection.
    pub async fn secure_with_token(
        connector: Connector,
        token: ClientToken,
        urls: Vec<String>,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        Self::open(Path::Secure(connector), Some(token), urls, limit).await
    }

    /// As [`Self::connect`], through `dial`, which determines the transport: for tests and
    /// simulations. It connects at the first request, so an unreachable front is not an error yet.
    ///
    /// # Errors
    /// `dial` accepts none of the addresses.
    pub async fn through(
        dial: Dial,
        urls: Vec<String>,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        Self::open(Path::Custom(dial), None, urls, limit).await
    }

    async fn open(
        path: Path,
        token: Option<ClientToken>,
        urls: Vec<String>,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        if urls.is_empty() {
            return Err(ClientError::NoFront);
        }
        if token.is_some() {
            urls.iter().try_for_each(|url| check_private(url))?;
        }
        path.check(&urls)?;
        let mut failures = Vec::new();
        for (at, url) in urls.iter().enumerate() {
            match connect_one(&path, url).await {
                Ok(channel) => {
                    let current = Arc::new(Mutex::new(CurrentFront { at, channel }));
                    return Ok(Self { limit, path, token, urls: urls.into(), current });
                }
                Err(cause) => failures.push(format!("{url} ({cause})")),
            }
        }
        Err(ClientError::Unreachable { failures })
    }

    /// Opens another connection: to the front in use if it accepts, else to the next one that does.
    ///
    /// # Errors
    /// No front accepts a connection.
    pub async fn again(&self) -> Result<Self, ClientError> {
        let mut urls = self.urls.to_vec();
        urls.rotate_left(self.current().at);
        Self::open(self.path.clone(), self.token.clone(), urls, self.limit).await
    }

    /// The addresses of all fronts.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The maximum time without progress.
    pub const fn limit(&self) -> Duration {
        self.limit
    }

    /// The address of the front in use.
    pub fn in_use(&self) -> String {
        let at = self.current().at;
        self.urls.get(at).cloned().unwrap_or_else(|| self.urls.join(", "))
    }

    /// The connection to the front in use, for requests that this crate does not wrap.
    pub fn channel(&self) -> FrontChannel {
        FrontChannel::new(self.current().channel.clone(), self.token.clone())
    }

    /// Switches to the next front that accepts a connection. If none does, or there is only one
    /// address, the present connection is kept; it reconnects by itself.
    pub async fn move_on(&self) {
        let count = self.urls.len();
        let from = self.current().at;
        for at in (1..count).map(|step| (from + step) % count) {
            let Some(url) = self.urls.get(at) else { continue };
            if let Ok(channel) = connect_one(&self.path, url).await {
                tracing::info!(from = self.urls[from], to = self.urls[at], "another front is used");
                *self.current() = CurrentFront { at, channel };
                return;
            }
        }
    }

    /// Repeats a call on the front in use until it succeeds, fails permanently, or exceeds the time
    /// limit. A call whose answer is lost is repeated, so it must be idempotent.
    ///
    /// # Errors
    /// The front refuses the call, or does not answer within the time limit.
    pub async fn call<T, F>(
        &self,
        mut call: impl FnMut(FrontChannel) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut patience = Patience::new(self.limit);
        loop {
            match tokio::time::timeout(patience.left(), call(self.channel())).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                // A wait beyond the limit would end in the same refusal, without its reason.
                Ok(Err(status))
                    if is_transient(&status) && retry_after(&status) < patience.left() =>
                {
                    if is_unavailable(&status) {
                        let moving = self.move_on();
                        // With or without another front, the call is tried again in the time left.
                        let _ = tokio::time::timeout(patience.left(), moving).await;
                    }
                    tokio::time::sleep(patience.backoff_after(retry_after(&status))).await;
                }
                Ok(Err(status)) => return Err(ClientError::from_status(&self.in_use(), &status)),
                Err(_) => {
                    return Err(ClientError::NoAnswer { url: self.in_use(), limit: self.limit });
                }
            }
        }
    }

    fn current(&self) -> MutexGuard<'_, CurrentFront> {
        // A poisoned lock is used too, because no code panics while it holds this lock.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Path {
    /// Refuses addresses that can't or may not be reached in this way.
    fn check(&self, urls: &[String]) -> Result<(), ClientError> {
        let plaintext = match self {
            Self::Custom(_) => return Ok(()),
            Self::Tcp(plaintext) => *plaintext,
            Self::Secure(_) => Plaintext::OwnMachine,
        };
        plaintext.check(urls)?;
        match (self, urls.iter().find(|url| is_secure(url))) {
            (Self::Tcp(_), Some(url)) => Err(ClientError::NoCertificates { url: url.clone() }),
            _ => urls.iter().try_for_each(|url| endpoint(url).map(drop)),
        }
    }
}

/// A channel to a front, or the cause for which there is none.
async fn connect_one(path: &Path, url: &str) -> Result<Channel, String> {
    let endpoint = || endpoint(url).map_err(|error| error.to_string());
    let connected = match path {
        Path::Custom(dial) => return dial.channel(url).map_err(|error| error.to_string()),
        Path::Secure(connector) if is_secure(url) => {
            endpoint()?.connect_with_connector(connector.clone()).await
        }
        Path::Secure(_) | Path::Tcp(_) => endpoint()?.connect().await,
    };
    connected.map_err(|error| innermost(&error))
}

fn endpoint(url: &str) -> Result<Endpoint, ClientError> {
    let wrong = || ClientError::BadAddress { url: url.to_owned() };
    if !url.starts_with("http://") && !is_secure(url) {
        return Err(wrong());
    }
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|_| wrong())?;
    Ok(endpoint
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10)))
}

/// The innermost cause of the error.
fn innermost(error: &tonic::transport::Error) -> String {
    let mut cause = error.source();
    let mut last = error.to_string();
    while let Some(source) = cause {
        last = source.to_string();
        cause = source.source();
    }
    last
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    fn urls(more: &str) -> Vec<String> {
        vec!["http://127.0.0.1:1".to_owned(), more.to_owned()]
    }

    /// Before anything is sent, also if only a later address is of another machine.
    #[tokio::test]
    async fn a_token_is_sent_without_tls_to_the_own_machine_only() {
        let with_token = async |url: &str| {
            let token = ClientToken::from_text("tpt1.secret").unwrap();
            Fronts::connect_with_token(token, urls(url), LIMIT).await.unwrap_err()
        };
        let far = "http://front.example.net:7070";
        let error = with_token(far).await;
        assert!(matches!(&error, ClientError::TokenInClear { url } if url == far), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
        let error = with_token("http://[::1]:1").await;
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    }

    #[tokio::test]
    async fn nothing_is_sent_without_tls_to_another_machine_unasked() {
        let far = "http://192.0.2.7:1";
        let error = Fronts::connect(urls(far), LIMIT).await.unwrap_err();
        assert!(matches!(&error, ClientError::Plaintext { url } if url == far), "{error}");
        let error = Fronts::connect_in_clear(urls("http://localhost:1"), LIMIT).await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        let error = Fronts::connect(urls("https://127.0.0.1:1"), LIMIT).await.unwrap_err();
        assert!(matches!(error, ClientError::MixedAddresses { .. }), "{error}");
    }
}
