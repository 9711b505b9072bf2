//! Account commands and their results, in words for the audit log.

use turnpike_access::audit::Intent;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{AccountCommand, AccountOutcome, AccountResult};
use turnpike_proto::audit::v1::AuditOutcome;

/// What the commands ask, for each account.
pub(crate) fn intent(commands: &[AccountCommand]) -> Intent {
    let what = |command: &AccountCommand| (command.account_number, words(command));
    Intent {
        target: match commands {
            [one] => format!("account {}", one.account_number),
            more => format!("{} account commands", more.len()),
        },
        detail: String::new(),
        accounts: commands.iter().map(what).collect(),
        ..Intent::default()
    }
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

/// The outcome of all commands, the counts of their results, and the result for each account.
pub(crate) fn outcome(
    accounts: &[u64],
    results: &[AccountResult],
) -> (AuditOutcome, String, Vec<(u64, String)>) {
    let [mut applied, mut already, mut refused, mut unknown] = [0usize; 4];
    let mut each = Vec::with_capacity(results.len());
    for (account, result) in accounts.iter().zip(results) {
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
    metrics::counter!("turnpike_front_account_commands_total", "outcome" => "applied")
        .increment(applied as u64);
    metrics::counter!("turnpike_front_account_commands_total", "outcome" => "refused")
        .increment(refused as u64);
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
