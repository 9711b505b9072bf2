//! `turnpike account show`: the state of an account, read from the owner of its partition.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use turnpike_proto::account::v1::{
    IdentityBinding, OptionStanding, Settings, ShowRequest, ShowResponse,
};

use crate::client::{ClientArgs, ClientSettings, stated};
use crate::context::Context;
use crate::exit::Finish;
use crate::{ui, values};

const EXAMPLES: &str = "\
Examples:
  turnpike account show 42
  turnpike account show 42 --json | jq .variables";

/// Options of `account show`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AccountShowArgs {
    /// The account's number
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// Report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Serialize)]
struct Account {
    account_number: u64,
    partition: u32,
    epoch: u64,
    suspended: u64,
    settings: Vec<Dated>,
    subscriptions: Vec<Subscribed>,
    bindings: Vec<Bound>,
    /// Whether the account has more bindings than are listed.
    more_bindings: bool,
    options: Vec<OptionComparison>,
    variables: Vec<Variable>,
}

#[derive(Serialize)]
struct Dated {
    from: String,
    zone: String,
    cycle_day: u32,
    currency: String,
    attributes: BTreeMap<String, String>,
}

/// A binding of an identity to the account for an interval.
#[derive(Serialize)]
struct Bound {
    identity: String,
    /// `always` if the binding has no start.
    from: String,
    until: Option<String>,
}

impl From<IdentityBinding> for Bound {
    fn from(shown: IdentityBinding) -> Self {
        Self {
            identity: shown.identity,
            from: values::show_instant(shown.from_us),
            until: shown.until_us.map(values::show_instant),
        }
    }
}

#[derive(Serialize)]
struct Subscribed {
    plan: String,
    from: String,
    until: Option<String>,
    priority: u32,
    parameters: BTreeMap<String, String>,
    /// The name of the option; `None` if the subscription is not an alternative of an option.
    option: Option<String>,
    /// The fee of the option per cycle.
    fee: Option<String>,
}

/// The comparison of an option's alternatives in a cycle that is not closed.
#[derive(Serialize)]
struct OptionComparison {
    option: String,
    cycle: String,
    /// The plan that would be billed if the cycle closed now.
    winner: String,
    alternatives: Vec<Alternative>,
}

#[derive(Serialize)]
struct Alternative {
    plan: String,
    /// Recurring and usage charges so far; the alternatives are compared by this sum.
    running: String,
    /// The one-time charges so far.
    once: String,
    picked: bool,
}

#[derive(Serialize)]
struct Variable {
    name: String,
    period: String,
    /// The stored value: a whole number.
    value: String,
    /// The value in words; empty if the node runs an older release.
    value_words: String,
    period_words: String,
}

/// The resolved settings of `account show`.
pub(super) struct AccountShowSettings {
    number: u64,
    json: bool,
    client: ClientSettings,
}

impl AccountShowArgs {
    pub(super) fn resolve(self, context: &Context) -> anyhow::Result<AccountShowSettings> {
        let client = self.client.resolve(&context.config)?;
        Ok(AccountShowSettings { number: self.number, json: self.json, client })
    }
}

pub(super) async fn run(settings: AccountShowSettings) -> anyhow::Result<Finish> {
    let front = settings.client.connect().await?;
    let shown = front
        .call(&format!("account {} can't be shown", settings.number), || {
            let mut accounts = front.accounts();
            let request = ShowRequest { account_number: settings.number };
            async move { accounts.show(request).await }
        })
        .await?;
    let account = Account::try_from(shown)?;
    if settings.json {
        ui::print_json(&account)?
    } else {
        print(&account)?
    }
    Ok(Finish::Done)
}

impl TryFrom<ShowResponse> for Account {
    type Error = anyhow::Error;

    fn try_from(shown: ShowResponse) -> anyhow::Result<Self> {
        let settings = shown.settings.into_iter().map(|dated| {
            let Settings { zone, cycle_day, currency, attributes } =
                stated(dated.settings, "the account's settings")?;
            let (from, attributes) =
                (values::show_instant(dated.from_us), attributes.into_iter().collect());
            anyhow::Ok(Dated { from, zone, cycle_day, currency, attributes })
        });
        let subscriptions = shown.subscriptions.into_iter().map(|subscription| Subscribed {
            plan: subscription.plan_id,
            from: values::show_instant(subscription.from_us),
            until: subscription.until_us.map(values::show_instant),
            priority: subscription.priority,
            parameters: subscription.parameters.into_iter().collect(),
            option: Some(subscription.option).filter(|option| !option.is_empty()),
            fee: Some(subscription.fee).filter(|fee| !fee.is_empty()),
        });
        let variables = shown.variables.into_iter();
        Ok(Self {
            account_number: shown.account_number,
            partition: shown.partition,
            epoch: shown.epoch,
            suspended: shown.suspended,
            settings: settings.collect::<Result<_, _>>()?,
            subscriptions: subscriptions.collect(),
            bindings: shown.bindings.into_iter().map(Bound::from).collect(),
            more_bindings: shown.more_bindings,
            options: shown.options.into_iter().map(OptionComparison::from).collect(),
            variables: variables
                .map(|v| Variable {
                    name: v.name,
                    period: v.period,
                    value: v.value,
                    value_words: v.value_words,
                    period_words: v.period_words,
                })
                .collect(),
        })
    }
}

impl From<OptionStanding> for OptionComparison {
    fn from(shown: OptionStanding) -> Self {
        let OptionStanding { option, cycle, alternatives, winner } = shown;
        let alternatives = alternatives.into_iter().map(|alternative| Alternative {
            plan: alternative.plan_id,
            running: alternative.running,
            once: alternative.once,
            picked: alternative.picked,
        });
        Self { option, cycle, winner, alternatives: alternatives.collect() }
    }
}

fn pairs(pairs: &BTreeMap<String, String>) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// The option and its fee if the subscription is an alternative, else `-`.
fn option(subscription: &Subscribed) -> String {
    match (&subscription.option, &subscription.fee) {
        (None, _) => "-".to_owned(),
        (Some(option), None) => option.clone(),
        (Some(option), Some(fee)) => format!("{option} (fee {fee})"),
    }
}

fn print(account: &Account) -> anyhow::Result<()> {
    ui::print(format_args!(
        "account {} in partition {} (epoch {}), {} records in suspense\n",
        account.account_number,
        account.partition,
        account.epoch,
        ui::count(account.suspended)
    ))?;
    let settings = account.settings.iter().map(|s| {
        let (from, zone) = (s.from.clone(), s.zone.clone());
        vec![from, zone, s.cycle_day.to_string(), s.currency.clone(), pairs(&s.attributes)]
    });
    let settings: Vec<_> = settings.collect();
    ui::print_table(&["SETTINGS FROM", "ZONE", "CYCLE DAY", "CURRENCY", "ATTRIBUTES"], &settings)?;
    ui::print("")?;
    let subscriptions: Vec<_> = account
        .subscriptions
        .iter()
        .map(|s| {
            let until = s.until.clone().unwrap_or_else(|| "-".to_owned());
            let priority = s.priority.to_string();
            let (plan, from, parameters) = (s.plan.clone(), s.from.clone(), pairs(&s.parameters));
            vec![plan, from, until, priority, option(s), parameters]
        })
        .collect();
    ui::print_table(
        &["PLAN", "FROM", "UNTIL", "PRIORITY", "OPTION", "PARAMETERS"],
        &subscriptions,
    )?;
    ui::print("")?;
    print_bindings(account)?;
    print_options(&account.options)?;
    let variables: Vec<_> = account
        .variables
        .iter()
        .map(|v| match v.value_words.is_empty() {
            true => vec![v.name.clone(), v.period.clone(), v.value.clone()],
            false => vec![v.name.clone(), v.period_words.clone(), v.value_words.clone()],
        })
        .collect();
    ui::print_table(&["VARIABLE", "PERIOD", "VALUE"], &variables)?;
    Ok(())
}

/// Prints the account's present and past bindings; nothing if it has none.
fn print_bindings(account: &Account) -> anyhow::Result<()> {
    if account.bindings.is_empty() {
        return Ok(());
    }
    let row = |bound: &Bound| {
        let until = bound.until.clone().unwrap_or_else(|| "-".to_owned());
        vec![bound.identity.clone(), bound.from.clone(), until]
    };
    let rows: Vec<_> = account.bindings.iter().map(row).collect();
    ui::print_table(&["IDENTITY", "FROM", "UNTIL"], &rows)?;
    if account.more_bindings {
        ui::print(format_args!("and more; the first {} are shown", rows.len()))?;
    }
    ui::print("")?;
    Ok(())
}

/// Prints the comparison of the alternatives; nothing for an account without options.
fn print_options(options: &[OptionComparison]) -> anyhow::Result<()> {
    let rows: Vec<_> = options
        .iter()
        .flat_map(|comparison| comparison.alternatives.iter().map(move |one| (comparison, one)))
        .map(|(comparison, one)| {
            let would_be = if one.plan == comparison.winner { "billed" } else { "-" };
            let why = if one.picked { "picked" } else { would_be };
            let (option, cycle, plan) =
                (comparison.option.clone(), comparison.cycle.clone(), one.plan.clone());
            vec![option, cycle, plan, one.running.clone(), one.once.clone(), why.to_owned()]
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    ui::print_table(&["OPTION", "CYCLE", "PLAN", "SO FAR", "ONCE", "WOULD BE"], &rows)?;
    ui::print("")?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use turnpike_proto::account::v1::DatedSettings;

    use super::*;

    #[test]
    fn an_answer_without_settings_is_an_error_and_no_account_without_zone_and_currency() {
        let settings = |settings| ShowResponse {
            settings: vec![DatedSettings { from_us: 0, settings }],
            ..ShowResponse::default()
        };
        assert!(Account::try_from(settings(Some(Settings::default()))).is_ok());
        let error = Account::try_from(settings(None)).err().unwrap().to_string();
        assert!(error.contains("lacks the account's settings") && error.contains("release"));
    }
}
