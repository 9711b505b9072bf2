//! A client for account commands that retries each command until it is durable.

use std::time::Duration;

use anyhow::{Result, ensure};
use turnpike_proto::account::v1::account_service_client::AccountServiceClient;
use turnpike_proto::account::v1::{AccountCommand, AccountOutcome, ApplyRequest};

/// Sends commands, and retries each until it is durable.
///
/// # Errors
/// A command is refused, or not all are durable within two minutes.
pub async fn apply_all(front: String, commands: Vec<AccountCommand>) -> Result<()> {
    let mut waiting = commands;
    for _ in 0..1_200 {
        if let Ok(results) = ask(&front, &waiting).await {
            let refused = results.iter().find(|(outcome, _)| *outcome == AccountOutcome::Refused);
            ensure!(refused.is_none(), "{refused:?}");
            let done =
                |outcome| matches!(outcome, AccountOutcome::Applied | AccountOutcome::Already);
            let mut results = results.into_iter();
            waiting.retain(|_| results.next().is_none_or(|(outcome, _)| !done(outcome)));
        }
        if waiting.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("{} commands are not durable after two minutes", waiting.len())
}

async fn ask(front: &str, commands: &[AccountCommand]) -> Result<Vec<(AccountOutcome, String)>> {
    let mut client = AccountServiceClient::connect(front.to_owned()).await?;
    let request = ApplyRequest { commands: commands.to_vec() };
    let results = client.apply(request).await?.into_inner().results;
    ensure!(results.len() == commands.len(), "{} answers", results.len());
    Ok(results.into_iter().map(|result| (result.outcome(), result.message)).collect())
}
