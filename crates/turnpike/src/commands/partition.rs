//! `turnpike partition`: creates partitions with their account ranges and member nodes.

use clap::{Args, Subcommand};
use turnpike_store::{Member, PartitionSpec};
use turnpike_types::{AccountRange, NodeName, PartitionId, Priority, Timestamp};

use crate::cli::Context;
use crate::database::DatabaseArgs;
use crate::exit::{EXIT_CODES, Finish, usage};
use crate::{ui, values};

const EXAMPLES: &str = "\
Examples:
  turnpike partition init --database sqlite:turnpike.db --count 4 --accounts 1-1000000 \\
      --members a,b";

/// The partition commands.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum PartitionCommand {
    /// Creates partitions; creating the same again changes nothing
    Init(InitArgs),
}

const INIT_EXAMPLES: &str = "\
With --members, the first partition prefers the first member, the second partition the second
member, and so on in rotation. This spreads the load, and each partition has every member as owner
or standby.

Examples:
  turnpike partition init --database sqlite:turnpike.db --count 4 --accounts 1-1000000 \\
      --members a,b
  turnpike partition init --database postgres://turnpike@db/turnpike \\
      --range 1-500000 --range 500001-9000000 --member a=200 --member b=100
  turnpike partition init --database sqlite:turnpike.db --count 2 --accounts 1-9999 \\
      --members a,b --accept-since 2010-01-01     # for a backfill of old records";

/// Options of `partition init`.
#[derive(Debug, Args)]
#[command(after_help = INIT_EXAMPLES, after_long_help = format!("{INIT_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct InitArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// How many partitions to split --accounts into
    #[arg(long, value_name = "N", requires = "accounts", conflicts_with = "ranges")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: Option<u32>,
    /// The accounts to split evenly, both included
    #[arg(long, value_name = "FIRST-LAST", value_parser = values::accounts, requires = "count")]
    accounts: Option<AccountRange>,
    /// One partition's accounts; repeat for more
    #[arg(long = "range", value_name = "FIRST-LAST", value_parser = values::accounts)]
    ranges: Vec<AccountRange>,
    /// The number of the first partition
    #[arg(long, value_name = "N", default_value_t = 1)]
    first_id: u32,
    /// Nodes that may serve the partitions; the preferred node changes from one to the next
    #[arg(long, value_name = "NODE,NODE", value_delimiter = ',', conflicts_with = "member")]
    members: Vec<String>,
    /// A node and its priority in every partition; the highest is preferred; repeat for more
    #[arg(long, value_name = "NODE=PRIORITY", value_parser = values::member)]
    member: Vec<(String, u32)>,
    #[command(flatten)]
    acceptance: AcceptanceArgs,
}

/// The start times of records that a partition accepts.
#[derive(Clone, Debug, Args)]
pub(crate) struct AcceptanceArgs {
    /// The acceptance horizon: how long ago a record may start, with a unit (35d, 12h), at least a
    /// minute; a partition keeps it [default: 35d]
    #[arg(long, value_name = "TIME", value_parser = values::horizon)]
    horizon: Option<std::time::Duration>,
    /// Accept records since this time in spite of the horizon, for a backfill; not in the future
    #[arg(long, value_name = "TIME", value_parser = values::instant)]
    accept_since: Option<Timestamp>,
}

impl AcceptanceArgs {
    /// Accepts all records since `since`.
    pub(crate) const fn since(since: Timestamp) -> Self {
        Self { horizon: None, accept_since: Some(since) }
    }

    /// Refuses a start of acceptance in the future: until that instant it would not extend the
    /// horizon, and the keys of all records would be kept.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let Some(since) = self.accept_since.filter(|since| since.micros() > values::now_us())
        else {
            return Ok(());
        };
        let since = values::show_instant(since.micros());
        Err(usage(format!(
            "--accept-since {since} is in the future; give the start of the backfill"
        )))
    }

    /// The first option, as written, that differs from the settings of an existing partition.
    pub(crate) fn unlike(&self, spec: &PartitionSpec) -> Option<String> {
        if let Some(horizon) = self.horizon
            && i64::try_from(horizon.as_micros()) != Ok(spec.horizon_us)
        {
            return Some(format!("--horizon {horizon:?}"));
        }
        let since = self.accept_since.filter(|since| spec.accept_since != Some(*since))?;
        Some(format!("--accept-since {}", values::show_instant(since.micros())))
    }
}

/// The acceptance horizon without --horizon.
const HORIZON_DEFAULT: std::time::Duration = std::time::Duration::from_secs(35 * 86_400);

pub(crate) async fn run(command: PartitionCommand, context: &Context) -> anyhow::Result<Finish> {
    let PartitionCommand::Init(args) = command;
    let ranges = match (args.count, args.accounts) {
        (Some(count), Some(accounts)) => split(accounts, count)?,
        _ if args.ranges.is_empty() => {
            return Err(usage("use --count N --accounts FIRST-LAST, or --range FIRST-LAST"));
        }
        _ => args.ranges.clone(),
    };
    if args.members.is_empty() && args.member.is_empty() {
        return Err(usage(
            "name the nodes that may serve them: --members a,b or --member a=200 --member b=100",
        ));
    }
    let specs = specs(&ranges, args.first_id, &args.acceptance, |place| {
        if args.members.is_empty() { fixed(&args.member) } else { rotated(&args.members, place) }
    })?;
    let database = args.database.open(&context.config).await?;
    database.create_partitions(&specs).await?;
    for spec in &specs {
        let members = spec.members.iter().map(|m| format!("{}={}", m.node, m.priority));
        let members: Vec<String> = members.collect();
        let (id, range) = (spec.id, spec.range);
        ui::print(format_args!("partition {id}: accounts {range}, members {}", members.join(" ")))?;
    }
    Ok(Finish::Done)
}

/// Splits the range evenly; the first parts are larger by one if there is a remainder.
pub(crate) fn split(accounts: AccountRange, count: u32) -> anyhow::Result<Vec<AccountRange>> {
    let (first, last, parts) = (accounts.first().0, accounts.last().0, u128::from(count.max(1)));
    let total = u128::from(last - first) + 1;
    if total < parts {
        return Err(usage(format!("{accounts} has fewer accounts than {count} partitions")));
    }
    let bound = |part: u128| -> u64 {
        let before = part * (total / parts) + part.min(total % parts);
        // The largest bound is `last - first + 1`; it fits, because account numbers start at 1.
        u64::try_from(before).unwrap_or(u64::MAX)
    };
    let ranges = (0..parts).map(|part| {
        let (from, next) = (bound(part), bound(part + 1));
        AccountRange::new(first + from, first + (next - 1))
    });
    Ok(ranges.collect::<Result<_, _>>()?)
}

/// Partitions of these ranges; `members` gives the members of the partition at an index, from 0.
pub(crate) fn specs(
    ranges: &[AccountRange],
    first_id: u32,
    acceptance: &AcceptanceArgs,
    members: impl Fn(usize) -> Vec<Member>,
) -> anyhow::Result<Vec<PartitionSpec>> {
    acceptance.check()?;
    let horizon_us = i64::try_from(acceptance.horizon.unwrap_or(HORIZON_DEFAULT).as_micros())
        .map_err(|_| usage("--horizon is too long; write for example 35d"))?;
    let last = u32::try_from(ranges.len()).ok().and_then(|count| first_id.checked_add(count));
    let last = last.ok_or_else(|| usage("--first-id leaves too few numbers"))?;
    let places = (first_id..last).zip(ranges).enumerate();
    Ok(places
        .map(|(place, (id, &range))| PartitionSpec {
            id: PartitionId(id),
            range,
            horizon_us,
            accept_since: acceptance.accept_since,
            members: members(place),
        })
        .collect())
}

fn fixed(members: &[(String, u32)]) -> Vec<Member> {
    let member = |(name, priority): &(String, u32)| Member {
        node: NodeName(name.clone()),
        priority: Priority(*priority),
    };
    members.iter().map(member).collect()
}

/// The members of the partition at index `place`. The member at index `place` modulo the number of
/// members has the highest priority; the members after it follow in order.
pub(crate) fn rotated(names: &[String], place: usize) -> Vec<Member> {
    let count = names.len();
    let ranks = (1..=u32::try_from(count).unwrap_or(u32::MAX)).rev();
    names
        .iter()
        .cycle()
        .skip(place % count.max(1))
        .take(count)
        .zip(ranks)
        .map(|(name, rank)| Member {
            node: NodeName(name.trim().to_owned()),
            priority: Priority(rank * 100),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_split_leaves_no_gap_and_differs_by_one_at_most() {
        for (first, last, count) in [(1, 10, 3), (5, 5, 1), (1, u64::MAX, 7), (1, 4, 4)] {
            let ranges = split(AccountRange::new(first, last).unwrap(), count).unwrap();
            assert_eq!(ranges.len(), count as usize);
            assert_eq!(ranges[0].first().0, first);
            assert_eq!(ranges[ranges.len() - 1].last().0, last);
            let sizes: Vec<u64> = ranges.iter().map(|r| r.last().0 - r.first().0).collect();
            assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].last().0 + 1, pair[1].first().0);
            }
        }
        assert!(split(AccountRange::new(1, 3).unwrap(), 4).is_err());
    }

    #[test]
    fn members_are_preferred_in_turn() {
        let names = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let order = |place| -> Vec<(String, u32)> {
            rotated(&names, place).into_iter().map(|m| (m.node.0, m.priority.0)).collect()
        };
        assert_eq!(order(0)[0], ("a".to_owned(), 300));
        assert_eq!(order(1), [("b".to_owned(), 300), ("c".to_owned(), 200), ("a".to_owned(), 100)]);
        assert_eq!(order(3), order(0));
    }
}
