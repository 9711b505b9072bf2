//! `turnpike database`: the roles and the schema of the shared database.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::database::{self, DatabaseArgs};
use crate::exit::Finish;
use crate::ui;

/// The SQL that creates the roles.
const ROLES: &str = include_str!("../../../../cluster/postgres/roles.sql");

const EXAMPLES: &str = "\
Examples:
  turnpike database roles | psql \"postgres://postgres@db/turnpike\"
  turnpike database migrate --database postgres://turnpike_migrate@db/turnpike";

/// The database commands.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum DatabaseCommand {
    /// Prints the SQL that creates the PostgreSQL roles of nodes, fronts, feed, migration, trimming
    #[command(after_help = ROLES_EXAMPLES)]
    Roles,
    /// Brings the schema up to date, and grants the roles their rights on its tables
    Migrate(MigrateArgs),
}

const ROLES_EXAMPLES: &str = "\
Examples:
  turnpike database roles > roles.sql
  turnpike database roles | psql \"postgres://postgres@db/turnpike\"";

const MIGRATE_EXAMPLES: &str = "\
Run it before the first start and before each upgrade, with the role that owns the tables. Nodes and
fronts whose roles may not change the schema then start. With one role that may do everything, they
migrate by themselves, and this command is not needed.

Examples:
  turnpike database migrate --database postgres://turnpike_migrate@db/turnpike";

/// Options of `database migrate`.
#[derive(Debug, Args)]
#[command(after_help = MIGRATE_EXAMPLES)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArgs,
}

pub(crate) async fn run(command: DatabaseCommand, context: &Context) -> anyhow::Result<Finish> {
    match command {
        DatabaseCommand::Roles => ui::print(ROLES.trim_end())?,
        DatabaseCommand::Migrate(args) => {
            let url = args.database.resolve(&context.config)?;
            database::migrate(&url).await?;
            ui::print("the schema is up to date")?;
        }
    }
    Ok(Finish::Done)
}
