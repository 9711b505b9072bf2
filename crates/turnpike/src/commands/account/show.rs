//! `turnpike account show`: an account as its owner knows it.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use turnpike_proto::account::v1::{Settings, ShowRequest, ShowResponse};

use crate::cli::Context;
use crate::client::ClientArgs;
use crate::exit::Finish;
use crate::{ui, values};

const EXAMPLES: &str = "\
Examples:
  turnpike account show 42
  turnpike account show 42 --json | jq .variables";

/// Options of `account show`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ShowArgs {
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

#[derive(Serialize)]
struct Subscribed {
    plan: String,
    from: String,
    until: Option<String>,
    priority: u32,
    parameters: BTreeMap<String, String>,
    /// The option of which it is an alternative.
    option: Option<String>,
    /// The option's fee a cycle.
    fee: Option<String>,
}

#[derive(Serialize)]
struct Variable {
    name: String,
    period: String,
    value: String,
}

pub(crate) async fn run(args: ShowArgs, context: &Context) -> anyhow::Result<Finish> {
    let front = args.client.connect(&context.config).await?;
    let shown = front
        .call(&format!("account {} can't be shown", args.number), || {
            let mut accounts = front.accounts();
            let request = ShowRequest { account_number: args.number };
            async move { accounts.show(request).await }
        })
        .await?;
    let account = Account::from(shown);
    if args.json {
        ui::print_json(&account)?
    } else {
        print(&account)?
    }
    Ok(Finish::Done)
}

impl From<ShowResponse> for Account {
    fn from(shown: ShowResponse) -> Self {
        let settings = shown.settings.into_iter().map(|dated| {
            let Settings { zone, cycle_day, currency, attributes } =
                dated.settings.unwrap_or_default();
            let (from, attributes) =
                (values::show_instant(dated.from_us), attributes.into_iter().collect());
            Dated { from, zone, cycle_day, currency, attributes }
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
        Self {
            account_number: shown.account_number,
            partition: shown.partition,
            epoch: shown.epoch,
            suspended: shown.suspended,
            settings: settings.collect(),
            subscriptions: subscriptions.collect(),
            variables: variables
                .map(|v| Variable { name: v.name, period: v.period, value: v.value })
                .collect(),
        }
    }
}

fn pairs(pairs: &BTreeMap<String, String>) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// The option of which a subscription is an alternative, and its fee.
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
    let variables: Vec<_> = account
        .variables
        .iter()
        .map(|v| vec![v.name.clone(), v.period.clone(), v.value.clone()])
        .collect();
    ui::print_table(&["VARIABLE", "PERIOD", "VALUE"], &variables)?;
    Ok(())
}
