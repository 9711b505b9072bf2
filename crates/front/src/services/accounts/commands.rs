//! Checks of account commands that need only the routing table.

use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{AccountCommand, IdentityBinding, OpenAccount};
use turnpike_proto::bounds::command_fault;
use turnpike_store::Binding;
use turnpike_types::dates::date_fault;
use turnpike_types::limits::ACCOUNT_COMMANDS_MAX;
use turnpike_types::{AccountNumber, Identity, PartitionId, Timestamp};

use crate::FrontError;
use crate::routing::table::RouteTable;

pub(crate) fn check_count(commands: &[AccountCommand]) -> Result<(), FrontError> {
    let count = commands.len();
    if count > ACCOUNT_COMMANDS_MAX {
        return Err(FrontError::Invalid(format!(
            "{count} commands; at most {ACCOUNT_COMMANDS_MAX} are taken in one request"
        )));
    }
    Ok(())
}

pub(crate) const fn must_be_new(command: &AccountCommand) -> bool {
    matches!(command.command, Some(Command::Open(OpenAccount { must_be_new: true, .. })))
}

/// The partition that a command goes to, or why the command is invalid.
pub(crate) fn place(table: &RouteTable, command: &AccountCommand) -> Result<PartitionId, String> {
    if let Some(why) = command_fault(command) {
        return Err(why);
    }
    let account = command.account_number;
    if account == 0 {
        return Err("account_number is missing".to_owned());
    }
    if command.command.is_none() && command.identities.is_empty() {
        return Err(
            "no command: give open, subscribe, cancel, amend_settings, bind, unbind or identities"
                .to_owned(),
        );
    }
    let is_change = matches!(command.command, Some(Command::Bind(_) | Command::Unbind(_)));
    if is_change && !command.identities.is_empty() {
        return Err("bind and unbind name their identity: leave identities empty".to_owned());
    }
    let now = table.observation.now;
    for bound in &command.identities {
        check_identity(bound)?;
        check_interval(Some(bound.from_us), bound.until_us, now)?;
    }
    match &command.command {
        Some(Command::Bind(bind)) => check_interval(bind.from_us, bind.until_us, now)?,
        Some(Command::Unbind(unbind)) => check_interval(None, unbind.until_us, now)?,
        _ => {}
    }
    let slot = table.slot_of(AccountNumber(account));
    slot.and_then(|slot| table.at(slot)).map(|route| route.partition).ok_or_else(|| {
        format!("no partition covers account {account}: turnpike status shows the ranges")
    })
}

/// Checks the dates of a binding. The first and the last instant stand for no start and no end. The
/// start of a release is not checked: it may end a binding that an earlier release accepted.
fn check_interval(
    from_us: Option<i64>,
    until_us: Option<i64>,
    now: Timestamp,
) -> Result<(), String> {
    let from = from_us.filter(|&from| from != i64::MIN).map(|at_us| ("from_us", at_us));
    let until = until_us.filter(|&until| until != i64::MAX).map(|at_us| ("until_us", at_us));
    let mut faults = [from, until].into_iter().flatten();
    let fault = faults.find_map(|(what, at_us)| date_fault(what, Timestamp(at_us), now));
    fault.map_or(Ok(()), Err)
}

pub(crate) fn check_identity(bound: &IdentityBinding) -> Result<(), String> {
    let identity = Identity::parse_bound(&bound.identity).map_err(|error| error.to_string())?;
    if bound.until_us.is_some_and(|until| until <= bound.from_us) {
        return Err(format!("identity {identity}: until_us is not after from_us"));
    }
    if bound.from_us == i64::MAX {
        return Err(format!("identity {identity}: from_us is the largest possible time"));
    }
    Ok(())
}

pub(crate) fn binding(account: AccountNumber, bound: IdentityBinding) -> Binding {
    Binding {
        // `check_identity` refuses a new binding of text that is no identity. An older release may
        // have bound such text, which is its own spelling.
        identity: match Identity::parse(&bound.identity) {
            Ok(identity) => identity.into(),
            Err(_) => bound.identity,
        },
        account,
        from: Timestamp(bound.from_us),
        until: bound.until_us.map_or(Timestamp::MAX, Timestamp),
    }
}
