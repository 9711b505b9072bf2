//! `turnpike partition`: creates partitions with their account ranges and member nodes.

use clap::{Args, Subcommand};
use turnpike_store::{Member, PartitionSpec};
use turnpike_types::{AccountRange, NodeName, Priority};

use crate::context::Context;
use crate::database::{self, DatabaseArgs};
use crate::exit::{EXIT_CODES, Finish, usage};
use crate::partitions::{AcceptanceArgs, create, rotated, specs, split};
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

/// The resolved settings of `partition init`.
#[derive(Debug)]
struct InitSettings {
    database: String,
    specs: Vec<PartitionSpec>,
}

impl InitArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<InitSettings> {
        let ranges = match (self.count, self.accounts) {
            (Some(count), Some(accounts)) => split(accounts, count)?,
            _ if self.ranges.is_empty() => {
                return Err(usage("use --count N --accounts FIRST-LAST, or --range FIRST-LAST"));
            }
            _ => self.ranges,
        };
        if self.members.is_empty() && self.member.is_empty() {
            return Err(usage(
                "name the nodes that may serve them: --members a,b or --member a=200 --member b=100",
            ));
        }
        let specs = specs(&ranges, self.first_id, &self.acceptance.resolve()?, |place| {
            if self.members.is_empty() {
                fixed(&self.member)
            } else {
                rotated(&self.members, place)
            }
        })?;
        Ok(InitSettings { database: self.database.resolve(&context.config)?, specs })
    }
}

pub(crate) async fn run(command: PartitionCommand, context: &Context) -> anyhow::Result<Finish> {
    match command {
        PartitionCommand::Init(args) => init(args.resolve(context)?).await,
    }
}

async fn init(settings: InitSettings) -> anyhow::Result<Finish> {
    let InitSettings { database, specs } = settings;
    create(&database::open(&database).await?, &specs).await?;
    for spec in &specs {
        let members = spec.members.iter().map(|m| format!("{}={}", m.node, m.priority));
        let members: Vec<String> = members.collect();
        let (id, range) = (spec.id, spec.range);
        ui::print(format_args!("partition {id}: accounts {range}, members {}", members.join(" ")))?;
    }
    Ok(Finish::Done)
}

fn fixed(members: &[(String, u32)]) -> Vec<Member> {
    let member = |(name, priority): &(String, u32)| Member {
        node: NodeName(name.clone()),
        priority: Priority(*priority),
    };
    members.iter().map(member).collect()
}
