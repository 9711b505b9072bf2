//! The options and the resolved settings of `turnpike collect access-log`.

use std::path::{Path, PathBuf};

use clap::Args;
use turnpike_collect::{AccessLogOptions, LogFormat};
use turnpike_types::{Currency, Timestamp};

use super::source;
use crate::batches::BatchArgs;
use crate::client::{ClientArgs, ClientSettings};
use crate::context::Context;
use crate::exit::{EXIT_CODES, usage};
use crate::values;

const ACCESS_LOG_EXAMPLES: &str = "\
Each line becomes one record: identity ip:ADDRESS of the client, without port, usage type octets
(status 200 and 206), octets-failed (4xx, 5xx) or octets-uncharged (the rest), quantity the size.
Record ids are SOURCE:HASH:N, so a second run changes nothing. Rotation may rename the file
(access.log.1, access.log.2.gz, access.log-20261130): the source stays. See docs/formats.md.

The formats common, combined and vhost_combined are recognized by the first line that matches. For
any other format, give the server's LogFormat. A line whose requester is not an address is reported
and not sent, unless --hostnames says that the server logs host names.

--open-accounts opens accounts for requesters that have none, and no others. Everything is checked
first: the file, the plan, the account numbers, and whether the cluster takes records of that time (a
cluster for old logs: turnpike up --data NEW-DIR --accept-since DATE). An access that is too old or in
the future opens no account. --plan subscribes the accounts that this run opens. Their fees are
charged from --plan-from on, and usage before it waits as no-plan.

Examples:
  turnpike collect access-log access.log
  turnpike collect access-log /var/log/www1/access.log --source www1
  zstdcat access.log.zst | turnpike collect access-log - --source www1
  turnpike collect access-log other_vhosts_access.log --format vhost_combined
  turnpike collect access-log site.log --format '%v %h %l %u %t \"%r\" %>s %b'
  turnpike collect access-log access.log --open-accounts 1000 --plan octets \\
      --plan-from 2026-11-01 --currency USD";

/// Options of `collect access-log`.
#[derive(Debug, Args)]
#[command(after_help = ACCESS_LOG_EXAMPLES)]
#[command(after_long_help = format!("{ACCESS_LOG_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct AccessLogArgs {
    /// The log, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The prefix of record ids: one for each server, the same whenever its log is collected;
    /// needed for standard input [default: the file's name without .1, .2.gz, -20261130]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// The format of the lines: common, combined, vhost_combined, or the server's LogFormat
    /// [default: recognized by the first line that matches]
    #[arg(long, value_name = "FORMAT")]
    format: Option<LogFormat>,
    /// Requesters may be host names (HostnameLookups On); their identity is user:NAME
    #[arg(long, requires = "format")]
    hostnames: bool,
    /// Keep each request's path as the attribute `path`
    #[arg(long)]
    path: bool,
    /// First open an account for each requester that has none, numbered from here in order of first
    /// appearance; numbers already in use are skipped
    #[arg(long, value_name = "FROM")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    open_accounts: Option<u64>,
    /// Subscribe the opened accounts to this plan; needs --plan-from
    #[arg(long, value_name = "ID", requires = "open_accounts")]
    plan: Option<String>,
    /// The start of the subscriptions: an instant, or a date in the zone
    #[arg(long, value_name = "TIME", requires_all = ["open_accounts", "plan"])]
    plan_from: Option<String>,
    /// Also subscribe the requesters' accounts that an interrupted run left without a plan:
    /// accounts with the same settings, numbered FROM or higher
    #[arg(long, requires_all = ["open_accounts", "plan"])]
    resume: bool,
    /// Time zone of the opened accounts
    #[arg(long, value_name = "ZONE", default_value = "UTC", requires = "open_accounts")]
    zone: String,
    /// Currency of the opened accounts
    #[arg(long, value_name = "CODE", default_value = "USD", requires = "open_accounts")]
    #[arg(value_parser = values::currency)]
    currency: Currency,
    #[command(flatten)]
    batches: BatchArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// The resolved settings of `collect access-log`.
#[derive(Debug)]
pub(super) struct AccessLogSettings {
    pub(super) file: PathBuf,
    /// The prefix of record ids.
    pub(super) source: String,
    /// Whether the prefix is the file's name, because none was given.
    pub(super) is_source_by_name: bool,
    pub(super) log: AccessLogOptions,
    /// How accounts are opened; `None` to open none.
    pub(super) opening: Option<OpeningSettings>,
    pub(super) batches: BatchArgs,
    pub(super) quiet: bool,
    pub(super) client: ClientSettings,
}

/// How accounts are opened for requesters that have none.
#[derive(Debug)]
pub(super) struct OpeningSettings {
    /// The first number of an account.
    pub(super) from: u64,
    pub(super) plan: Option<String>,
    pub(super) plan_from: Option<Timestamp>,
    pub(super) resume: bool,
    pub(super) zone: String,
    pub(super) currency: Currency,
    /// Whether progress is not shown.
    pub(super) hidden: bool,
}

impl AccessLogArgs {
    pub(super) fn resolve(self, context: &Context) -> anyhow::Result<AccessLogSettings> {
        let zone = values::zone(&self.zone).map_err(|error| usage(format!("--zone: {error}")))?;
        let plan_from = self.plan_from.map(|text| values::instant_in(&text, &zone));
        let plan_from =
            plan_from.transpose().map_err(|error| usage(format!("--plan-from: {error}")))?;
        if self.open_accounts.is_some() && self.file == Path::new("-") {
            return Err(usage("--open-accounts reads the log twice: name a file, not -"));
        }
        let opening = self.open_accounts.map(|from| OpeningSettings {
            from,
            plan: self.plan,
            plan_from,
            resume: self.resume,
            zone: self.zone,
            currency: self.currency,
            hidden: context.quiet || self.batches.json,
        });
        Ok(AccessLogSettings {
            is_source_by_name: self.source.is_none(),
            source: match self.source {
                Some(source) => source,
                None => source::default_source(&self.file)?,
            },
            log: AccessLogOptions {
                path: self.path,
                format: self.format,
                hostnames: self.hostnames,
            },
            file: self.file,
            opening,
            batches: self.batches,
            quiet: context.quiet,
            client: self.client.resolve(&context.config)?,
        })
    }
}
