//! A way back for an operator of the shared database, when no administrator can make changes.

use tonic::Status;
use turnpike_proto::access::v1::{AddTokenRequest, GrantRequest};

use super::{AccessApi, Sender, grant_intent, key_intent, token_intent};
use crate::actor::Actor;
use crate::audit::Action;
use crate::changes::{self, ChangeContext};
use crate::roles::role::AccessRole;
use crate::tokens::form::{Claims, key_id};

/// A new administrator.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// The public part of the key that signs its token.
    pub public_key: [u8; 32],
    /// What its token says.
    pub claims: Claims,
}

impl AccessApi {
    /// Registers the key and the token, and grants the role `admin` to the token's holder. Each change
    /// is in the audit log with `actor`. Repeated, it goes on where it failed.
    ///
    /// # Errors
    /// The database can't be reached, the key was retired, or a name in the claims is not valid.
    pub async fn recover(&self, actor: Actor, recovery: &Recovery) -> Result<(), Status> {
        let Recovery { public_key, claims } = recovery;
        let public_key = *public_key;
        let sender = Sender { actor, is_admin: true, is_recovery: true, serial: None };
        let key = move |context: ChangeContext<'_>| changes::add_key(context, public_key);
        let audited = (Action::KeyAdd, key_intent(key_id(&public_key)));
        self.change(sender.clone(), audited, key).await?;
        let token = AddTokenRequest {
            token_id: claims.id_text(),
            key_id: claims.key,
            subject: claims.subject.clone(),
            not_before_us: claims.not_before.micros(),
            expires_us: claims.expires.micros(),
        };
        let audited = (Action::TokenIssue, token_intent(&token));
        let add =
            move |context: ChangeContext<'_>| Ok((changes::add_token(context, token.clone())?, ()));
        self.change(sender.clone(), audited, add).await?;
        let grant = GrantRequest {
            principal: format!("token:{}", claims.subject),
            role: AccessRole::Admin.word().to_owned(),
            ..GrantRequest::default()
        };
        let audited = (Action::AccessGrant, grant_intent(&grant));
        let decide =
            move |context: ChangeContext<'_>| Ok((changes::grant(context, grant.clone())?, ()));
        self.change(sender, audited, decide).await.map(drop)
    }
}
