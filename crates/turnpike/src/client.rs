//! The connection to a front, and the translation of its errors into messages for the user.

use std::error::Error as _;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Response, Status};
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::account::v1::{ShowRequest, ShowResponse};
use turnpike_proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use turnpike_proto::feed::v1::feed_service_client::FeedServiceClient;
use turnpike_proto::plan::v1::plan_service_client::PlanServiceClient;
use turnpike_proto::suspense::v1::suspense_service_client::SuspenseServiceClient;
use turnpike_types::limits;

use crate::config::{AddressList, Config};
use crate::exit::usage;
use crate::settings::{Setting, SettingSource};
use crate::{defaults, values};

/// HTTP/2 flow-control window of one stream. A smaller window limits throughput on fast links.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// HTTP/2 flow-control window of a connection, for all its streams together.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// Options for the connection to a front.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ClientArgs {
    /// The address of a front, or several separated by commas: if one does not answer, the next is
    /// used [default: http://127.0.0.1:7070]
    #[arg(long, env = "TURNPIKE_FRONT", value_name = "URL,URL", help_heading = "Connection")]
    #[arg(value_delimiter = ',')]
    pub(crate) front: Vec<String>,
    /// Give up when the cluster makes no progress for this long [default: 30s]
    #[arg(long, env = "TURNPIKE_TIMEOUT", value_name = "TIME", help_heading = "Connection")]
    #[arg(value_parser = values::patience)]
    pub(crate) timeout: Option<Duration>,
}

/// A connection to one of several fronts; clones share it. It reconnects by itself, and switches to
/// the next front when the current one is unavailable.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    /// The addresses of all fronts, separated by commas, for messages.
    pub(crate) url: String,
    pub(crate) timeout: Duration,
    urls: Arc<[String]>,
    current: Arc<Mutex<Current>>,
}

/// The front in use.
#[derive(Debug)]
struct Current {
    /// The index of the front among the addresses.
    at: usize,
    channel: Channel,
}

/// The resolved connection to a front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientSettings {
    /// The addresses of the fronts, in the order in which they are tried.
    pub(crate) fronts: Setting<Vec<String>>,
    /// The maximum time without progress.
    pub(crate) timeout: Duration,
}

impl ClientArgs {
    pub(crate) fn resolve(self, config: &Config) -> anyhow::Result<ClientSettings> {
        let file = &config.client;
        let given: Vec<String> = self.front.iter().map(|url| url.trim().to_owned()).collect();
        let fronts = Setting::resolve(
            ("--front", Some(given).filter(|given| !given.is_empty())),
            ("client.front", file.front.as_ref().map(AddressList::list)),
            vec![defaults::FRONT_URL.to_owned()],
        );
        for url in &fronts.value {
            check_address(url, fronts.source)?;
        }
        let timeout = match (self.timeout, file.timeout.as_deref()) {
            (Some(timeout), _) => timeout,
            (None, Some(text)) => {
                values::patience(text).map_err(|error| usage(format!("client.timeout: {error}")))?
            }
            (None, None) => defaults::TIMEOUT,
        };
        Ok(ClientSettings { fronts, timeout })
    }
}

impl ClientSettings {
    /// Connects without retries: an unreachable front is an error at once.
    pub(crate) async fn connect(&self) -> anyhow::Result<Front> {
        Front::connect_any(self.fronts.value.clone(), self.timeout).await
    }
}

impl Front {
    /// Connects to the front at `url`.
    pub(crate) async fn connect(url: &str, timeout: Duration) -> anyhow::Result<Self> {
        Self::connect_any(vec![url.to_owned()], timeout).await
    }

    /// Connects to the first front that accepts a connection.
    ///
    /// # Errors
    /// Any invalid address in `urls`; or, if no front accepts, each address with its connection
    /// error.
    pub(crate) async fn connect_any(urls: Vec<String>, timeout: Duration) -> anyhow::Result<Self> {
        let endpoints: Vec<Endpoint> =
            urls.iter().map(|url| endpoint(url)).collect::<Result<_, _>>()?;
        let mut failures = Vec::new();
        for (at, (url, endpoint)) in urls.iter().zip(&endpoints).enumerate() {
            match endpoint.connect().await {
                Ok(channel) => {
                    let current = Arc::new(Mutex::new(Current { at, channel }));
                    let url = urls.join(", ");
                    return Ok(Self { url, timeout, urls: urls.into(), current });
                }
                Err(error) => failures.push(format!("{url} ({})", innermost(&error))),
            }
        }
        Err(unreachable(&failures))
    }

    /// Opens another connection: to the front in use if it accepts, else to the next one that does.
    pub(crate) async fn again(&self) -> anyhow::Result<Self> {
        let mut urls = self.urls.to_vec();
        urls.rotate_left(self.current().at);
        Self::connect_any(urls, self.timeout).await
    }

    /// The address of the front in use.
    pub(crate) fn in_use(&self) -> String {
        let at = self.current().at;
        self.urls.get(at).cloned().unwrap_or_else(|| self.url.clone())
    }

    /// The connection to the front in use.
    pub(crate) fn channel(&self) -> Channel {
        self.current().channel.clone()
    }

    /// Switches to the next front that accepts a connection. If none does, or there is only one
    /// address, the present connection is kept; it reconnects by itself.
    pub(crate) async fn move_on(&self) {
        let count = self.urls.len();
        let from = self.current().at;
        for at in (1..count).map(|step| (from + step) % count) {
            let Some(Ok(endpoint)) = self.urls.get(at).map(|url| endpoint(url)) else { continue };
            if let Ok(channel) = endpoint.connect().await {
                tracing::info!(from = self.urls[from], to = self.urls[at], "another front is used");
                *self.current() = Current { at, channel };
                return;
            }
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // A poisoned lock is used too, because no code panics while it holds this lock.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn accounts(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn plans(&self) -> PlanServiceClient<Channel> {
        PlanServiceClient::new(self.channel()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn feed(&self) -> FeedServiceClient<Channel> {
        FeedServiceClient::new(self.channel()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn suspense(&self) -> SuspenseServiceClient<Channel> {
        SuspenseServiceClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    /// An account; `None` if it was never opened.
    pub(crate) async fn account(&self, number: u64) -> anyhow::Result<Option<ShowResponse>> {
        self.call(&format!("account {number} could not be read"), || {
            let mut accounts = self.accounts();
            async move {
                match accounts.show(ShowRequest { account_number: number }).await {
                    Ok(shown) => Ok(Response::new(Some(shown.into_inner()))),
                    Err(status) if status.code() == Code::NotFound => Ok(Response::new(None)),
                    Err(status) => Err(status),
                }
            }
        })
        .await
    }

    /// Repeats the call until it succeeds, fails permanently, or exceeds the time-out.
    pub(crate) async fn call<T, F, C>(&self, doing: &str, mut call: C) -> anyhow::Result<T>
    where
        C: FnMut() -> F,
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let mut patience = Patience::new(self.timeout);
        loop {
            match tokio::time::timeout(patience.left(), call()).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) if is_transient(&status) && !patience.is_over() => {
                    if is_unavailable(&status) {
                        let moving = self.move_on();
                        let _ = tokio::time::timeout(patience.left(), moving).await;
                    }
                    tokio::time::sleep(patience.backoff()).await;
                }
                Ok(Err(status)) => {
                    return Err(explain(&self.in_use(), &status)).context(doing.to_owned());
                }
                Err(_) => {
                    let url = self.in_use();
                    let error = anyhow!("{url} did not answer within {:?}", self.timeout);
                    return Err(error.context("look at `turnpike status`"))
                        .context(doing.to_owned());
                }
            }
        }
    }
}

/// Refuses an address that can't be a front's; the error names its source.
fn check_address(url: &str, source: SettingSource) -> anyhow::Result<Uri> {
    let uri = url.parse().ok().filter(|_| url.starts_with("http://"));
    uri.ok_or_else(|| {
        let place = match source {
            SettingSource::Key(key) => format!("{key} in the configuration file"),
            SettingSource::Option(_) | SettingSource::Default => "--front".to_owned(),
        };
        usage(format!("{url:?} is not a front's address; write http://HOST:PORT ({place})"))
    })
}

fn endpoint(url: &str) -> anyhow::Result<Endpoint> {
    let endpoint = Endpoint::from(check_address(url, SettingSource::Option("--front"))?);
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

fn unreachable(failures: &[String]) -> anyhow::Error {
    let any = if failures.len() > 1 { "any of " } else { "" };
    anyhow!(
        "no front answers at {any}{}: is one running there? start one with `turnpike up`, or name \
         another with --front or TURNPIKE_FRONT",
        failures.join(", ")
    )
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

/// Translates a front's error into a message for the user.
pub(crate) fn explain(url: &str, status: &Status) -> anyhow::Error {
    let message = status.message();
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Internal if status.source().is_some() => {
            anyhow!("the front at {url} no longer answers ({message}); is it still running?")
        }
        Code::Unimplemented => {
            anyhow!(
                "the server at {url} does not know this call: is it a Turnpike front of this version?"
            )
        }
        Code::Unavailable | Code::ResourceExhausted => {
            anyhow!("the cluster can't take this now: {message}; look at `turnpike status`")
        }
        code => anyhow!("the front refused: {message} ({code:?})"),
    }
}

/// The time-out without progress, and the back-off between retries.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    limit: Duration,
    since: Instant,
    wait: Duration,
}

impl Patience {
    const WAIT_FIRST: Duration = Duration::from_millis(20);
    const WAIT_MOST: Duration = Duration::from_secs(1);

    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), wait: Self::WAIT_FIRST }
    }

    /// Records progress: restarts the time-out and the back-off.
    pub(crate) fn progress(&mut self) {
        *self = Self::new(self.limit);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.since.elapsed() >= self.limit
    }

    pub(crate) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.since.elapsed())
    }

    /// The wait before the next retry; doubles up to one second.
    pub(crate) fn backoff(&mut self) -> Duration {
        let wait = self.wait.min(self.left());
        self.wait = (self.wait * 2).min(Self::WAIT_MOST);
        wait
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::context::given::{context, options};

    const FILE: &str = "[client]\nfront = \"http://file:1, http://file:2\"\ntimeout = \"7s\"";

    fn resolved(words: &[&str], file: &str) -> anyhow::Result<ClientSettings> {
        options::<ClientArgs>(words, &[]).resolve(&context(file).config)
    }

    #[test]
    fn an_option_beats_the_file_which_beats_the_default() {
        let of = |words: &[&str], file| {
            let settings = resolved(words, file).unwrap();
            (settings.fronts.value.join(" "), settings.timeout.as_secs())
        };
        let given = ["--front", "http://a:1,http://b:2", "--timeout", "3s"];
        assert_eq!(of(&given, FILE), ("http://a:1 http://b:2".to_owned(), 3));
        assert_eq!(of(&[], FILE), ("http://file:1 http://file:2".to_owned(), 7));
        assert_eq!(of(&[], ""), (defaults::FRONT_URL.to_owned(), 30));
    }

    #[test]
    fn a_value_that_cannot_be_used_is_named_with_its_source() {
        let refused = |words: &[&str], file| resolved(words, file).unwrap_err().to_string();
        let told = refused(&["--front", "host:1"], FILE);
        assert!(told.contains("\"host:1\"") && told.contains("(--front)"), "{told}");
        let told = refused(&[], "[client]\nfront = \"host:1\"");
        assert!(told.contains("(client.front in the configuration file)"), "{told}");
        let told = refused(&[], "[client]\ntimeout = \"0\"");
        assert!(told.starts_with("client.timeout: "), "{told}");
    }
}
