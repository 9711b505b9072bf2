//! One command on one account: sent, and its outcome printed.

use turnpike_proto::account::v1::AccountCommand;
use turnpike_proto::account::v1::account_command::Command;

use crate::apply::{self, Applied};
use crate::client::ClientSettings;
use crate::exit::Finish;
use crate::ui;

/// A command without identities.
pub(super) const fn plain(account_number: u64, command: Command) -> AccountCommand {
    AccountCommand { account_number, command: Some(command), identities: Vec::new() }
}

/// The resolved settings of a command that needs nothing from the account.
pub(super) struct OneCommand {
    pub(super) command: AccountCommand,
    pub(super) client: ClientSettings,
}

pub(super) async fn run(settings: OneCommand) -> anyhow::Result<Finish> {
    let front = settings.client.connect().await?;
    let number = settings.command.account_number;
    let applied = apply::apply(&front, [settings.command], |_, _| {}).await?;
    print_outcome(number, applied, "")
}

/// Prints the outcome of one command. `when` is the text of its effective time, with a leading
/// comma.
pub(super) fn print_outcome(number: u64, applied: Applied, when: &str) -> anyhow::Result<Finish> {
    match applied {
        Applied { applied: 1, notes, .. } => {
            ui::print(format_args!("account {number}: done{when}"))?;
            notes.iter().try_for_each(ui::print)?;
        }
        Applied { already: 1, notes, .. } => {
            ui::print(format_args!("account {number}: already in effect{when}"))?;
            notes.iter().try_for_each(ui::print)?;
        }
        Applied { refusals, .. } => {
            let why = refusals.first().map_or("", |refusal| refusal.message.as_str());
            anyhow::bail!("account {number}: refused: {why}");
        }
    }
    Ok(Finish::Done)
}
