//! `turnpike access recover`: a new administrator, for an operator of the shared database.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use turnpike_access::audit::AuditLog;
use turnpike_access::tokens::form::{Claims, SigningKey, check_audience, key_id, new_id};
use turnpike_access::tokens::key_file;
use turnpike_access::{
    Access, AccessApi, AccessConfig, Actor, Recovery, check_subject, cluster_of,
};
use turnpike_store::AccessRead;
use turnpike_store::memory::system_clock;
use turnpike_types::{Timestamp, capped};

use super::key::key_file_wrong;
use super::token_file::NewTokenFile;
use crate::access::CLUSTER_DEFAULT;
use crate::context::Context;
use crate::database::{self, DatabaseArgs};
use crate::exit::{Finish, usage};
use crate::{ui, values};

pub(super) const EXAMPLES: &str = "\
For the case that no administrator can make changes any more: the last token expired, or its file or
the key is lost. Registers a key and a token in the shared database, and grants the role admin to
token:NAME. While access control is off nothing has to be recovered, and --first is needed: the
first grant switches access control on, for good. The database's role must be permitted to change
access control, as turnpike_front is. Each change is in the audit log, as made by the user of this
machine. Fronts follow within seconds. Afterwards look at the grants, tokens and keys, and revoke
what was lost.

Examples:
  turnpike access recover rescue --key-file rescue.key --output rescue.token \\
    --database postgres://turnpike_front@db/turnpike
  turnpike access list --token-file rescue.token";

/// Options of `access recover`.
#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// The name in the principal token:NAME
    name: String,
    /// The file with the key that signs the token; made if it does not exist
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// The file to create for the token
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// How long the token is valid, at most 90d
    #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = values::duration)]
    within: Duration,
    /// The cluster's name in the certificates of its fronts [default: the one that grants name, else
    /// that in [tls] of the file, else the name of a cluster without certificates]
    #[arg(long, env = "TURNPIKE_CLUSTER", value_name = "NAME")]
    cluster: Option<String>,
    /// Also if access control is off: switches it on, for good
    #[arg(long)]
    first: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// The resolved settings of `access recover`.
pub(super) struct RecoverSettings {
    subject: String,
    key_file: PathBuf,
    output: PathBuf,
    within: Duration,
    cluster: Option<String>,
    /// The name in the configuration file.
    file_cluster: Option<String>,
    first: bool,
    database: String,
}

impl RecoverArgs {
    pub(super) fn resolve(self, context: &Context) -> anyhow::Result<RecoverSettings> {
        check_subject(&self.name).map_err(usage)?;
        let file_cluster = context.config.tls.cluster.clone();
        for cluster in self.cluster.iter().chain(&file_cluster) {
            check_audience(cluster).map_err(usage)?;
        }
        Ok(RecoverSettings {
            subject: self.name,
            key_file: self.key_file,
            output: self.output,
            within: self.within,
            cluster: self.cluster,
            file_cluster,
            first: self.first,
            database: self.database.resolve(&context.config)?,
        })
    }
}

pub(super) async fn run(settings: RecoverSettings) -> anyhow::Result<Finish> {
    // The database is opened first, so that no file is made for one that does not answer.
    let database = database::open(&settings.database).await?;
    let before = database.access(None).await.context("access control can't be read")?;
    if before.enabled.is_none() && !settings.first {
        return Err(usage(
            "access control is off: nothing has to be recovered. Make the first grant through a front \
             (turnpike access grant --help), or repeat this with --first, which switches access control \
             on, for good",
        ));
    }
    let cluster = settings.cluster(&before)?;
    let RecoverSettings { subject, key_file, output, within, .. } = settings;
    let key = key(&key_file)?;
    let file = NewTokenFile::create(&output)?;
    let public_key = key.public_key().map_err(|why| anyhow!(why))?;
    let not_before = Timestamp(values::now_us());
    let claims = Claims {
        key: key_id(&public_key),
        id: new_id().map_err(|why| anyhow!(why))?,
        not_before,
        expires: not_before.saturating_add(capped(within.as_micros())),
        audience: cluster.clone(),
        subject,
    };
    let token = key.sign(&claims).map_err(|why| anyhow!(why))?;
    let config =
        AccessConfig { cluster: cluster.clone(), is_tls: false, is_open_to_other_hosts: false };
    let access = Access::of_front(config, Arc::clone(&database), system_clock());
    let audit = AuditLog::start(Arc::clone(&database), rand::random());
    let api = AccessApi::new(access, database, audit);
    let recovery = Recovery { public_key, claims: claims.clone() };
    api.recover(Actor::local(), &recovery).await.map_err(|status| anyhow!("{}", status.message())).context(
        "the role could not be granted; what was done before is kept, and the command can be repeated",
    )?;
    file.write(&token).with_context(|| format!("{} can't be written", output.display()))?;
    ui::print(format_args!(
        "token:{} is an administrator of the cluster {cluster}; its token in {} is valid until {}",
        claims.subject,
        output.display(),
        values::show_instant(claims.expires.micros())
    ))?;
    if before.enabled.is_none() {
        ui::print_stderr(
            "this was the first grant: access control is on, for all fronts and for good",
        );
    }
    Ok(Finish::Done)
}

impl RecoverSettings {
    /// The cluster's name, which the token must have. A token for another one is refused by every front.
    fn cluster(&self, known: &AccessRead) -> anyhow::Result<String> {
        let tables = known.tables.as_ref().context("access control has no tables")?;
        let of_grants = cluster_of(tables);
        match (&self.cluster, of_grants) {
            (Some(given), Ok(Some(known))) if *given != known => Err(usage(format!(
                "--cluster {given}: the grants in this database are those of the cluster {known}; fronts \
                 would refuse the token"
            ))),
            (Some(given), _) => Ok(given.clone()),
            (None, Err(why)) => Err(usage(why)),
            (None, Ok(Some(known))) => Ok(known),
            (None, Ok(None)) => {
                let name = self.file_cluster.as_deref().unwrap_or(CLUSTER_DEFAULT);
                Ok(name.to_owned())
            }
        }
    }
}

/// The key in the file, which is made if it does not exist.
fn key(path: &std::path::Path) -> anyhow::Result<SigningKey> {
    let key = if path.exists() { key_file::load(path) } else { key_file::create(path) };
    key.map_err(|why| usage(key_file_wrong(&why)))
}
