//! Changes of keys and tokens.

use turnpike_proto::access::v1::AddTokenRequest;
use turnpike_proto::access::v1::revoke_token_request::Which;
use turnpike_store::{AccessChange, AccessKey, AccessToken};
use turnpike_types::Timestamp;

use super::administrators;
use super::context::{
    ChangeContext, ChangeRefusal, DAY_US, KEYS_MAX, Planned, TOKEN_DAYS_MAX, TOKENS_MAX, forget,
};
use crate::principal::check_subject;
use crate::tokens::form::key_id;

/// The change that adds a key.
pub(crate) fn add_key(
    context: ChangeContext<'_>,
    public_key: [u8; 32],
) -> Result<(Planned, u64), ChangeRefusal> {
    let id = key_id(&public_key);
    let same = context.tables.keys.iter().find(|key| key.id == id);
    match same {
        Some(key) if key.public_key != public_key || key.retired_at.is_some() => {
            return Err(ChangeRefusal::Conflict(format!(
                "key {id:016x} was retired: make another with `turnpike access key new`"
            )));
        }
        Some(_) => return Ok((Planned::Done(id), id)),
        None => {}
    }
    let valid = context.tables.keys.iter().filter(|key| key.retired_at.is_none());
    if !context.is_recovery && valid.count() >= KEYS_MAX {
        return Err(ChangeRefusal::Full(format!(
            "there are {KEYS_MAX} keys: retire one with `turnpike access key retire ID`"
        )));
    }
    let key = AccessKey {
        id,
        public_key,
        added_by: context.by.to_owned(),
        added_at: context.now,
        retired_at: None,
    };
    Ok((Planned::Change(AccessChange::AddKey(key)), id))
}

/// The change that retires a key.
pub(crate) fn retire_key(context: ChangeContext<'_>, id: u64) -> Result<Planned, ChangeRefusal> {
    match context.tables.keys.iter().find(|key| key.id == id) {
        None => Err(ChangeRefusal::NotFound(format!("there is no key {id:016x}"))),
        Some(key) if key.retired_at.is_some() => Ok(Planned::Done(id)),
        Some(_) => {
            let change = AccessChange::RetireKey(id, context.now);
            administrators::check_remain(context, &change)?;
            Ok(Planned::Change(change))
        }
    }
}

/// The change that registers a token.
pub(crate) fn add_token(
    context: ChangeContext<'_>,
    request: AddTokenRequest,
) -> Result<Planned, ChangeRefusal> {
    let ChangeContext { tables, by, now, is_recovery, .. } = context;
    let AddTokenRequest { token_id, key_id, subject, not_before_us, expires_us } = request;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if token_id.len() != 32 || !token_id.bytes().all(is_hex) {
        return Err(ChangeRefusal::Invalid("a token's id has 32 hexadecimal digits".to_owned()));
    }
    check_subject(&subject).map_err(ChangeRefusal::Invalid)?;
    let (not_before, expires) = (Timestamp(not_before_us), Timestamp(expires_us));
    if expires <= now || expires <= not_before {
        return Err(ChangeRefusal::Invalid("the token would never be valid".to_owned()));
    }
    if expires > now.saturating_add(TOKEN_DAYS_MAX * DAY_US) {
        return Err(ChangeRefusal::Invalid(format!(
            "a token is valid for at most {TOKEN_DAYS_MAX} days"
        )));
    }
    let key = tables.keys.iter().find(|key| key.id == key_id);
    if key.is_none_or(|key| key.retired_at.is_some()) {
        return Err(ChangeRefusal::NotFound(format!(
            "key {key_id:016x} is not registered, or was retired: `turnpike access key list`"
        )));
    }
    let token = AccessToken {
        id: token_id,
        key: key_id,
        subject,
        not_before,
        expires,
        issued_by: by.to_owned(),
        issued_at: now,
        revoked_at: None,
    };
    if let Some(other) = tables.tokens.iter().find(|other| other.id == token.id) {
        let same =
            AccessToken { issued_by: other.issued_by.clone(), issued_at: other.issued_at, ..token };
        if same == *other {
            return Ok(Planned::Done(0));
        }
        return Err(ChangeRefusal::Conflict("another token has this id".to_owned()));
    }
    let kept = |token: &&AccessToken| !forget(now).has(token);
    if !is_recovery && tables.tokens.iter().filter(kept).count() >= TOKENS_MAX {
        return Err(ChangeRefusal::Full(format!(
            "there are {TOKENS_MAX} tokens, with those that expired or were revoked within a day: issue \
             longer ones, or fewer"
        )));
    }
    Ok(Planned::Change(AccessChange::AddToken(token)))
}

/// The change that revokes tokens, and their number. None of those that are known is no error: the
/// answer to an earlier request may have been lost.
pub(crate) fn revoke_tokens(
    context: ChangeContext<'_>,
    which: Option<Which>,
) -> Result<(Planned, u32), ChangeRefusal> {
    let ChangeContext { tables, now, .. } = context;
    let which = which.ok_or_else(|| {
        ChangeRefusal::Invalid("name a token's id, or the name of its holder".to_owned())
    })?;
    let is_meant = |token: &&AccessToken| match &which {
        Which::TokenId(id) => token.id == *id,
        Which::Subject(subject) => token.subject == *subject,
    };
    let meant: Vec<&AccessToken> = tables.tokens.iter().filter(is_meant).collect();
    if meant.is_empty() {
        let (Which::TokenId(name) | Which::Subject(name)) = &which;
        return Err(ChangeRefusal::NotFound(format!(
            "{name:?} names no token: see `turnpike access token list`"
        )));
    }
    let is_valid = |token: &&AccessToken| token.revoked_at.is_none() && now < token.expires;
    let valid = meant.into_iter().filter(is_valid);
    let ids: Vec<String> = valid.map(|token| token.id.clone()).collect();
    if ids.is_empty() {
        return Ok((Planned::Done(0), 0));
    }
    let count =
        u32::try_from(ids.len()).map_err(|_| ChangeRefusal::Full("too many tokens".to_owned()))?;
    let change = AccessChange::RevokeTokens(ids, now);
    administrators::check_remain(context, &change)?;
    Ok((Planned::Change(change), count))
}
