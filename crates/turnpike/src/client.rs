//! The connection to a front, and the translation of its errors into messages for the user.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use turnpike_client::{Batch, BatchSender, ClientError, Fronts, SendEvent};
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::account::v1::{ShowRequest, ShowResponse};
use turnpike_proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use turnpike_proto::plan::v1::plan_service_client::PlanServiceClient;
use turnpike_proto::suspense::v1::suspense_service_client::SuspenseServiceClient;
use turnpike_types::limits;

use crate::config::Config;
use crate::exit::usage;
use crate::values;

/// The default address of the front.
pub(crate) const FRONT_DEFAULT: &str = "http://127.0.0.1:7070";
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

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

/// A connection to one of several fronts; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    /// The addresses of all fronts, separated by commas, for messages.
    pub(crate) url: String,
    pub(crate) timeout: Duration,
    fronts: Fronts,
}

impl ClientArgs {
    /// The addresses of the fronts, in the order in which they are tried.
    pub(crate) fn urls(&self, config: &Config) -> Vec<String> {
        let given: Vec<String> = self.front.iter().map(|url| url.trim().to_owned()).collect();
        match (&given[..], &config.client.front) {
            ([], None) => vec![FRONT_DEFAULT.to_owned()],
            ([], Some(file)) => file.list(),
            _ => given,
        }
    }

    /// The maximum time without progress.
    pub(crate) fn patience(&self, config: &Config) -> anyhow::Result<Duration> {
        match (self.timeout, config.client.timeout.as_deref()) {
            (Some(timeout), _) => Ok(timeout),
            (None, Some(text)) => {
                values::patience(text).map_err(|error| usage(format!("client.timeout: {error}")))
            }
            (None, None) => Ok(TIMEOUT_DEFAULT),
        }
    }

    /// Connects without retries: an unreachable front is an error at once.
    pub(crate) async fn connect(&self, config: &Config) -> anyhow::Result<Front> {
        Front::connect_any(self.urls(config), self.patience(config)?).await
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
        Fronts::connect(urls, timeout).await.map(Self::from).map_err(told)
    }

    /// Opens another connection: to the front in use if it accepts, else to the next one that does.
    pub(crate) async fn again(&self) -> anyhow::Result<Self> {
        self.fronts.again().await.map(Self::from).map_err(told)
    }

    /// The connection, for the functions of the client crate.
    pub(crate) const fn fronts(&self) -> &Fronts {
        &self.fronts
    }

    /// The connection to the front in use.
    pub(crate) fn channel(&self) -> Channel {
        self.fronts.channel()
    }

    /// Sends the batches of `next`, at most `window` at a time, until all are answered.
    pub(crate) async fn send<T>(
        &self,
        window: usize,
        next: impl FnMut() -> Option<Batch<T>>,
        on_event: impl FnMut(SendEvent<T>),
    ) -> anyhow::Result<()> {
        let mut sender = BatchSender::new(self.fronts.clone(), window).map_err(told)?;
        sender.send_all(next, on_event).await.map_err(told)
    }

    pub(crate) fn accounts(&self) -> AccountServiceClient<Channel> {
        AccountServiceClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn plans(&self) -> PlanServiceClient<Channel> {
        PlanServiceClient::new(self.channel()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
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
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.fronts.call(|_| call()).await.map_err(told).context(doing.to_owned())
    }
}

impl From<Fronts> for Front {
    fn from(fronts: Fronts) -> Self {
        Self { url: fronts.urls().join(", "), timeout: fronts.limit(), fronts }
    }
}

/// Translates an error of the client into a message for the user of the program.
pub(crate) fn told(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::BadAddress { url } => {
            usage(format!("{url:?} is not a front's address; write http://HOST:PORT (--front)"))
        }
        ClientError::Unreachable { failures } => {
            let any = if failures.len() > 1 { "any of " } else { "" };
            anyhow!(
                "no front answers at {any}{}: is one running there? start one with `turnpike up`, \
                 or name another with --front or TURNPIKE_FRONT",
                failures.join(", ")
            )
        }
        ClientError::NoAnswer { url, limit } => {
            anyhow!("{url} did not answer within {limit:?}").context("look at `turnpike status`")
        }
        error => error.into(),
    }
}

/// Translates a front's error into a message for the user.
pub(crate) fn explain(url: &str, status: &Status) -> anyhow::Error {
    told(ClientError::from_status(url, status))
}
