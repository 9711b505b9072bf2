//! Revocations of certificates.

use tonic::Status;
use turnpike_proto::access::v1::{
    ListRevokedCertificatesResponse, RestoreCertificateResponse, RevokeCertificateResponse,
    RevokedCertificate,
};

use super::{AccessApi, Sender};
use crate::audit::{Action, Intent};
use crate::changes::{self, ChangeContext, Planned};

impl AccessApi {
    pub(super) async fn revoked(
        &self,
        sender: Sender,
        name: &str,
    ) -> Result<RevokeCertificateResponse, Status> {
        let name = self.revocable(name)?;
        let audited = (Action::CertificateRevoke, Intent::of(format!("certificate {name}")));
        let decide = move |context: ChangeContext<'_>| {
            let planned = changes::revoke_certificate(context, name.clone())?;
            let revoked = matches!(planned, Planned::Change(_));
            Ok((planned, revoked))
        };
        let (revoked, _) = self.change(sender, audited, decide).await?;
        Ok(RevokeCertificateResponse { revoked })
    }

    pub(super) async fn restored(
        &self,
        sender: Sender,
        name: &str,
    ) -> Result<RestoreCertificateResponse, Status> {
        let name = self.revocable(name)?;
        let audited = (Action::CertificateRestore, Intent::of(format!("certificate {name}")));
        let decide = move |context: ChangeContext<'_>| {
            let planned = changes::restore_certificate(context, name.clone());
            let restored = matches!(planned, Planned::Change(_));
            Ok((planned, restored))
        };
        let (restored, _) = self.change(sender, audited, decide).await?;
        Ok(RestoreCertificateResponse { restored })
    }

    pub(super) async fn list_revoked(&self) -> Result<ListRevokedCertificatesResponse, Status> {
        let (_, tables) = self.read().await?;
        let revoked = tables.revoked.into_iter().map(|row| RevokedCertificate {
            name: row.name,
            revoked_by: row.revoked_by,
            revoked_us: row.revoked_at.micros(),
        });
        Ok(ListRevokedCertificatesResponse { revoked: revoked.collect() })
    }

    fn revocable(&self, name: &str) -> Result<String, Status> {
        changes::revocable(name, self.access.cluster()).map_err(Status::invalid_argument)
    }
}
