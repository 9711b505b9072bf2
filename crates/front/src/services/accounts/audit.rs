//! Account commands and their results, in words for the audit log.

use turnpike_access::audit::Intent;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{AccountCommand, AccountOutcome, AccountResult};
use turnpike_proto::audit::v1::AuditOutcome;

/// A command that is to be carried out.
#[derive(Clone, Debug)]
pub(crate) struct AskedCommand {
    /// Its index in the request.
    index: usize,
    account: u64,
    /// What is asked.
    what: String,
}

impl AskedCommand {
    pub(crate) fn of(index: usize, command: &AccountCommand) -> Self {
        Self { index, account: command.account_number, what: words(command) }
    }
}

/// What the commands ask, for each account.
pub(crate) fn intent(commands: &[AskedCommand]) -> Intent {
    let target = match commands {
        [one] => format!("account {}", one.account),
        more => format!("{} account commands", more.len()),
    };
    let accounts = commands.iter().map(|one| (one.account, one.what.clone())).collect();
    Intent { accounts, ..Intent::of(target) }
}

/// Counts the results of a request.
pub(crate) fn count(results: &[AccountResult]) {
    let number = |word: AccountOutcome| {
        results.iter().filter(|result| result.outcome() == word).count() as u64
    };
    metrics::counter!("turnpike_front_account_commands_total", "outcome" => "applied")
        .increment(number(AccountOutcome::Applied));
    metrics::counter!("turnpike_front_account_commands_total", "outcome" => "refused")
        .increment(number(AccountOutcome::Refused));
}

fn words(command: &AccountCommand) -> String {
    let asked = match &command.command {
        None => "bind".to_owned(),
        Some(Command::Open(_)) => "open".to_owned(),
        Some(Command::ChangeSettings(_)) => "settings".to_owned(),
        Some(Command::AmendSettings(_)) => "amend".to_owned(),
        Some(Command::Subscribe(asked)) => format!("subscribe {}", asked.plan_id),
        Some(Command::Cancel(asked)) => format!("cancel {}", asked.plan_id),
        Some(Command::Offer(asked)) => format!("offer {}", asked.option),
        Some(Command::Pick(asked)) => format!("pick {}", asked.option),
        Some(Command::OptOut(asked)) => format!("opt-out {}", asked.option),
        Some(Command::Bind(asked)) if asked.r#move => format!("move {}", asked.identity),
        Some(Command::Bind(asked)) => format!("bind {}", asked.identity),
        Some(Command::Unbind(asked)) => format!("unbind {}", asked.identity),
    };
    match &command.identities[..] {
        [] => asked,
        [one] => format!("{asked} {}", one.identity),
        [one, more @ ..] => format!("{asked} {} and {} more", one.identity, more.len()),
    }
}

/// The outcome of the commands that were carried out, the counts of their results, and the result for
/// each account. `results` are those of the whole request.
pub(crate) fn outcome(
    commands: &[AskedCommand],
    results: &[AccountResult],
) -> (AuditOutcome, String, Vec<(u64, String)>) {
    let [mut applied, mut already, mut refused, mut unknown] = [0usize; 4];
    let mut each = Vec::with_capacity(commands.len());
    for AskedCommand { index, account, .. } in commands {
        let Some(result) = results.get(*index) else { continue };
        let (count, word) = match result.outcome() {
            AccountOutcome::Applied => (&mut applied, "applied"),
            AccountOutcome::Already => (&mut already, "already"),
            AccountOutcome::Refused => (&mut refused, "refused"),
            AccountOutcome::Retry | AccountOutcome::Unspecified => (&mut unknown, "unknown"),
        };
        *count += 1;
        let is_told = result.message.is_empty();
        each.push((
            *account,
            if is_told { word.to_owned() } else { format!("{word}: {}", result.message) },
        ));
    }
    let overall = match (applied + already, refused, unknown) {
        (_, 0, 0) => AuditOutcome::Applied,
        (0, _, 0) => AuditOutcome::Refused,
        (0, 0, _) => AuditOutcome::Unknown,
        _ => AuditOutcome::Partial,
    };
    let detail =
        format!("{applied} applied, {already} already, {refused} refused, {unknown} unknown");
    (overall, detail, each)
}
