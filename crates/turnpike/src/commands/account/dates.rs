//! Dates in account commands: read in the account's own zone, as in `account import`.

use anyhow::anyhow;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{
    AmendSettings, Cancel, DatedSettings, Offer, OptOut, ShowRequest, Subscribe,
};
use turnpike_types::Timestamp;

use super::one::{plain, print_outcome};
use crate::apply;
use crate::client::{ClientSettings, Front, stated};
use crate::exit::{Finish, usage};
use crate::values;

/// A time as given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// An instant.
    Instant(Timestamp),
    /// A date; it begins at the start of that day in the account's zone.
    Date(Date),
}

/// An instant, or a date in the account's zone.
pub(crate) fn when(text: &str) -> Result<When, String> {
    let in_utc = values::instant(text)?;
    // A text of at most ten characters is a date, as in all other options that take a time.
    Ok(text.parse().ok().filter(|_| text.len() <= 10).map_or(When::Instant(in_utc), When::Date))
}

/// The effective instant of a command, with the zone in which it is printed.
#[derive(Clone, Debug)]
pub(crate) struct Instant {
    pub(crate) at: Timestamp,
    zone: Option<TimeZone>,
}

impl std::fmt::Display for Instant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (jiff::Timestamp::from_microsecond(self.at.0), &self.zone) {
            (Ok(at), Some(zone)) => write!(f, "{}", at.to_zoned(zone.clone())),
            (Ok(at), None) => write!(f, "{at}"),
            (Err(_), _) => write!(f, "{} us", self.at.0),
        }
    }
}

/// Reads times in the zones of an account.
pub(crate) struct Dates<'a> {
    front: &'a Front,
    account: u64,
    /// Each zone with the start of its validity in microseconds; fetched with the first date.
    zones: Option<Vec<(i64, TimeZone)>>,
}

impl<'a> Dates<'a> {
    pub(crate) const fn of(front: &'a Front, account: u64) -> Self {
        Self { front, account, zones: None }
    }

    /// Resolves the given time to an instant; the present if none was given.
    pub(crate) async fn resolve(&mut self, typed: Option<When>) -> anyhow::Result<Instant> {
        match typed {
            None => Ok(Instant { at: Timestamp(values::now_us()), zone: None }),
            Some(When::Instant(at)) => Ok(Instant { at, zone: None }),
            Some(When::Date(date)) => {
                let zones = match self.zones.take() {
                    Some(zones) => zones,
                    None => self.ask().await?,
                };
                let found = first_instant(date, &zones);
                self.zones = Some(zones);
                found.ok_or_else(|| usage(format!("{date} has no instant in the account's zone")))
            }
        }
    }

    async fn ask(&self) -> anyhow::Result<Vec<(i64, TimeZone)>> {
        let account = self.account;
        let shown = self
            .front
            .call(&format!("the zone of account {account} can't be read"), || {
                let mut accounts = self.front.accounts();
                let request = ShowRequest { account_number: account };
                async move { accounts.show(request).await }
            })
            .await?;
        let zone = |dated: DatedSettings| {
            let name = stated(dated.settings, "the account's settings")?.zone;
            let zone = values::zone(&name).map_err(|why| anyhow!("account {account}: {why}"))?;
            Ok((dated.from_us, zone))
        };
        shown.settings.into_iter().map(zone).collect()
    }
}

/// The first instant at which the account's local date is `date` or later. `zones` holds each zone
/// with the start of its validity, sorted.
fn first_instant(date: Date, zones: &[(i64, TimeZone)]) -> Option<Instant> {
    let ends = zones.iter().skip(1).map(|(from, _)| *from).chain([i64::MAX]);
    zones.iter().zip(ends).find_map(|((from, zone), end)| {
        // If clocks skip midnight, the date begins after the skip.
        let begins = date.to_zoned(zone.clone()).ok()?.timestamp().as_microsecond();
        let at = begins.max(*from);
        (at < end).then(|| Instant { at: Timestamp(at), zone: Some(zone.clone()) })
    })
}

/// A change whose effective instant is set when the zone of the account is known.
pub(super) enum TimedChange {
    Subscribe(Subscribe),
    Cancel(Cancel),
    AmendSettings(AmendSettings),
    Offer(Offer),
    OptOut(OptOut),
}

/// The resolved settings of a command that takes effect at an instant.
pub(super) struct DatedCommand {
    pub(super) account: u64,
    /// The time as it was given; `None` for the present.
    pub(super) at: Option<When>,
    pub(super) change: TimedChange,
    pub(super) client: ClientSettings,
}

/// Sends a command with an effective instant, and prints that instant.
pub(super) async fn run(settings: DatedCommand) -> anyhow::Result<Finish> {
    let DatedCommand { account, at, change, client } = settings;
    let front = client.connect().await?;
    let instant = Dates::of(&front, account).resolve(at).await?;
    let command = plain(account, change.at(instant.at.0));
    let applied = apply::apply(&front, [command], |_, _| {}).await?;
    print_outcome(account, applied, &format!(", as of {instant}"))
}

impl TimedChange {
    /// The command that takes effect at this instant.
    fn at(self, at_us: i64) -> Command {
        match self {
            Self::Subscribe(change) => Command::Subscribe(Subscribe { from_us: at_us, ..change }),
            Self::Cancel(change) => Command::Cancel(Cancel { at_us, ..change }),
            Self::AmendSettings(change) => {
                Command::AmendSettings(AmendSettings { from_us: at_us, ..change })
            }
            Self::Offer(change) => Command::Offer(Offer { from_us: at_us, ..change }),
            Self::OptOut(change) => Command::OptOut(OptOut { at_us, ..change }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn zones(all: &[(&str, &str)]) -> Vec<(i64, TimeZone)> {
        let of = |&(from, zone): &(&str, &str)| {
            let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
            // The first zone is in force from the beginning of time.
            let from = if from.is_empty() { i64::MIN } else { at(from) };
            (from, TimeZone::get(zone).unwrap())
        };
        all.iter().map(of).collect()
    }

    fn begins(date: &str, all: &[(&str, &str)]) -> String {
        first_instant(date.parse().unwrap(), &zones(all)).unwrap().to_string()
    }

    #[test]
    fn a_date_begins_in_the_accounts_zone_also_where_clocks_jump() {
        let zurich = [("", "Europe/Zurich")];
        assert_eq!(begins("2026-11-01", &zurich), "2026-11-01T00:00:00+01:00[Europe/Zurich]");
        // In Sao Paulo, the clocks went from 23:59:59 to 01:00, so the date has no midnight. In
        // Apia, 30 December was skipped.
        let sao_paulo = [("", "America/Sao_Paulo")];
        let jump = begins("2018-11-04", &sao_paulo);
        assert_eq!(jump, "2018-11-04T01:00:00-02:00[America/Sao_Paulo]");
        let apia = begins("2011-12-30", &[("", "Pacific/Apia")]);
        assert_eq!(apia, "2011-12-31T00:00:00+14:00[Pacific/Apia]");
    }

    #[test]
    fn a_date_is_read_in_the_zone_that_holds_then() {
        let moved = [("", "America/New_York"), ("2026-07-01T12:00:00Z", "Europe/Zurich")];
        assert!(begins("2026-06-30", &moved).contains("New_York"));
        assert!(begins("2026-07-01", &moved).contains("New_York"), "04:00Z, before the move");
        assert_eq!(begins("2026-07-02", &moved), "2026-07-02T00:00:00+02:00[Europe/Zurich]");
        // If an account moves east across the date line, a date may begin at the instant of the
        // move.
        let jump = [("", "Pacific/Pago_Pago"), ("2026-07-01T10:30:00Z", "Pacific/Kiritimati")];
        assert!(begins("2026-07-02", &jump).starts_with("2026-07-02T00:30:00+14:00"));
    }

    #[test]
    fn an_instant_is_distinguished_from_a_date() {
        assert_eq!(when("2026-11-01"), Ok(When::Date(jiff::civil::date(2026, 11, 1))));
        let instant = when("2026-11-01T00:00:00Z").unwrap();
        assert!(matches!(instant, When::Instant(_)), "{instant:?}");
        assert!(when("soon").is_err() && when("2026-02-30").is_err());
    }
}
