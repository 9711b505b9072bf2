//! `turnpike access token`: tokens, which authenticate requests.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use turnpike_access::check_subject;
use turnpike_access::tokens::form::{Claims, SigningKey, key_id, new_id};
use turnpike_access::tokens::key_file;
use turnpike_proto::access::v1::revoke_token_request::Which;
use turnpike_proto::access::v1::{
    AddTokenRequest, ListKeysRequest, ListTokensRequest, RevokeTokenRequest,
};
use turnpike_types::{Timestamp, capped};

use super::key::key_file_wrong;
use super::token_file::NewTokenFile;
use crate::client::{ClientArgs, ClientSettings};
use crate::context::Context;
use crate::exit::{Finish, usage};
use crate::{ui, values};

const EXAMPLES: &str = "\
A token is for the principal token:NAME. What it may do is granted to this principal, before or
after the token is issued. Keep the token secret: its holder may do the same. --output makes a file
that only its owner can read; --token-file refuses a file that others can read.

Examples:
  turnpike access token issue billing --key-file turnpike.key --for 12h --output billing.token
  turnpike access token list
  turnpike access token revoke --name billing
  turnpike pull --consumer billing --output lines.csv --token-file billing.token";

/// The commands for tokens.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum TokenCommand {
    /// Issues a token, and writes it to a new file or to standard output
    #[command(after_help = EXAMPLES)]
    Issue(IssueTokenArgs),
    /// Lists the tokens that were issued; not the tokens themselves, which the cluster does not have
    #[command(after_help = EXAMPLES)]
    List(TokenListArgs),
    /// Revokes a token, or all tokens of a name
    #[command(after_help = EXAMPLES)]
    Revoke(TokenRevokeArgs),
}

/// Options of `access token issue`.
#[derive(Debug, Args)]
pub(crate) struct IssueTokenArgs {
    /// The name in the principal token:NAME
    name: String,
    /// The file with the key that signs it, from `turnpike access key new`
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// How long it is valid, at most 90d
    #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = values::duration)]
    within: Duration,
    /// The file to create for the token, with mode 0600 [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
}

/// Options of `access token list`.
#[derive(Debug, Args)]
pub(crate) struct TokenListArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// Options of `access token revoke`.
#[derive(Debug, Args)]
pub(crate) struct TokenRevokeArgs {
    /// The id of the token, as `list` shows it
    #[arg(required_unless_present = "name", conflicts_with = "name")]
    id: Option<String>,
    /// All tokens of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

/// The resolved settings of `access token issue`.
struct IssueSettings {
    subject: String,
    key: SigningKey,
    within: Duration,
    output: Option<PathBuf>,
    client: ClientSettings,
}

impl IssueTokenArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<IssueSettings> {
        check_subject(&self.name).map_err(usage)?;
        let client = self.client.resolve(&context.config)?;
        let key = key_file::load(&self.key_file).map_err(|why| usage(key_file_wrong(&why)))?;
        let (subject, output) = (self.name, self.output);
        Ok(IssueSettings { subject, key, within: self.within, output, client })
    }
}

impl TokenRevokeArgs {
    fn which(&self) -> Option<Which> {
        let of_id = self.id.clone().map(Which::TokenId);
        of_id.or_else(|| self.name.clone().map(Which::Subject))
    }
}

pub(super) async fn run(command: TokenCommand, context: &Context) -> anyhow::Result<Finish> {
    match command {
        TokenCommand::Issue(args) => issue(args.resolve(context)?).await,
        TokenCommand::List(args) => list(&args.client.resolve(&context.config)?).await,
        TokenCommand::Revoke(args) => {
            let which = args.which();
            revoke(which, &args.client.resolve(&context.config)?).await
        }
    }
}

async fn issue(settings: IssueSettings) -> anyhow::Result<Finish> {
    let IssueSettings { subject, key, within, output, client } = settings;
    let front = client.connect().await?;
    let asking = front.call("the cluster's name could not be read", || {
        let mut access = front.access();
        async move { access.list_keys(ListKeysRequest {}).await }
    });
    let audience = asking.await?.cluster;
    let public_key = key.public_key().map_err(|why| anyhow!(why))?;
    let not_before = Timestamp(values::now_us());
    let claims = Claims {
        key: key_id(&public_key),
        id: new_id().map_err(|why| anyhow!(why))?,
        not_before,
        expires: not_before.saturating_add(capped(within.as_micros())),
        audience,
        subject,
    };
    let token = key.sign(&claims).map_err(|why| anyhow!(why))?;
    let request = AddTokenRequest {
        token_id: claims.id_text(),
        key_id: claims.key,
        subject: claims.subject.clone(),
        not_before_us: claims.not_before.micros(),
        expires_us: claims.expires.micros(),
    };
    // The file is created first, so that no token is registered that can't be written.
    let file = output.as_deref().map(NewTokenFile::create).transpose()?;
    let registering = front.call("the token could not be registered", || {
        let (mut access, request) = (front.access(), request.clone());
        async move { access.add_token(request).await }
    });
    registering.await?;
    match file {
        Some(file) => {
            file.write(&token).context("the token was registered, but is lost (--output)")?
        }
        None => ui::print(token)?,
    }
    ui::print_stderr(format_args!(
        "token {} is for token:{}, until {}",
        claims.id_text(),
        claims.subject,
        values::show_instant(claims.expires.micros())
    ));
    Ok(Finish::Done)
}

async fn list(client: &ClientSettings) -> anyhow::Result<Finish> {
    let front = client.connect().await?;
    let listing = front.call("the tokens could not be listed", || {
        let mut access = front.access();
        async move { access.list_tokens(ListTokensRequest {}).await }
    });
    let now = values::now_us();
    let rows = listing.await?.tokens.into_iter().map(|token| {
        let state = match token.revoked_us {
            Some(at) => format!("revoked {}", values::show_instant(at)),
            None if token.expires_us <= now => "expired".to_owned(),
            None => "valid".to_owned(),
        };
        let expires = values::show_instant(token.expires_us);
        let principal = format!("token:{}", token.subject);
        vec![token.token_id, principal, expires, state, token.issued_by]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    ui::print_table(&["token", "principal", "expires", "state", "issued by"], &rows)?;
    Ok(Finish::Done)
}

async fn revoke(which: Option<Which>, client: &ClientSettings) -> anyhow::Result<Finish> {
    let front = client.connect().await?;
    let request = RevokeTokenRequest { which };
    let revoking = front.call("nothing was revoked", || {
        let (mut access, request) = (front.access(), request.clone());
        async move { access.revoke_token(request).await }
    });
    let revoked = revoking.await?.revoked;
    if revoked == 0 {
        ui::print("no token was valid any more: all had expired, or were revoked before")?;
        return Ok(Finish::Done);
    }
    ui::print(format_args!("{revoked} tokens are revoked; every front follows within seconds"))?;
    Ok(Finish::Done)
}
