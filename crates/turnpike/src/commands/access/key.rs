//! `turnpike access key`: the keys that sign tokens.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::{Args, Subcommand};
use turnpike_access::tokens::form::SigningKey;
use turnpike_access::tokens::key_file;
use turnpike_proto::access::v1::{AddKeyRequest, ListKeysRequest, RetireKeyRequest};

use crate::client::{ClientArgs, ClientSettings, Front};
use crate::context::Context;
use crate::exit::{Finish, usage};
use crate::{ui, values};

const EXAMPLES: &str = "\
The secret part of a key stays in its file, which only its owner can read. The cluster keeps the
public part. Several keys are valid side by side: to replace one, make another, issue tokens with
it, and retire the old one when its tokens are no longer used.

Examples:
  turnpike access key new --key-file turnpike.key
  turnpike access key add --key-file turnpike.key     if `new` could not register it
  turnpike access key list
  turnpike access key retire 8d3f1a2b4c5d6e7f";

/// The commands for keys.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum KeyCommand {
    /// Makes a key in a new file, and registers its public part
    #[command(after_help = EXAMPLES)]
    New(FileArgs),
    /// Registers the public part of a key that `new` made and could not register
    #[command(after_help = EXAMPLES)]
    Add(FileArgs),
    /// Lists the keys
    #[command(after_help = EXAMPLES)]
    List(KeyListArgs),
    /// Retires a key: tokens that it signed are no longer valid
    #[command(after_help = EXAMPLES)]
    Retire(RetireArgs),
}

/// Options of `access key new` and `access key add`.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// The file with the secret part of the key
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    #[command(flatten)]
    client: ClientArgs,
}

/// Options of `access key list`.
#[derive(Debug, Args)]
pub(crate) struct KeyListArgs {
    #[command(flatten)]
    client: ClientArgs,
}

/// Options of `access key retire`.
#[derive(Debug, Args)]
pub(crate) struct RetireArgs {
    /// The id of the key, as `list` shows it
    id: String,
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(command: KeyCommand, context: &Context) -> anyhow::Result<Finish> {
    match command {
        KeyCommand::New(args) => {
            let client = args.client.resolve(&context.config)?;
            new(args.key_file, &client).await
        }
        KeyCommand::Add(args) => {
            let client = args.client.resolve(&context.config)?;
            let key = key_file::load(&args.key_file).map_err(|why| usage(key_file_wrong(&why)))?;
            register(&client.connect().await?, &key).await
        }
        KeyCommand::List(args) => list(&args.client.resolve(&context.config)?).await,
        KeyCommand::Retire(args) => {
            let id = key_id(&args.id)?;
            retire(id, &args.client.resolve(&context.config)?).await
        }
    }
}

pub(super) fn key_file_wrong(why: &str) -> String {
    format!("{why} (--key-file)")
}

async fn new(path: PathBuf, client: &ClientSettings) -> anyhow::Result<Finish> {
    // The front is asked first, so that no file is made for a cluster that does not answer.
    let front = client.connect().await?;
    let key = key_file::create(&path).map_err(|why| usage(key_file_wrong(&why)))?;
    register(&front, &key).await.with_context(|| {
        let path = path.display();
        format!(
            "the key is in {path}, but it is not known whether the cluster registered it: run \
             `turnpike access key add --key-file {path}`"
        )
    })
}

async fn register(front: &Front, key: &SigningKey) -> anyhow::Result<Finish> {
    let public_key = key.public_key().map_err(|why| anyhow!(why))?;
    let request = AddKeyRequest { public_key: public_key.to_vec().into() };
    let adding = front.call("the key could not be registered", || {
        let (mut access, request) = (front.access(), request.clone());
        async move { access.add_key(request).await }
    });
    let id = adding.await?.key_id;
    ui::print(format_args!("key {id:016x} signs tokens"))?;
    Ok(Finish::Done)
}

async fn list(client: &ClientSettings) -> anyhow::Result<Finish> {
    let front = client.connect().await?;
    let listing = front.call("the keys could not be listed", || {
        let mut access = front.access();
        async move { access.list_keys(ListKeysRequest {}).await }
    });
    let rows = listing.await?.keys.into_iter().map(|key| {
        let retired = key.retired_us.map_or_else(|| "-".to_owned(), values::show_instant);
        let id = format!("{:016x}", key.key_id);
        vec![id, values::show_instant(key.added_us), key.added_by, retired]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    ui::print_table(&["key", "added", "by", "retired"], &rows)?;
    Ok(Finish::Done)
}

async fn retire(id: u64, client: &ClientSettings) -> anyhow::Result<Finish> {
    let front = client.connect().await?;
    let request = RetireKeyRequest { key_id: id };
    let retiring = front.call("the key could not be retired", || {
        let mut access = front.access();
        async move { access.retire_key(request).await }
    });
    retiring.await?;
    ui::print(format_args!(
        "key {id:016x} is retired: its tokens are refused by every front within seconds"
    ))?;
    Ok(Finish::Done)
}

fn key_id(text: &str) -> anyhow::Result<u64> {
    let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = u64::from_str_radix(text, 16).ok().filter(|_| is_id);
    id.ok_or_else(|| {
        usage(format!("{text:?} is no key: its id has 16 hexadecimal digits (access key list)"))
    })
}
