//! `turnpike access`: grants roles, issues tokens, and tests what a principal may do.

mod certificate;
mod key;
mod recover;
mod token;
mod token_file;

use std::cell::Cell;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Serialize;
use turnpike_proto::access::v1::{
    AccountSpan, Grant, GrantRequest, ListGrantsRequest, RevokeRequest, TestRequest,
};
use turnpike_types::{AccountRange, Timestamp};

use crate::client::{ClientArgs, ClientSettings};
use crate::context::Context;
use crate::exit::{EXIT_CODES, Finish};
use crate::{ui, values};

const EXAMPLES: &str = "\
A principal is `token:NAME`, or the URI in a certificate, or all URIs below a path:
spiffe://turnpike/client/*. Roles: collector, consumer, pricing, operator, support, subscriber,
auditor, admin; docs/security.md says what each may do.

The first grant switches access control on, for good. Without certificates, begin with the first
four of these commands.

Examples:
  turnpike access key new --key-file turnpike.key
  turnpike access token issue root --key-file turnpike.key --for 30d --output root.token
  turnpike access grant token:root admin
  export TURNPIKE_TOKEN_FILE=root.token
  turnpike access grant token:radius collector --source radius
  turnpike access grant token:desk support --accounts 1-1000
  turnpike access test token:desk AccountService/Show --account 7";

/// The access commands.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) enum AccessCommand {
    /// Grants a role to a principal
    #[command(after_help = GRANT_EXAMPLES)]
    Grant(GrantArgs),
    /// Revokes a role: all grants of it to a principal
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke(RevokeArgs),
    /// Lists the grants
    #[command(after_help = LIST_EXAMPLES)]
    List(GrantListArgs),
    /// Tests whether a principal may call a method, and prints the rule that decides
    #[command(after_help = TEST_EXAMPLES)]
    Test(AccessTestArgs),
    /// Issues, lists and revokes tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Makes, lists and retires the keys that sign tokens
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Revokes certificates before they expire
    #[command(subcommand)]
    Certificate(certificate::CertificateCommand),
    /// Makes an administrator in the shared database, when none can make changes any more
    #[command(after_help = recover::EXAMPLES)]
    Recover(recover::RecoverArgs),
}

const GRANT_EXAMPLES: &str = "\
Examples:
  turnpike access grant token:radius collector --source radius --accounts 1-500000
  turnpike access grant token:billing consumer --consumer billing
  turnpike access grant token:alice subscriber --accounts 42
  turnpike access grant 'spiffe://turnpike/client/*' auditor --until 2027-01-01T00:00:00Z";

const REVOKE_EXAMPLES: &str = "\
A principal that does not have the role is an error (exit code 1).

Examples:
  turnpike access revoke token:radius collector";

const LIST_EXAMPLES: &str = "\
Examples:
  turnpike access list
  turnpike access list --json";

const TEST_EXAMPLES: &str = "\
The exit code is 0 if the principal may call the method, and 1 if not.

Examples:
  turnpike access test token:desk AccountService/Show --account 7
  turnpike access test token:radius IngestService/Ingest --source radius
  turnpike access test spiffe://turnpike/client/billing FeedService/Pull --consumer billing";

/// Options of `access grant`.
#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// The principal: token:NAME, spiffe://CLUSTER/KIND/NAME, or a prefix that ends in /*
    principal: String,
    /// The role
    role: String,
    /// Only these accounts (roles collector, support); the account of a subscriber
    #[arg(long, value_name = "FIRST-LAST", value_parser = span)]
    accounts: Option<AccountRange>,
    /// Only records from this source (role collector); repeat for more
    #[arg(long, value_name = "NAME")]
    source: Vec<String>,
    /// The consumer whose cursors it moves (role consumer)
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,
    /// The grant ends at this instant, such as 2027-01-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = values::instant)]
    until: Option<Timestamp>,
    #[command(flatten)]
    client: ClientArgs,
}

/// Options of `access revoke`.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The principal, as it was granted
    principal: String,
    /// The role
    role: String,
    #[command(flatten)]
    client: ClientArgs,
}

/// Options of `access list`.
#[derive(Debug, Args)]
pub(crate) struct GrantListArgs {
    /// Report as JSON, one object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// Options of `access test`.
#[derive(Debug, Args)]
pub(crate) struct AccessTestArgs {
    /// The principal: token:NAME, spiffe://CLUSTER/KIND/NAME, or anonymous
    principal: String,
    /// The method, such as AccountService/Show
    method: String,
    /// For this account
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    account: Option<u64>,
    /// For records from this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// For the cursors of this consumer
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

/// The resolved request of `access grant`.
struct GrantSettings {
    request: GrantRequest,
    client: ClientSettings,
}

/// The resolved request of `access revoke`.
struct RevokeSettings {
    request: RevokeRequest,
    client: ClientSettings,
}

/// The resolved settings of `access list`.
struct ListSettings {
    json: bool,
    client: ClientSettings,
}

/// The resolved request of `access test`.
struct TestSettings {
    request: TestRequest,
    client: ClientSettings,
}

impl GrantArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<GrantSettings> {
        let accounts =
            self.accounts.map(|range| AccountSpan { first: range.first().0, last: range.last().0 });
        let request = GrantRequest {
            principal: self.principal,
            role: self.role,
            accounts,
            sources: self.source,
            consumer: self.consumer.unwrap_or_default(),
            until_us: self.until.map(Timestamp::micros),
        };
        Ok(GrantSettings { request, client: self.client.resolve(&context.config)? })
    }
}

impl RevokeArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<RevokeSettings> {
        let request = RevokeRequest { principal: self.principal, role: self.role };
        Ok(RevokeSettings { request, client: self.client.resolve(&context.config)? })
    }
}

impl GrantListArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<ListSettings> {
        Ok(ListSettings { json: self.json, client: self.client.resolve(&context.config)? })
    }
}

impl AccessTestArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<TestSettings> {
        let request = TestRequest {
            principal: self.principal,
            method: self.method,
            account_number: self.account,
            source: self.source,
            consumer: self.consumer,
        };
        Ok(TestSettings { request, client: self.client.resolve(&context.config)? })
    }
}

pub(crate) async fn run(command: AccessCommand, context: &Context) -> anyhow::Result<Finish> {
    match command {
        AccessCommand::Grant(args) => grant(args.resolve(context)?).await,
        AccessCommand::Revoke(args) => revoke(args.resolve(context)?).await,
        AccessCommand::List(args) => list(args.resolve(context)?).await,
        AccessCommand::Test(args) => test(args.resolve(context)?).await,
        AccessCommand::Token(command) => token::run(command, context).await,
        AccessCommand::Key(command) => key::run(command, context).await,
        AccessCommand::Certificate(command) => certificate::run(command, context).await,
        AccessCommand::Recover(args) => recover::run(args.resolve(context)?).await,
    }
}

/// A range of accounts, or one account.
fn span(text: &str) -> Result<AccountRange, String> {
    match text.parse::<u64>() {
        Ok(one) if one > 0 => AccountRange::new(one, one).map_err(|why| why.to_string()),
        _ => values::accounts(text),
    }
}

async fn grant(settings: GrantSettings) -> anyhow::Result<Finish> {
    let GrantSettings { request, client } = settings;
    let front = client.connect().await?;
    let done = front.call("the role could not be granted", || {
        let (mut access, request) = (front.access(), request.clone());
        async move { access.grant(request).await }
    });
    let answer = done.await?;
    let GrantRequest { principal, role, .. } = request;
    ui::print(format_args!("{principal} has the role {role} (grant {})", answer.grant_id))?;
    if answer.enabled {
        ui::print_stderr(
            "access control is on now, for good: every request needs a certificate or a token \
             (--token-file)",
        );
    }
    Ok(Finish::Done)
}

async fn revoke(settings: RevokeSettings) -> anyhow::Result<Finish> {
    let RevokeSettings { request, client } = settings;
    let front = client.connect().await?;
    let attempts = Cell::new(0u32);
    let done = front.call("the role could not be revoked", || {
        attempts.set(attempts.get().saturating_add(1));
        let (mut access, request) = (front.access(), request.clone());
        async move { access.revoke(request).await }
    });
    let revoked = done.await?.revoked;
    let RevokeRequest { principal, role } = request;
    // After a lost answer the first attempt may have revoked it.
    if revoked == 0 && attempts.get() == 1 {
        bail!("{principal} does not have the role {role}: nothing was revoked");
    }
    ui::print(format_args!(
        "{principal} no longer has the role {role} ({revoked} grants); every front follows within \
         seconds"
    ))?;
    Ok(Finish::Done)
}

/// A grant as JSON.
#[derive(Serialize)]
struct Shown {
    grant: u64,
    principal: String,
    role: String,
    /// `null`: all accounts.
    accounts: Option<String>,
    /// Empty: all sources.
    sources: Vec<String>,
    consumer: Option<String>,
    /// `null`: never.
    until: Option<String>,
    granted_by: String,
    granted_at: String,
}

impl From<Grant> for Shown {
    fn from(grant: Grant) -> Self {
        Self {
            grant: grant.grant_id,
            principal: grant.principal,
            role: grant.role,
            accounts: grant.accounts.map(|span| match span.first == span.last {
                true => span.first.to_string(),
                false => format!("{}-{}", span.first, span.last),
            }),
            sources: grant.sources,
            consumer: Some(grant.consumer).filter(|consumer| !consumer.is_empty()),
            until: grant.until_us.map(values::show_instant),
            granted_by: grant.granted_by,
            granted_at: values::show_instant(grant.granted_us),
        }
    }
}

async fn list(settings: ListSettings) -> anyhow::Result<Finish> {
    let front = settings.client.connect().await?;
    let listing = front.call("the grants could not be listed", || {
        let mut access = front.access();
        async move { access.list(ListGrantsRequest {}).await }
    });
    let answer = listing.await?;
    if answer.enabled_us.is_none() {
        ui::print_stderr(
            "no role was ever granted: without TLS, access control is off, and every client on \
             the machine of a front may do everything",
        );
    }
    let grants: Vec<Shown> = answer.grants.into_iter().map(Shown::from).collect();
    if settings.json {
        for grant in &grants {
            ui::print_json(grant)?;
        }
        return Ok(Finish::Done);
    }
    let rows = grants.into_iter().map(|grant| {
        let limits = [
            grant.accounts.map(|accounts| format!("accounts {accounts}")),
            Some(grant.sources.join(", "))
                .filter(|sources| !sources.is_empty())
                .map(|sources| format!("sources {sources}")),
            grant.consumer.map(|consumer| format!("cursors of {consumer}")),
        ];
        let limits: Vec<String> = limits.into_iter().flatten().collect();
        let limits = if limits.is_empty() { "-".to_owned() } else { limits.join("; ") };
        let until = grant.until.unwrap_or_else(|| "-".to_owned());
        vec![grant.principal, grant.role, limits, until, grant.granted_by]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    ui::print_table(&["principal", "role", "only", "until", "granted by"], &rows)?;
    Ok(Finish::Done)
}

async fn test(settings: TestSettings) -> anyhow::Result<Finish> {
    let TestSettings { request, client } = settings;
    let front = client.connect().await?;
    let testing = front.call("this could not be tested", || {
        let (mut access, request) = (front.access(), request.clone());
        async move { access.test(request).await }
    });
    let answer = testing.await?;
    let word = if answer.allowed { "yes" } else { "no" };
    ui::print(format_args!("{word}: {}", answer.rule))?;
    Ok(if answer.allowed { Finish::Done } else { Finish::Different })
}
