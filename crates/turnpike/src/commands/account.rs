//! `turnpike account`: accounts, their settings, subscriptions and identities.

mod bind;
mod change;
mod dates;
mod import;
mod one;
mod option;
mod show;

use clap::{Args, Subcommand};
use turnpike_proto::account::v1::{Cancel, Settings, Subscribe};
use turnpike_types::{Currency, Identity};

use self::dates::{DatedCommand, TimedChange, When, when};
use self::one::OneCommand;
use crate::apply;
use crate::client::ClientArgs;
use crate::context::Context;
use crate::exit::{EXIT_CODES, Finish, usage};
use crate::values;

const EXAMPLES: &str = "\
Examples:
  turnpike account open 42 --zone America/New_York --currency USD --identity ip:192.0.2.1
  turnpike account subscribe 42 --plan fig6b --from 2026-01-01
  turnpike account import accounts.csv
  turnpike account bind 42 --identity ip:198.51.100.8/29 --from 2026-11-01
  turnpike account offer 42 --option phone --plan small --plan large --from 2026-07-15
  turnpike account show 42";

/// The account commands.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum AccountCommands {
    /// Opens accounts and subscribes them to plans from a CSV file
    Import(import::ImportArgs),
    /// Shows an account: settings, subscriptions, accumulators
    Show(show::AccountShowArgs),
    /// Opens an account
    Open(OpenArgs),
    /// Subscribes an account to a plan
    Subscribe(SubscribeArgs),
    /// Cancels a subscription
    Cancel(CancelArgs),
    /// Changes some of an account's settings from an instant on
    Change(change::ChangeArgs),
    /// Binds an identity to an account for an interval, or moves it there from another
    Bind(bind::BindArgs),
    /// Ends the binding of an identity to an account
    Unbind(bind::UnbindArgs),
    /// Offers alternative plans, of which the cheapest is billed each cycle
    Offer(option::OfferArgs),
    /// Chooses which alternative a cycle is billed by
    Pick(option::PickArgs),
    /// Ends an option: one of its plans becomes a plain subscription
    OptOut(option::OptOutArgs),
}

/// The settings of an account.
#[derive(Debug, Args)]
struct SettingsArgs {
    /// Time zone, a name of the IANA database
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    zone: String,
    /// Day of the month on which a billing cycle begins
    #[arg(long, value_name = "DAY", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=31))]
    cycle_day: u32,
    /// Currency, ISO 4217
    #[arg(long, value_name = "CODE", default_value = "USD", value_parser = values::currency)]
    currency: Currency,
    /// An attribute that plans may read; repeat for more
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = values::pair)]
    attributes: Vec<(String, String)>,
}

impl SettingsArgs {
    fn settings(self) -> anyhow::Result<Settings> {
        values::zone(&self.zone).map_err(|error| usage(format!("--zone: {error}")))?;
        Ok(Settings {
            zone: self.zone,
            cycle_day: self.cycle_day,
            currency: self.currency.to_string(),
            attributes: values::unique("--attribute", self.attributes)?,
        })
    }
}

const OPEN_EXAMPLES: &str = "\
Examples:
  turnpike account open 42
  turnpike account open 42 --zone America/New_York --cycle-day 15 --currency USD
  turnpike account open 43 --identity ip:192.0.2.1 --identity user:alice --attribute level=gold";

/// Options of `account open`.
#[derive(Debug, Args)]
#[command(after_help = OPEN_EXAMPLES, after_long_help = format!("{OPEN_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct OpenArgs {
    /// The account's number
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    #[command(flatten)]
    settings: SettingsArgs,
    /// An identity to bind for all time: ip:ADDRESS, ip:ADDRESS/LENGTH, user:NAME or tel:NUMBER;
    /// repeat for more. To bind for an interval, use account bind
    #[arg(long = "identity", value_name = "IDENTITY")]
    identities: Vec<Identity>,
    #[command(flatten)]
    client: ClientArgs,
}

const SUBSCRIBE_EXAMPLES: &str = "\
Examples:
  turnpike account subscribe 42 --plan fig6b
  turnpike account subscribe 42 --plan fig6b --from 2026-01-01
  turnpike account subscribe 42 --plan fig6b --from 2026-01-01T05:00:00Z \\
      --parameter peak-price=0.90 --priority 2";

/// Options of `account subscribe`.
#[derive(Debug, Args)]
#[command(after_help = SUBSCRIBE_EXAMPLES)]
#[command(after_long_help = format!("{SUBSCRIBE_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct SubscribeArgs {
    /// The account's number
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// The plan's id
    #[arg(long, value_name = "ID")]
    plan: String,
    /// The start: an instant, or a date in the account's zone [default: now]
    #[arg(long, value_name = "TIME", value_parser = when)]
    from: Option<When>,
    /// The priority among the account's subscriptions: the highest is tried first
    #[arg(long, value_name = "N", default_value_t = 1)]
    priority: u32,
    /// Override a parameter of the plan; repeat for more
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = values::pair)]
    parameters: Vec<(String, String)>,
    #[command(flatten)]
    client: ClientArgs,
}

const CANCEL_EXAMPLES: &str = "\
A subscription that is cancelled at its start never begins, and may begin at another date. An end
moves to an earlier date only. Usage that was rated, one-time charges and charges for whole periods
stay; charges by day are given back from the end on.

Examples:
  turnpike account cancel 42 --plan fig6b --at 2026-07-01";

/// Options of `account cancel`.
#[derive(Debug, Args)]
#[command(after_help = CANCEL_EXAMPLES)]
pub(crate) struct CancelArgs {
    /// The account's number
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// The plan's id
    #[arg(long, value_name = "ID")]
    plan: String,
    /// The end of the subscription: an instant, or a date in the account's zone
    #[arg(long, value_name = "TIME", value_parser = when)]
    at: When,
    #[command(flatten)]
    client: ClientArgs,
}

impl OpenArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<OneCommand> {
        let identities = self.identities.into_iter().map(String::from);
        let command = apply::open(self.number, self.settings.settings()?, identities);
        Ok(OneCommand { command, client: self.client.resolve(&context.config)? })
    }
}

impl SubscribeArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<DatedCommand> {
        let subscription = Subscribe {
            plan_id: self.plan,
            from_us: 0,
            priority: self.priority,
            parameters: values::unique("--parameter", self.parameters)?,
        };
        Ok(DatedCommand {
            account: self.number,
            at: self.from,
            change: TimedChange::Subscribe(subscription),
            client: self.client.resolve(&context.config)?,
        })
    }
}

impl CancelArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<DatedCommand> {
        Ok(DatedCommand {
            account: self.number,
            at: Some(self.at),
            change: TimedChange::Cancel(Cancel { plan_id: self.plan, at_us: 0 }),
            client: self.client.resolve(&context.config)?,
        })
    }
}

pub(crate) async fn run(command: AccountCommands, context: &Context) -> anyhow::Result<Finish> {
    match command {
        AccountCommands::Import(args) => import::run(args.resolve(context)?).await,
        AccountCommands::Show(args) => show::run(args.resolve(context)?).await,
        AccountCommands::Open(args) => one::run(args.resolve(context)?).await,
        AccountCommands::Subscribe(args) => dates::run(args.resolve(context)?).await,
        AccountCommands::Cancel(args) => dates::run(args.resolve(context)?).await,
        AccountCommands::Change(args) => dates::run(args.resolve(context)?).await,
        AccountCommands::Bind(args) => bind::bind(args.resolve(context)?).await,
        AccountCommands::Unbind(args) => bind::unbind(args.resolve(context)?).await,
        AccountCommands::Offer(args) => dates::run(args.resolve(context)?).await,
        AccountCommands::Pick(args) => one::run(args.resolve(context)?).await,
        AccountCommands::OptOut(args) => dates::run(args.resolve(context)?).await,
    }
}
