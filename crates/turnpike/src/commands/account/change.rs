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
change is refused; one at the same instant is merged with it. A change can't be withdrawn, so one
more than 400 days ahead needs --far-future. --attribute NAME= sets an empty value,
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
    /// Accept a start more than 400 days ahead: until then no earlier change is possible
    #[arg(long)]
    far_future: bool,
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
        if !self.far_future && is_far_ahead(self.from)? {
            return Err(usage(
                "--from is more than 400 days ahead, and a change can't be withdrawn: no earlier \
                 change of the account would be possible. Correct the date, or add --far-future",
            ));
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

/// The days ahead of the present up to which a change needs no confirmation.
const DAYS_AHEAD_MAX: i64 = 400;

/// Whether a change begins so late that its date is likely a typing error. The account's zone moves
/// the start of a date by less than a day, which does not matter here.
fn is_far_ahead(from: When) -> anyhow::Result<bool> {
    let from_us = match from {
        When::Instant(at) => at.micros(),
        When::Date(date) => date.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp().as_microsecond(),
    };
    Ok(from_us.saturating_sub(values::now_us()) > DAYS_AHEAD_MAX * 24 * 3_600_000_000)
}
