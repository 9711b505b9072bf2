//! `turnpike account bind`, `unbind`: the account that holds an identity during an interval.

use clap::Args;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{BindIdentity, UnbindIdentity};
use turnpike_types::Identity;

use super::dates::{Dates, Instant, When, when};
use super::one::{plain, print_outcome};
use crate::apply;
use crate::client::{ClientArgs, ClientSettings, Front};
use crate::context::Context;
use crate::exit::{EXIT_CODES, Finish, usage};

const BIND_EXAMPLES: &str = "\
Usage recorded under the identity belongs to the account from --from until --until (not included). A
bound prefix matches every address in it; the longest matching prefix in force applies. If another
account holds the identity in this interval, the command fails and names that account; with --move,
the identity is unbound from it at the same instant. Records that are already rated do not move.
`turnpike suspense recycle` retries the records that wait as unbound-identity.

Examples:
  turnpike account bind 42 --identity ip:192.0.2.1
  turnpike account bind 42 --identity ip:198.51.100.8/29 --from 2026-11-01
  turnpike account bind 43 --identity tel:+41441234567 --from 2026-12-01 --move
  turnpike account bind 43 --identity ip:192.0.2.7 --from 2026-11-01T09:00:00Z \\
      --until 2026-11-01T17:00:00Z";

/// Options of `account bind`.
#[derive(Debug, Args)]
#[command(after_help = BIND_EXAMPLES)]
#[command(after_long_help = format!("{BIND_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct BindArgs {
    /// The account's number
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// ip:ADDRESS, ip:ADDRESS/LENGTH, user:NAME or tel:NUMBER
    #[arg(long, value_name = "IDENTITY")]
    identity: Identity,
    /// The start: an instant, or a date in the account's zone [default: now]
    #[arg(long, value_name = "TIME", value_parser = when)]
    from: Option<When>,
    /// The end, not included: an instant, or a date in the account's zone [default: no end]
    #[arg(long, value_name = "TIME", value_parser = when)]
    until: Option<When>,
    /// Unbind the identity from the account that holds it, at the same instant
    #[arg(long = "move")]
    moves: bool,
    #[command(flatten)]
    client: ClientArgs,
}

const UNBIND_EXAMPLES: &str = "\
Usage of the identity that begins between --from and --until (not included) waits in suspense as
unbound-identity until an account is bound. Records that are already rated do not change.

Examples:
  turnpike account unbind 42 --identity ip:192.0.2.1
  turnpike account unbind 42 --identity tel:+41441234567 --from 2026-12-01";

/// Options of `account unbind`.
#[derive(Debug, Args)]
#[command(after_help = UNBIND_EXAMPLES)]
#[command(after_long_help = format!("{UNBIND_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct UnbindArgs {
    /// The account's number
    #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
    /// The identity, in any spelling
    #[arg(long, value_name = "IDENTITY")]
    identity: Identity,
    /// The start: an instant, or a date in the account's zone [default: now]
    #[arg(long, value_name = "TIME", value_parser = when)]
    from: Option<When>,
    /// The end, not included: an instant, or a date in the account's zone [default: no end]
    #[arg(long, value_name = "TIME", value_parser = when)]
    until: Option<When>,
    #[command(flatten)]
    client: ClientArgs,
}

/// The resolved settings of `account bind` and `account unbind`.
pub(super) struct BindSettings {
    number: u64,
    identity: String,
    from: Option<When>,
    until: Option<When>,
    /// Whether the identity is unbound from the account that holds it.
    moves: bool,
    client: ClientSettings,
}

impl BindArgs {
    pub(super) fn resolve(self, context: &Context) -> anyhow::Result<BindSettings> {
        let (number, identity, moves) = (self.number, self.identity.into(), self.moves);
        let client = self.client.resolve(&context.config)?;
        Ok(BindSettings { number, identity, from: self.from, until: self.until, moves, client })
    }
}

impl UnbindArgs {
    pub(super) fn resolve(self, context: &Context) -> anyhow::Result<BindSettings> {
        let (number, identity, moves) = (self.number, self.identity.into(), false);
        let client = self.client.resolve(&context.config)?;
        Ok(BindSettings { number, identity, from: self.from, until: self.until, moves, client })
    }
}

pub(super) async fn bind(settings: BindSettings) -> anyhow::Result<Finish> {
    let BindSettings { number, identity, moves, .. } = settings;
    let front = settings.client.connect().await?;
    let (from, until) = interval(&front, number, settings.from, settings.until).await?;
    let interval = interval_text(&from, until.as_ref());
    let (from_us, until_us) = (Some(from.at.0), until.map(|until| until.at.0));
    let bind = Command::Bind(BindIdentity { identity, from_us, until_us, r#move: moves });
    let applied = apply::apply(&front, [plain(number, bind)], |_, _| {}).await?;
    print_outcome(number, applied, &interval)
}

pub(super) async fn unbind(settings: BindSettings) -> anyhow::Result<Finish> {
    let BindSettings { number, identity, .. } = settings;
    let front = settings.client.connect().await?;
    let (from, until) = interval(&front, number, settings.from, settings.until).await?;
    let interval = interval_text(&from, until.as_ref());
    let (from_us, until_us) = (from.at.0, until.map(|until| until.at.0));
    let unbind = Command::Unbind(UnbindIdentity { identity, from_us, until_us });
    let applied = apply::apply(&front, [plain(number, unbind)], |_, _| {}).await?;
    print_outcome(number, applied, &interval)
}

async fn interval(
    front: &Front,
    number: u64,
    from: Option<When>,
    until: Option<When>,
) -> anyhow::Result<(Instant, Option<Instant>)> {
    let mut dates = Dates::of(front, number);
    let from = dates.resolve(from).await?;
    let until = match until {
        None => None,
        Some(until) => Some(dates.resolve(Some(until)).await?),
    };
    if let Some(until) = until.as_ref().filter(|until| until.at <= from.at) {
        return Err(usage(format!("--until {until} is not after --from {from}")));
    }
    Ok((from, until))
}

fn interval_text(from: &Instant, until: Option<&Instant>) -> String {
    match until {
        None => format!(", from {from} on"),
        Some(until) => format!(", from {from} until {until}"),
    }
}
