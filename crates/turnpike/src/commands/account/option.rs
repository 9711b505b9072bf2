//! `turnpike account offer`, `pick`, `opt-out`: alternative plans, of which one is billed each
//! cycle.

use clap::Args;
use jiff::civil::Date;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{Offer, OptOut, Pick};
use turnpike_types::Money;

use super::dates::{DatedCommand, TimedChange, When, when};
use super::one::{OneCommand, plain};
use crate::client::ClientArgs;
use crate::context::Context;
use crate::exit::EXIT_CODES;
use crate::values;

const OFFER_EXAMPLES: &str = "\
Each alternative rates all usage tentatively. When a billing cycle closes, the cheapest alternative
is billed, with the fee; of equally cheap alternatives, the one named first here.

Examples:
  turnpike account offer 42 --option phone --plan small --plan large --from 2026-07-15
  turnpike account offer 42 --option phone --plan small --plan large --fee 2.50 --priority 2";

/// Options of `account offer`.
#[derive(Debug, Args)]
#[command(after_help = OFFER_EXAMPLES)]
#[command(after_long_help = format!("{OFFER_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct OfferArgs {
    /// The account's number
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// The option's name in the account
    #[arg(long, value_name = "NAME")]
    option: String,
    /// The plan id of an alternative; repeat for 2 to 16 of them
    #[arg(long = "plan", value_name = "ID", required = true)]
    plans: Vec<String>,
    /// The fee for each billing cycle, in the account's currency [default: nothing]
    #[arg(long, value_name = "AMOUNT")]
    fee: Option<Money>,
    /// The start: an instant, or a date in the account's zone [default: now]
    #[arg(long, value_name = "TIME", value_parser = when)]
    from: Option<When>,
    /// The priority among the account's subscriptions: the highest is tried first
    #[arg(long, value_name = "N", default_value_t = 1)]
    priority: u32,
    #[command(flatten)]
    client: ClientArgs,
}

impl OfferArgs {
    pub(super) fn resolve(self, context: &Context) -> anyhow::Result<DatedCommand> {
        let offer = Offer {
            option: self.option,
            plan_ids: self.plans,
            fee: self.fee.map(|fee| fee.to_string()).unwrap_or_default(),
            from_us: 0,
            priority: self.priority,
        };
        Ok(DatedCommand {
            account: self.number,
            at: self.from,
            change: TimedChange::Offer(offer),
            client: self.client.resolve(&context.config)?,
        })
    }
}

const PICK_EXAMPLES: &str = "\
Without a pick, the cheapest alternative is billed. The last pick before the cycle closes applies.

Examples:
  turnpike account pick 42 --option phone --plan large --cycle 2026-07-15";

/// Options of `account pick`.
#[derive(Debug, Args)]
#[command(after_help = PICK_EXAMPLES)]
#[command(after_long_help = format!("{PICK_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct PickArgs {
    /// The account's number
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// The option's name
    #[arg(long, value_name = "NAME")]
    option: String,
    /// The plan id of the alternative
    #[arg(long, value_name = "ID")]
    plan: String,
    /// The first day of the billing cycle
    #[arg(long, value_name = "DATE", value_parser = values::date)]
    cycle: Date,
    #[command(flatten)]
    client: ClientArgs,
}

impl PickArgs {
    pub(super) fn resolve(self, context: &Context) -> anyhow::Result<OneCommand> {
        let (option, plan_id, cycle) = (self.option, self.plan, self.cycle.to_string());
        let pick = Command::Pick(Pick { option, plan_id, cycle });
        let command = plain(self.number, pick);
        Ok(OneCommand { command, client: self.client.resolve(&context.config)? })
    }
}

const OPT_OUT_EXAMPLES: &str = "\
Examples:
  turnpike account opt-out 42 --option phone --plan large --at 2026-10-15";

/// Options of `account opt-out`.
#[derive(Debug, Args)]
#[command(after_help = OPT_OUT_EXAMPLES)]
#[command(after_long_help = format!("{OPT_OUT_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct OptOutArgs {
    /// The account's number
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// The option's name
    #[arg(long, value_name = "NAME")]
    option: String,
    /// The plan id of the alternative that becomes a plain subscription
    #[arg(long, value_name = "ID")]
    plan: String,
    /// The end of the option: an instant, or a date in the account's zone
    #[arg(long, value_name = "TIME", value_parser = when)]
    at: When,
    #[command(flatten)]
    client: ClientArgs,
}

impl OptOutArgs {
    pub(super) fn resolve(self, context: &Context) -> anyhow::Result<DatedCommand> {
        let (option, plan_id) = (self.option, self.plan);
        Ok(DatedCommand {
            account: self.number,
            at: Some(self.at),
            change: TimedChange::OptOut(OptOut { option, plan_id, at_us: 0 }),
            client: self.client.resolve(&context.config)?,
        })
    }
}
