//! The connection to a front, and the translation of its errors into messages for the user.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use tonic::transport::Uri;
use tonic::{Code, Response, Status};
use turnpike_access::certificates::CertificateUse;
use turnpike_client::{
    Batch, BatchSender, ClientError, ClientToken, FrontChannel, Fronts, Plaintext, SendEvent,
};
use turnpike_proto::access::v1::access_service_client::AccessServiceClient;
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::account::v1::{ShowRequest, ShowResponse};
use turnpike_proto::audit::v1::audit_service_client::AuditServiceClient;
use turnpike_proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use turnpike_proto::feed::v1::feed_service_client::FeedServiceClient;
use turnpike_proto::plan::v1::plan_service_client::PlanServiceClient;
use turnpike_proto::suspense::v1::suspense_service_client::SuspenseServiceClient;
use turnpike_types::limits;

use crate::config::{AddressList, Config};
use crate::exit::usage;
use crate::settings::{Setting, SettingSource};
use crate::tls::{TlsArgs, TlsSettings};
use crate::{defaults, values};

/// Options for the connection to a front.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ClientArgs {
    /// The address of a front, or several separated by commas: if one does not answer, the next is
    /// used [default: http://127.0.0.1:7070, or with --ca https://127.0.0.1:7070]
    #[arg(long, env = "TURNPIKE_FRONT", value_name = "URL,URL", help_heading = "Connection")]
    #[arg(value_delimiter = ',')]
    pub(crate) front: Vec<String>,
    /// Give up when the cluster makes no progress for this long [default: 30s]
    #[arg(long, env = "TURNPIKE_TIMEOUT", value_name = "TIME", help_heading = "Connection")]
    #[arg(value_parser = values::patience)]
    pub(crate) timeout: Option<Duration>,
    /// A file with the token of `turnpike access token issue` that authenticates the requests
    #[arg(long, env = "TURNPIKE_TOKEN_FILE", value_name = "FILE", help_heading = "Connection")]
    pub(crate) token_file: Option<PathBuf>,
    /// Use http:// to other machines too, where everybody in between can read and change what is sent
    #[arg(long, help_heading = "TLS")]
    pub(crate) insecure_plaintext: bool,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

/// A connection to one of several fronts; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    /// The addresses of all fronts, separated by commas, for messages.
    pub(crate) url: String,
    pub(crate) timeout: Duration,
    fronts: Fronts,
}

/// The resolved connection to a front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientSettings {
    /// The addresses of the fronts, in the order in which they are tried.
    pub(crate) fronts: Setting<Vec<String>>,
    /// The maximum time without progress.
    pub(crate) timeout: Duration,
    /// The certificates, if an address begins with `https://`.
    tls: Option<TlsSettings>,
    /// The file with the token that authenticates requests.
    pub(crate) token_file: Option<Setting<PathBuf>>,
    /// Where connections without TLS are made.
    plaintext: Plaintext,
}

impl ClientArgs {
    pub(crate) fn resolve(self, config: &Config) -> anyhow::Result<ClientSettings> {
        let file = &config.client;
        let tls = self.tls.resolve(&config.tls, false)?;
        let default = match &tls {
            Some(_) => defaults::FRONT_URL_TLS,
            None => defaults::FRONT_URL,
        };
        let given: Vec<String> = self.front.iter().map(|url| url.trim().to_owned()).collect();
        let fronts = Setting::resolve(
            ("--front", Some(given).filter(|given| !given.is_empty())),
            ("client.front", file.front.as_ref().map(AddressList::list)),
            vec![default.to_owned()],
        );
        for url in &fronts.value {
            check_address(url, fronts.source)?;
        }
        let is_open = self.insecure_plaintext || config.tls.insecure_plaintext == Some(true);
        let plaintext = if is_open { Plaintext::Everywhere } else { Plaintext::OwnMachine };
        plaintext.check(&fronts.value).map_err(told)?;
        let tls = checked_tls(tls, &fronts.value)?;
        let timeout = match (self.timeout, file.timeout.as_deref()) {
            (Some(timeout), _) => timeout,
            (None, Some(text)) => {
                values::patience(text).map_err(|error| usage(format!("client.timeout: {error}")))?
            }
            (None, None) => defaults::TIMEOUT,
        };
        let token_file = Setting::given(
            ("--token-file", self.token_file),
            ("client.token-file", file.token_file.clone()),
        );
        Ok(ClientSettings { fronts, timeout, tls, token_file, plaintext })
    }
}

impl ClientSettings {
    /// Connects without retries: an unreachable front is an error at once.
    pub(crate) async fn connect(&self) -> anyhow::Result<Front> {
        let urls = self.fronts.value.clone();
        let token = match &self.token_file {
            Some(file) => {
                Some(ClientToken::from_file(&file.value).map_err(|why| file.refused(why))?)
            }
            None => None,
        };
        let connector = match &self.tls {
            Some(tls) => Some(tls.open(CertificateUse::Client, None)?.connector()),
            None => None,
        };
        let limit = self.timeout;
        let connected = match (connector, token) {
            (None, None) if self.is_in_clear() => {
                tracing::warn!(
                    "--insecure-plaintext: everybody between this machine and {} can read and \
                     change what is sent; use https://",
                    urls.join(", ")
                );
                Fronts::connect_in_clear(urls, limit).await
            }
            (None, None) => Fronts::connect(urls, limit).await,
            (None, Some(token)) => Fronts::connect_with_token(token, urls, limit).await,
            (Some(connector), None) => Fronts::secure(connector, urls, limit).await,
            (Some(connector), Some(token)) => {
                Fronts::secure_with_token(connector, token, urls, limit).await
            }
        };
        connected.map(Front::from).map_err(told)
    }
}

impl ClientSettings {
    /// Whether requests go to another machine without TLS.
    fn is_in_clear(&self) -> bool {
        self.plaintext == Plaintext::Everywhere
            && Plaintext::OwnMachine.check(&self.fronts.value).is_err()
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
    pub(crate) fn channel(&self) -> FrontChannel {
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

    pub(crate) fn access(&self) -> AccessServiceClient<FrontChannel> {
        AccessServiceClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn accounts(&self) -> AccountServiceClient<FrontChannel> {
        AccountServiceClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn plans(&self) -> PlanServiceClient<FrontChannel> {
        PlanServiceClient::new(self.channel()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn suspense(&self) -> SuspenseServiceClient<FrontChannel> {
        SuspenseServiceClient::new(self.channel())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<FrontChannel> {
        AuditServiceClient::new(self.channel()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn feed(&self) -> FeedServiceClient<FrontChannel> {
        FeedServiceClient::new(self.channel()).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn cluster(&self) -> ClusterServiceClient<FrontChannel> {
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
        ClientError::BadAddress { url } => usage(format!(
            "{url:?} is not a front's address; write http://HOST:PORT or https://HOST:PORT (--front)"
        )),
        ClientError::NoCertificates { url } => usage(no_authority(&url)),
        error @ ClientError::MixedAddresses { .. } => usage(error.to_string()),
        ClientError::Plaintext { url } => usage(format!(
            "{url} is another machine, and without TLS others could read and change what is sent on its \
             way; write https://HOST:PORT (`turnpike cert --help` shows how to make certificates); \
             --insecure-plaintext does without"
        )),
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
        ClientError::Refused { code: Code::Unauthenticated, .. } => anyhow!(
            "the front does not know who sends this: give a certificate (--certificate, --key, --ca) or \
             a token (--token-file) that is valid"
        ),
        error => error.into(),
    }
}

/// Refuses an address that can't be a front's; the error names its source.
fn check_address(url: &str, source: SettingSource) -> anyhow::Result<()> {
    if (url.starts_with("http://") || is_secure(url)) && url.parse::<Uri>().is_ok() {
        return Ok(());
    }
    let place = match source {
        SettingSource::Key(key) => format!("{key} in the configuration file"),
        SettingSource::Option(_) | SettingSource::Default => "--front".to_owned(),
    };
    Err(usage(format!(
        "{url:?} is not a front's address; write http://HOST:PORT or https://HOST:PORT ({place})"
    )))
}

fn is_secure(url: &str) -> bool {
    url.starts_with("https://")
}

fn no_authority(url: &str) -> String {
    format!(
        "{url} is checked with the certificate of the cluster's authority: --ca FILE (or `ca` in \
         [tls]) is missing"
    )
}

/// The certificates that the addresses require. The file may be that of a server, so its
/// certificates are not needed for an address without TLS, which is then on the own machine; those of
/// options are.
fn checked_tls(tls: Option<TlsSettings>, urls: &[String]) -> anyhow::Result<Option<TlsSettings>> {
    let secure = urls.iter().find(|url| is_secure(url));
    match (tls, secure) {
        (None, Some(url)) => Err(usage(no_authority(url))),
        (Some(tls), None) if tls.is_option => Err(usage(format!(
            "certificates are given, but {} is an address without TLS; write https://HOST:PORT",
            urls.join(", ")
        ))),
        (tls, secure) => Ok(tls.filter(|_| secure.is_some())),
    }
}

/// Translates a front's error into a message for the user.
pub(crate) fn explain(url: &str, status: &Status) -> anyhow::Error {
    told(ClientError::from_status(url, status))
}

/// A field that each answer of a front has.
///
/// # Errors
/// The answer lacks the field, because the front runs another release.
pub(crate) fn stated<T>(field: Option<T>, what: &str) -> anyhow::Result<T> {
    field.with_context(|| {
        format!(
            "the front's answer lacks {what}: it runs another release; use the `turnpike` of the \
             cluster's release"
        )
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::context::given::{context, options};

    const FILE: &str =
        "[client]\nfront = \"http://localhost:1, http://localhost:2\"\ntimeout = \"7s\"";

    fn resolved(words: &[&str], file: &str) -> anyhow::Result<ClientSettings> {
        options::<ClientArgs>(words, &[]).resolve(&context(file).config)
    }

    #[test]
    fn an_option_beats_the_file_which_beats_the_default() {
        let of = |words: &[&str], file| {
            let settings = resolved(words, file).unwrap();
            (settings.fronts.value.join(" "), settings.timeout.as_secs())
        };
        let given = ["--front", "http://127.0.0.1:1,http://[::1]:2", "--timeout", "3s"];
        assert_eq!(of(&given, FILE), ("http://127.0.0.1:1 http://[::1]:2".to_owned(), 3));
        assert_eq!(of(&[], FILE), ("http://localhost:1 http://localhost:2".to_owned(), 7));
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

    /// Whatever else is given: an address alone never makes a connection without TLS to another
    /// machine, and neither does a front that does not answer.
    #[test]
    fn plaintext_to_another_machine_is_used_only_when_it_is_asked_for() {
        const TLS: &str = "[tls]\nca = \"ca.crt\"\n";
        let refused = |words: &[&str], file| resolved(words, file).unwrap_err().to_string();
        for (words, file) in [
            (&["--front", "http://prod:7070"][..], ""),
            (&["--front", "http://prod:7070"], TLS),
            (&["--front", "http://localhost:1,http://192.0.2.7:7070"], TLS),
            (&[], "[client]\nfront = \"http://prod:7070\"\n[tls]\nca = \"ca.crt\"\n"),
        ] {
            let told = refused(words, file);
            assert!(told.contains("--insecure-plaintext does without"), "{words:?}: {told}");
        }
        for allowed in ["", "[tls]\ninsecure-plaintext = true"] {
            let given = &["--front", "http://prod:7070", "--insecure-plaintext"];
            let given = if allowed.is_empty() { &given[..] } else { &given[..2] };
            assert!(resolved(given, allowed).unwrap().is_in_clear());
        }
        let near = resolved(&["--front", "http://[::1]:7070", "--insecure-plaintext"], TLS);
        assert!(!near.unwrap().is_in_clear());
        for mixed in ["https://a:1,http://b:1", "http://127.0.0.1:1,https://a:1"] {
            for more in [&[][..], &["--insecure-plaintext"], &["--ca", "ca.crt"]] {
                let told = refused(&[&["--front", mixed][..], more].concat(), TLS);
                assert!(told.contains("write https:// for all"), "{mixed} {more:?}: {told}");
            }
        }
    }
}
