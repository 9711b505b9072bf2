//! `turnpike account change`: changes some of an account's settings from an instant on.

use clap::Args;
use turnpike_proto::account::v1::AmendSettings;
use turnpike_types::Currency;

use super::dates::{DatedCommand, TimedChange, When, when};
use crate::client::ClientArgs;
use crate::context::Context;
use crate::exit::{EXIT_CODES, usage};
use crate::values;

const EXAMPLES: &str = "\
Only the settings named here change; the others keep the values they have at that instant. A date is
read in the time zone in force before the change. A change that is earlier than the account's last
change is refused; one at the same instant is merged with it. --attribute NAME= sets an empty value,
--remove-attribute NAME removes the attribute.

Examples:
  turnpike account change 42 --from 2026-12-01 --currency CHF
  turnpike account change 42 --from 2026-12-01 --zone Europe/Zurich --attribute level=gold
  turnpike account change 42 --from 2026-12-01 --remove-attribute level";

/// Options of `account change`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct ChangeArgs {
    /// The account's number
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// The start of the change: an instant, or a date in the account's zone
    #[arg(long, value_name = "TIME", value_parser = when)]
    from: When,
    #[command(flatten)]
    changes: Changes,
    #[command(flatten)]
    client: ClientArgs,
}

/// The settings that change.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Time zone, a name of the IANA database
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Day of the month on which a billing cycle begins
    #[arg(long, value_name = "DAY", value_parser = clap::value_parser!(u32).range(1..=31))]
    cycle_day: Option<u32>,
    /// Currency, ISO 4217
    #[arg(long, value_name = "CODE", value_parser = values::currency)]
    currency: Option<Currency>,
    /// An attribute to set; repeat for more
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = values::pair)]
    attributes: Vec<(String, String)>,
    /// An attribute to remove; repeat for more
    #[arg(long = "remove-attribute", value_name = "NAME")]
    removed_attributes: Vec<String>,
}

impl ChangeArgs {
    pub(super) fn resolve(self, context: &Context) -> anyhow::Result<DatedCommand> {
        let Changes { zone, cycle_day, currency, attributes, removed_attributes } = self.changes;
        if let Some(zone) = &zone {
            values::zone(zone).map_err(|error| usage(format!("--zone: {error}")))?;
        }
        let set = |name: &String| attributes.iter().any(|(attribute, _)| attribute == name);
        if let Some(both) = removed_attributes.iter().find(|name| set(name)) {
            return Err(usage(format!(
                "attribute {both} is both set and removed: use one of the options"
            )));
        }
        let amended = AmendSettings {
            from_us: 0,
            zone,
            cycle_day,
            currency: currency.map(|currency| currency.to_string()),
            attributes: values::unique("--attribute", attributes)?,
            removed_attributes,
        };
        Ok(DatedCommand {
            account: self.number,
            at: Some(self.from),
            change: TimedChange::AmendSettings(amended),
            client: self.client.resolve(&context.config)?,
        })
    }
}
