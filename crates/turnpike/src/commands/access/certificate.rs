//! `turnpike access certificate`: certificates that are refused before they expire.

use std::cell::Cell;

use anyhow::bail;
use clap::{Args, Subcommand};
use turnpike_proto::access::v1::{
    ListRevokedCertificatesRequest, RestoreCertificateRequest, RevokeCertificateRequest,
};

use crate::client::{ClientArgs, ClientSettings};
use crate::context::Context;
use crate::exit::Finish;
use crate::{ui, values};

const EXAMPLES: &str = "\
A certificate is named by its URI, which means all certificates of the holder, or by its serial
number (turnpike cert show). Every front and node follows within seconds; requests on open
connections are refused too. A revoked node or front has its database password still: change it.

Examples:
  turnpike access certificate revoke spiffe://turnpike/client/billing
  turnpike access certificate revoke 3f9a20c1774be502
  turnpike access certificate list
  turnpike access certificate restore spiffe://turnpike/client/billing";

/// The commands for certificates.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum CertificateCommand {
    /// Revokes one certificate, or all certificates of a holder
    #[command(after_help = EXAMPLES)]
    Revoke(NamedArgs),
    /// Takes a revocation back
    #[command(after_help = EXAMPLES)]
    Restore(NamedArgs),
    /// Lists the revocations
    #[command(after_help = EXAMPLES)]
    List(RevokedListArgs),
}

/// Options of `access certificate revoke` and `access certificate restore`.
#[derive(Debug, Args)]
pub(crate) struct NamedArgs {
    /// The URI, or the serial number in hexadecimal digits
    name: String,
    #[command(flatten)]
    client: ClientArgs,
}

/// Options of `access certificate list`.
#[derive(Debug, Args)]
pub(crate) struct RevokedListArgs {
    #[command(flatten)]
    client: ClientArgs,
}

pub(super) async fn run(command: CertificateCommand, context: &Context) -> anyhow::Result<Finish> {
    match command {
        CertificateCommand::Revoke(args) => {
            revoke(&args.name, &args.client.resolve(&context.config)?).await
        }
        CertificateCommand::Restore(args) => {
            restore(&args.name, &args.client.resolve(&context.config)?).await
        }
        CertificateCommand::List(args) => list(&args.client.resolve(&context.config)?).await,
    }
}

async fn revoke(name: &str, client: &ClientSettings) -> anyhow::Result<Finish> {
    let front = client.connect().await?;
    let revoking = front.call("nothing was revoked", || {
        let (mut access, name) = (front.access(), name.to_owned());
        async move { access.revoke_certificate(RevokeCertificateRequest { name }).await }
    });
    let before = if revoking.await?.revoked { "" } else { " already" };
    ui::print(format_args!(
        "{name} is revoked{before}; every front and node follows within seconds"
    ))?;
    if !name.contains("://") {
        ui::print_stderr(
            "the cluster does not know which serial numbers were issued: compare with `turnpike cert show`",
        );
    }
    Ok(Finish::Done)
}

async fn restore(name: &str, client: &ClientSettings) -> anyhow::Result<Finish> {
    let front = client.connect().await?;
    let attempts = Cell::new(0u32);
    let restoring = front.call("nothing was restored", || {
        attempts.set(attempts.get().saturating_add(1));
        let (mut access, name) = (front.access(), name.to_owned());
        async move { access.restore_certificate(RestoreCertificateRequest { name }).await }
    });
    // After a lost answer the first attempt may have restored it.
    if !restoring.await?.restored && attempts.get() == 1 {
        bail!(
            "{name} is not revoked, so nothing was changed; `turnpike access certificate list` shows \
             the revocations"
        );
    }
    ui::print(format_args!("{name} is no longer revoked"))?;
    Ok(Finish::Done)
}

async fn list(client: &ClientSettings) -> anyhow::Result<Finish> {
    let front = client.connect().await?;
    let listing = front.call("the revocations could not be listed", || {
        let mut access = front.access();
        async move { access.list_revoked_certificates(ListRevokedCertificatesRequest {}).await }
    });
    let rows = listing.await?.revoked.into_iter();
    let rows = rows.map(|row| vec![row.name, values::show_instant(row.revoked_us), row.revoked_by]);
    let rows: Vec<Vec<String>> = rows.collect();
    ui::print_table(&["certificate", "revoked", "by"], &rows)?;
    Ok(Finish::Done)
}
