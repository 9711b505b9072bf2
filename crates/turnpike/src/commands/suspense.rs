//! `turnpike suspense`: records that can't be rated yet.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde::Serialize;
use tonic::Streaming;
use turnpike_proto::account::v1::{IdentityAt, ResolveRequest, ShowRequest};
use turnpike_proto::suspense::v1::{
    ListRequest, RecycleRequest, RecycleResponse, SuspendedRecord, SuspensePosition,
};
use turnpike_types::{SuspenseReason, limits};

use crate::client::{ClientArgs, ClientSettings, Front, explain};
use crate::context::Context;
use crate::exit::{EXIT_CODES, Finish, usage};
use crate::{ui, values};

const EXAMPLES: &str = "\
Examples:
  turnpike suspense list
  turnpike suspense list --reason unknown-account --json
  turnpike suspense recycle --account 42";

/// The suspense commands.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum SuspenseCommand {
    /// Lists the records in suspense, with reasons
    #[command(after_help = LIST_EXAMPLES)]
    List(SuspenseArgs),
    /// Rates suspended records again, after the cause was corrected
    #[command(after_help = RECYCLE_EXAMPLES)]
    #[command(after_long_help = format!("{RECYCLE_EXAMPLES}\n\n{EXIT_CODES}"))]
    Recycle(SuspenseArgs),
}

const LIST_EXAMPLES: &str = "\
Examples:
  turnpike suspense list
  turnpike suspense list --reason no-plan --account 42
  turnpike suspense list --json | jq -r .record_id";

const RECYCLE_EXAMPLES: &str = "\
The exit code is 3 if some records stay in suspense, also because --max was reached, or because they
wait under an identity of --account.

Examples:
  turnpike suspense recycle
  turnpike suspense recycle --reason unknown-account";

/// The maximum number of records that a front lists in one request.
const RECORDS_MAX: u32 = 100_000;
/// The number of records that are listed without --max, and that are recycled in one request.
const PAGE: u32 = 10_000;

/// The selection of records.
#[derive(Debug, Args)]
pub(crate) struct SuspenseArgs {
    /// Only records suspended for this reason, such as unknown-account
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only records of this account. Records that wait under an identity of the account are counted
    /// in a message
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    account: Option<u64>,
    /// At most this many records, up to 100,000 (default: list 10,000, recycle all); a message says
    /// if there are more
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(RECORDS_MAX)))]
    max: Option<u32>,
    /// Report as JSON (list: one object per line)
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

/// The resolved selection of records.
#[derive(Debug)]
struct SuspenseSettings {
    /// The word of a reason; empty for all reasons.
    reason: String,
    account: Option<u64>,
    max: Option<u32>,
    json: bool,
    client: ClientSettings,
}

impl SuspenseArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<SuspenseSettings> {
        Ok(SuspenseSettings {
            reason: self.reason.map_or_else(|| Ok(String::new()), known_reason)?,
            account: self.account,
            max: self.max,
            json: self.json,
            client: self.client.resolve(&context.config)?,
        })
    }
}

fn known_reason(reason: String) -> anyhow::Result<String> {
    let known: Vec<_> = SuspenseReason::ALL.iter().map(|reason| reason.word()).collect();
    if known.contains(&reason.as_str()) {
        return Ok(reason);
    }
    Err(usage(format!("--reason {reason}: no such reason; use one of {}", known.join(", "))))
}

pub(crate) async fn run(command: SuspenseCommand, context: &Context) -> anyhow::Result<Finish> {
    match command {
        SuspenseCommand::List(args) => list(&args.resolve(context)?).await,
        SuspenseCommand::Recycle(args) => recycle(&args.resolve(context)?).await,
    }
}

#[derive(Serialize)]
struct Shown {
    partition: u32,
    account_number: u64,
    record_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    identity: String,
    usage_type: String,
    start_time: String,
    /// `null` if the record states no duration: it differs from a zero, which rates a call as free.
    duration_us: Option<i64>,
    quantity: Option<i64>,
    reason: String,
    /// The subject of the reason: the measure, attribute, number or plan that caused the
    /// suspension.
    detail: String,
    segment: u64,
    recycled: u32,
}

impl From<SuspendedRecord> for Shown {
    fn from(record: SuspendedRecord) -> Self {
        Self {
            partition: record.partition,
            account_number: record.account_number,
            record_id: record.record_id,
            identity: record.identity,
            usage_type: record.usage_type,
            start_time: values::show_instant(record.start_us),
            duration_us: record.duration_us,
            quantity: record.quantity,
            reason: record.reason,
            detail: record.detail,
            segment: record.segment,
            recycled: record.revision,
        }
    }
}

/// Lists at most `records_max` of the selected records.
async fn listing(
    settings: &SuspenseSettings,
    front: &Front,
    records_max: u32,
    after: Option<SuspensePosition>,
) -> anyhow::Result<Streaming<SuspendedRecord>> {
    let request = ListRequest {
        reason: settings.reason.clone(),
        account_number: settings.account.unwrap_or(0), // 0 selects every account.
        records_max,
        after,
    };
    stream(front, request).await
}

async fn stream(front: &Front, request: ListRequest) -> anyhow::Result<Streaming<SuspendedRecord>> {
    front
        .call("suspense could not be listed", || {
            let (mut suspense, request) = (front.suspense(), request.clone());
            async move { suspense.list(request).await }
        })
        .await
}

async fn list(settings: &SuspenseSettings) -> anyhow::Result<Finish> {
    let front = settings.client.connect().await?;
    // Requests one record more than is shown, to know whether there are more.
    let max = settings.max.unwrap_or(PAGE);
    let mut records = listing(settings, &front, (max + 1).min(RECORDS_MAX), None).await?;
    let (mut rows, mut listed, mut has_more) = (Vec::new(), 0, false);
    while let Some(record) = records.message().await.map_err(|s| explain(&front.url, &s))? {
        if listed == max {
            has_more = true;
            break;
        }
        listed += 1;
        let shown = Shown::from(record);
        if settings.json {
            ui::print(serde_json::to_string(&shown)?)?;
        } else {
            rows.push(row(shown));
        }
    }
    if listed == 0 {
        refuse_unknown_account(settings, &front).await?;
    }
    let has_others = report_identities(settings, &front).await?;
    if !settings.json && rows.is_empty() {
        if !has_others {
            ui::print_stderr("no records are in suspense");
        }
    } else if !settings.json {
        ui::print_table(&["ACCOUNT", "RECORD", "TYPE", "START", "REASON", "RECYCLED"], &rows)?;
    }
    if has_more {
        let listed = ui::count(listed.into());
        ui::print_stderr(format_args!(
            "only the first {listed} records are listed; --max N lists more"
        ));
    } else if listed == RECORDS_MAX {
        let listed = ui::count(listed.into());
        ui::print_stderr(format_args!(
            "only the first {listed} records are listed, and there may be more: select by --account \
             or --reason"
        ));
    }
    Ok(Finish::Done)
}

/// Fails if no record is selected and the account was never opened. Such an account can have
/// records in suspense, so it is looked up only if the selection is empty.
async fn refuse_unknown_account(settings: &SuspenseSettings, front: &Front) -> anyhow::Result<()> {
    let Some(account_number) = settings.account else { return Ok(()) };
    let doing = format!("no record of account {account_number} is in suspense");
    front
        .call(&doing, || {
            let mut accounts = front.accounts();
            async move { accounts.show(ShowRequest { account_number }).await }
        })
        .await?;
    Ok(())
}

/// With `--account`: reports the records that wait under an identity which the account held when
/// they began. They have no account yet, so that `--account` does not select them. Returns whether
/// there are any.
async fn report_identities(settings: &SuspenseSettings, front: &Front) -> anyhow::Result<bool> {
    let unbound = SuspenseReason::UnboundIdentity.word();
    let Some(account) = settings.account else { return Ok(false) };
    if !settings.reason.is_empty() && settings.reason != unbound {
        return Ok(false);
    }
    let request = ListRequest {
        reason: unbound.to_owned(),
        records_max: RECORDS_MAX,
        ..ListRequest::default()
    };
    let mut records = stream(front, request).await?;
    let mut waiting = Vec::new();
    while let Some(record) = records.message().await.map_err(|s| explain(&front.url, &s))? {
        if record.account_number == 0 {
            waiting.push(IdentityAt { identity: record.identity, at_us: record.start_us });
        }
    }
    let (mut count, mut first) = (0u64, None);
    for some in waiting.chunks(limits::ACCOUNT_COMMANDS_MAX) {
        let request = ResolveRequest { identities: some.to_vec() };
        let answer = front
            .call("identities can't be looked up", || {
                let (mut accounts, request) = (front.accounts(), request.clone());
                async move { accounts.resolve(request).await }
            })
            .await?;
        for (asked, found) in some.iter().zip(answer.identities) {
            if found.account_number == account {
                count += 1;
                first.get_or_insert_with(|| asked.identity.clone());
            }
        }
    }
    let Some(first) = first else { return Ok(false) };
    ui::print_stderr(format_args!(
        "{} records wait under an identity of account {account}, such as {first}; --account does \
         not select them: `turnpike suspense recycle --reason {unbound}` rates them",
        ui::count(count)
    ));
    Ok(true)
}

fn row(shown: Shown) -> Vec<String> {
    let owner = match shown.account_number {
        0 => shown.identity,
        number => number.to_string(),
    };
    let recycled = shown.recycled.to_string();
    let reason = match shown.detail.is_empty() {
        true => shown.reason,
        false => format!("{}: {}", shown.reason, shown.detail),
    };
    vec![owner, shown.record_id, shown.usage_type, shown.start_time, reason, recycled]
}

#[derive(Default, Serialize)]
struct Recycled {
    rated: u64,
    still_suspended: u64,
    retry: u64,
    reasons: BTreeMap<String, u64>,
}

impl Recycled {
    fn add(&mut self, page: RecycleResponse) {
        self.rated += page.rated;
        self.still_suspended += page.still_suspended;
        self.retry += page.retry;
        for (reason, count) in page.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
    }
}

async fn recycle(settings: &SuspenseSettings) -> anyhow::Result<Finish> {
    let front = settings.client.connect().await?;
    let mut recycled = Recycled::default();
    let (mut last, mut left) = (None, settings.max);
    loop {
        let records_max = left.unwrap_or(PAGE).min(PAGE);
        let answer = recycle_page(settings, &front, records_max, last).await?;
        left = left.map(|left| left - records_max);
        last = answer.last.clone();
        recycled.add(answer);
        if last.is_none() || left == Some(0) {
            break;
        }
        let tried = ui::count(recycled.rated + recycled.still_suspended + recycled.retry);
        ui::print_stderr(format_args!("{tried} records tried"));
    }
    if recycled.rated + recycled.still_suspended + recycled.retry == 0 {
        refuse_unknown_account(settings, &front).await?;
    }
    let has_others = report_identities(settings, &front).await?;
    if settings.json {
        ui::print_json(&recycled)?;
    } else {
        let [rated, stay] = [recycled.rated, recycled.still_suspended].map(ui::count);
        ui::print(format_args!("{rated} rated, {stay} stay in suspense"))?;
        for (reason, count) in &recycled.reasons {
            ui::print(format_args!("  {reason}: {}", ui::count(*count)))?;
        }
        if recycled.retry > 0 {
            let retry = ui::count(recycled.retry);
            ui::print_stderr(format_args!(
                "the owners of {retry} records did not answer; run it again"
            ));
        }
    }
    let has_untried = match last {
        Some(last) => is_anything_behind(settings, &front, last).await?,
        None => false,
    };
    if has_untried {
        let max = ui::count(settings.max.unwrap_or(0).into());
        ui::print_stderr(format_args!(
            "at most {max} records were tried, and more are in suspense: leave --max out, or select by \
             --reason or --account"
        ));
    }
    Ok(Finish::unless(has_untried || has_others || recycled.still_suspended + recycled.retry > 0))
}

/// Recycles at most `records_max` of the selected records, from those that follow the position
/// `after`.
async fn recycle_page(
    settings: &SuspenseSettings,
    front: &Front,
    records_max: u32,
    after: Option<SuspensePosition>,
) -> anyhow::Result<RecycleResponse> {
    let request = RecycleRequest {
        reason: settings.reason.clone(),
        account_number: settings.account.unwrap_or(0),
        records_max,
        after,
    };
    front
        .call("suspense could not be recycled", || {
            let (mut suspense, request) = (front.suspense(), request.clone());
            async move { suspense.recycle(request).await }
        })
        .await
}

/// Whether a selected record is in suspense after the position `last`, up to which records were
/// tried.
async fn is_anything_behind(
    settings: &SuspenseSettings,
    front: &Front,
    last: SuspensePosition,
) -> anyhow::Result<bool> {
    let mut behind = listing(settings, front, 1, Some(last)).await?;
    Ok(behind.message().await.map_err(|status| explain(&front.url, &status))?.is_some())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::context::given::{context, options};

    #[test]
    fn only_a_known_reason_is_selected_and_none_means_all() {
        let of = |words: &[&str]| options::<SuspenseArgs>(words, &[]).resolve(&context(""));
        assert_eq!(of(&["--reason", "no-plan"]).unwrap().reason, "no-plan");
        assert_eq!(of(&[]).unwrap().reason, "");
        let told = of(&["--reason", "no-plam"]).unwrap_err().to_string();
        assert!(told.starts_with("--reason no-plam: ") && told.contains("no-plan"), "{told}");
    }
}
