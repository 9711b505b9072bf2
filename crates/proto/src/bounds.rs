//! The bounds of texts in requests, for the front that receives a request and for the node that
//! carries it out ([`turnpike_types::text`]).
//!
//! Checked here is what no earlier release can have carried out, such as a plan's id of a megabyte.
//! So the check comes before anything else, and messages that repeat a text stay short. An
//! attribute with a line break may be in effect since an earlier release: the owner refuses only
//! new ones, after it has found out whether the command is a repetition.

use turnpike_types::limits::{ATTRIBUTES_MAX, IDENTITIES_IN_COMMAND_MAX, RECORD_BYTES_MAX};
use turnpike_types::text::{self, TextKind};

use crate::account::v1::account_command::Command;
use crate::account::v1::{AccountCommand, Settings};
use crate::node::v1::{NotedRefusal, RecycleKey};

/// Numbers and dates that commands state as text.
const SHORT: TextKind = TextKind { words: "a fee, a currency or a cycle", bytes_max: 64 };
/// The most plans that a message about an offer may repeat; the owner allows fewer.
const PLANS_MAX: usize = 64;

/// Why a text of the command is too long, or has a control character where none can be; `None` if
/// there is no such fault.
pub fn command_fault(command: &AccountCommand) -> Option<String> {
    check(command).err()
}

fn check(command: &AccountCommand) -> Result<(), String> {
    let count = command.identities.len();
    if count > IDENTITIES_IN_COMMAND_MAX {
        return Err(format!(
            "{count} identities in one command: send at most {IDENTITIES_IN_COMMAND_MAX}"
        ));
    }
    for bound in &command.identities {
        length(text::IDENTITY, &bound.identity)?;
    }
    match &command.command {
        Some(Command::Open(open)) => settings(open.settings.as_ref()),
        Some(Command::ChangeSettings(change)) => settings(change.settings.as_ref()),
        Some(Command::AmendSettings(amend)) => {
            length(text::ZONE, amend.zone.as_deref().unwrap_or_default())?;
            length(SHORT, amend.currency.as_deref().unwrap_or_default())?;
            let removed = &amend.removed_attributes;
            if removed.len() > ATTRIBUTES_MAX {
                let count = removed.len();
                return Err(format!("{count} attributes to remove: at most {ATTRIBUTES_MAX}"));
            }
            removed.iter().try_for_each(|name| length(text::ATTRIBUTE_VALUE, name))?;
            pairs(&amend.attributes)
        }
        Some(Command::Subscribe(asked)) => {
            legal(text::PLAN_ID, &asked.plan_id)?;
            pairs(&asked.parameters)
        }
        Some(Command::Cancel(cancel)) => legal(text::PLAN_ID, &cancel.plan_id),
        Some(Command::Offer(offer)) => {
            legal(text::OPTION, &offer.option)?;
            length(SHORT, &offer.fee)?;
            let count = offer.plan_ids.len();
            if count > PLANS_MAX {
                return Err(format!("{count} plans: an option has 2 to 16"));
            }
            offer.plan_ids.iter().try_for_each(|id| legal(text::PLAN_ID, id))
        }
        Some(Command::Pick(pick)) => {
            legal(text::OPTION, &pick.option)?;
            legal(text::PLAN_ID, &pick.plan_id)?;
            length(SHORT, &pick.cycle)
        }
        Some(Command::OptOut(end)) => {
            legal(text::OPTION, &end.option)?;
            legal(text::PLAN_ID, &end.plan_id)
        }
        Some(Command::Bind(bind)) => length(text::IDENTITY, &bind.identity),
        Some(Command::Unbind(unbind)) => length(text::IDENTITY, &unbind.identity),
        None => Ok(()),
    }
}

fn settings(settings: Option<&Settings>) -> Result<(), String> {
    let Some(settings) = settings else { return Ok(()) };
    length(text::ZONE, &settings.zone)?;
    length(SHORT, &settings.currency)?;
    pairs(&settings.attributes)
}

fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<(), String> {
    let (mut count, mut bytes) = (0, 0usize);
    for (name, value) in pairs {
        count += 1;
        bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
    }
    if count > ATTRIBUTES_MAX || bytes > RECORD_BYTES_MAX {
        return Err(format!(
            "{count} attributes or parameters of {bytes} bytes are too many: at most \
             {ATTRIBUTES_MAX} of {RECORD_BYTES_MAX} bytes"
        ));
    }
    Ok(())
}

fn legal(kind: TextKind, text: &str) -> Result<(), String> {
    kind.check(text).map_err(|why| why.to_string())
}

/// Checks only the length: other code says what else is wrong, or an earlier release accepted it.
fn length(kind: TextKind, text: &str) -> Result<(), String> {
    if text.len() <= kind.bytes_max { Ok(()) } else { legal(kind, text) }
}

/// Why a key of a suspended record can't be one: it is longer than any record's.
pub fn recycle_key_fault(key: &RecycleKey) -> Option<String> {
    let checked = length(text::RECORD_ID, &key.record_id)
        .and_then(|()| length(text::IDENTITY, &key.identity));
    checked.err()
}

/// Why a refusal can't be noted: a text of it is longer than any record's or reason's.
pub fn noted_refusal_fault(refusal: &NotedRefusal) -> Option<String> {
    let checked = length(text::RECORD_ID, &refusal.record_id)
        .and_then(|()| legal(text::REASON, &refusal.reason));
    checked.err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::v1::{Cancel, OpenAccount, Subscribe};

    fn fault(command: Command) -> String {
        let command = AccountCommand { command: Some(command), ..AccountCommand::default() };
        command_fault(&command).unwrap_or_default()
    }

    #[test]
    fn a_message_about_a_text_of_megabytes_is_short() {
        let long = "x".repeat(5_000_000);
        let subscribe = Subscribe { plan_id: long.clone(), ..Subscribe::default() };
        let settings = Some(Settings { zone: long.clone(), ..Settings::default() });
        let open = OpenAccount { settings, ..OpenAccount::default() };
        let cancel = Cancel { plan_id: long, at_us: 5 };
        for command in [Command::Subscribe(subscribe), Command::Open(open), Command::Cancel(cancel)]
        {
            let told = fault(command);
            assert!(told.contains("5000000 bytes") && told.len() < 300, "{}", told.len());
        }
    }

    #[test]
    fn an_attribute_of_an_earlier_release_is_judged_by_the_owner() {
        let attributes = [("note".to_owned(), "two\nlines".to_owned())].into();
        let settings = Some(Settings { attributes, ..Settings::default() });
        assert_eq!(fault(Command::Open(OpenAccount { settings, ..OpenAccount::default() })), "");
    }
}
