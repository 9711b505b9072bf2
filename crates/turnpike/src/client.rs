//! The connection to a front, and what its refusals mean to a person.

use std::error::Error as _;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use turnpike_proto::feed::v1::feed_service_client::FeedServiceClient;
use turnpike_proto::plan::v1::plan_service_client::PlanServiceClient;
use turnpike_proto::suspense::v1::suspense_service_client::SuspenseServiceClient;
use turnpike_types::limits;

use crate::config::Config;
use crate::exit::usage;
use crate::values;

/// Where a front is when nobody says.
pub(crate) const FRONT_DEFAULT: &str = "http://127.0.0.1:7070";
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// One stream of batches may have this much on its way; small windows idle on fast links.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// All streams of a connection together.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// How a command reaches a front.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ClientArgs {
    /// A front's address [default: http://127.0.0.1:7070]
    #[arg(long, env = "TURNPIKE_FRONT", value_name = "URL", help_heading = "Connection")]
    pub(crate) front: Option<String>,
    /// Give up when the cluster makes no progress for this long [default: 30s]
    #[arg(long, env = "TURNPIKE_TIMEOUT", value_name = "TIME", help_heading = "Connection")]
    #[arg(value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
}

/// A connection to a front; clones share it. It reconnects by itself.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    pub(crate) url: String,
    pub(crate) timeout: Duration,
    pub(crate) channel: Channel,
}

impl ClientArgs {
    /// Where the front is.
    pub(crate) fn url(&self, config: &Config) -> String {
        let url = self.front.clone().or_else(|| config.client.front.clone());
        url.unwrap_or_else(|| FRONT_DEFAULT.to_owned())
    }

    /// How long to be patient.
    pub(crate) fn patience(&self, config: &Config) -> anyhow::Result<Duration> {
        match (self.timeout, config.client.timeout.as_deref()) {
            (Some(timeout), _) => Ok(timeout),
            (None, Some(text)) => {
                values::duration(text).map_err(|error| usage(format!("client.timeout: {error}")))
            }
            (None, None) => Ok(TIMEOUT_DEFAULT),
        }
    }

    /// Connects, at once or not at all: a front that is not there is told right away.
    pub(crate) async fn connect(&self, config: &Config) -> anyhow::Result<Front> {
        Front::connect(&self.url(config), self.patience(config)?).await
    }
}

impl Front {
    /// Connects to the front at `url`.
    pub(crate) async fn connect(url: &str, timeout: Duration) -> anyhow::Result<Self> {
        let endpoint = endpoint(url)?;
        let channel = endpoint.connect().await.map_err(|error| unreachable_front(url, &error))?;
        Ok(Self { url: url.to_owned(), timeout, channel })
    }

    /// Another connection to the same front.
    pub(crate) async fn again(&self) -> anyhow::Result<Self> {
        Self::connect(&self.url, self.timeout).await
    }

    pub(crate) fn accounts(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn plans(&self) -> PlanServiceClient<Channel> {
        PlanServiceClient::new(self.channel.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn feed(&self) -> FeedServiceClient<Channel> {
        FeedServiceClient::new(self.channel.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn suspense(&self) -> SuspenseServiceClient<Channel> {
        SuspenseServiceClient::new(self.channel.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    /// Calls until an answer comes that is not "later", or patience ends.
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
                    tokio::time::sleep(patience.backoff()).await;
                }
                Ok(Err(status)) => {
                    return Err(explain(&self.url, &status)).context(doing.to_owned());
                }
                Err(_) => {
                    let error = anyhow!("{} did not answer within {:?}", self.url, self.timeout);
                    return Err(error.context("look at `turnpike status`"))
                        .context(doing.to_owned());
                }
            }
        }
    }
}

fn endpoint(url: &str) -> anyhow::Result<Endpoint> {
    let wrong =
        || usage(format!("{url:?} is no front's address; write http://HOST:PORT (--front)"));
    if !url.starts_with("http://") {
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

fn unreachable_front(url: &str, error: &tonic::transport::Error) -> anyhow::Error {
    let mut cause = error.source();
    let mut last = error.to_string();
    while let Some(source) = cause {
        last = source.to_string();
        cause = source.source();
    }
    anyhow!(
        "no front answers at {url} ({last}): is one running there? start one with `turnpike up`, \
         or name another with --front or TURNPIKE_FRONT"
    )
}

/// Is the same call worth trying again by itself?
pub(crate) fn is_transient(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::Cancelled => true,
        // The transport's own troubles come as these, with a cause; a server's refusal has none.
        Code::Unknown | Code::Internal => status.source().is_some(),
        _ => false,
    }
}

/// What a front's refusal means.
pub(crate) fn explain(url: &str, status: &Status) -> anyhow::Error {
    let message = status.message();
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Internal if status.source().is_some() => {
            anyhow!("the front at {url} does not answer any more ({message}); is it still running?")
        }
        Code::Unimplemented => {
            anyhow!(
                "what answers at {url} does not know this call: is it a Turnpike front, and of this version?"
            )
        }
        Code::Unavailable | Code::ResourceExhausted => {
            anyhow!("the cluster can't take this now: {message}; look at `turnpike status`")
        }
        code => anyhow!("the front refused: {message} ({code:?})"),
    }
}

/// How long something may go without progress, and how long to wait between tries.
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

    /// Something went forward.
    pub(crate) fn progress(&mut self) {
        *self = Self::new(self.limit);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.since.elapsed() >= self.limit
    }

    pub(crate) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.since.elapsed())
    }

    /// How long to wait before the next try; doubles up to a second.
    pub(crate) fn backoff(&mut self) -> Duration {
        let wait = self.wait.min(self.left());
        self.wait = (self.wait * 2).min(Self::WAIT_MOST);
        wait
    }
}
