//! `turnpike audit`: who changed what.

mod export_file;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use turnpike_access::Actor;
use turnpike_access::audit::chain::{from_hexadecimal, hexadecimal};
use turnpike_access::audit::export::ExportLine;
use turnpike_access::audit::verify::{Anchor, AuditReport, Verifier};
use turnpike_access::audit::{AuditLog, trim};
use turnpike_proto::audit::v1::{ReadRequest, ReadResponse, Row};
use turnpike_types::Timestamp;

use self::export_file::ExportWriter;
use crate::client::{ClientArgs, ClientSettings, Front};
use crate::context::Context;
use crate::database::{self, DatabaseArgs};
use crate::exit::{EXIT_CODES, Finish, usage};
use crate::{ui, values};

const EXAMPLES: &str = "\
Examples:
  turnpike audit list --since 2026-11-01 --action plan.publish
  turnpike audit verify
  turnpike audit export --output audit.jsonl";

/// The audit commands.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum AuditCommand {
    /// Lists entries: who changed what, from where, under which request id
    List(ListArgs),
    /// Checks that no entry was removed, changed or reordered
    Verify(VerifyArgs),
    /// Writes the entries with their hashes to a file, which `verify --file` checks
    Export(ExportArgs),
    /// Deletes the entries that an export holds from the shared database
    Trim(TrimArgs),
}

const LIST_EXAMPLES: &str = "\
A change has two entries: the intent, written before it, and the outcome, written after it. An intent
without an outcome was made by a process that ended, or lost the database, in between: the change may
or may not have been made.

Examples:
  turnpike audit list
  turnpike audit list --account 42 --json
  turnpike audit list --principal token:anna --since 2026-11-01 --until 2026-12-01";

/// The selection of entries.
#[derive(Debug, Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(crate) struct ListArgs {
    /// Only entries from this date or instant on
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    since: Option<Timestamp>,
    /// Only entries before this date or instant
    #[arg(long, value_name = "INSTANT", value_parser = values::instant)]
    until: Option<Timestamp>,
    /// Only entries of this principal, spelled as in the list
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Only entries of this action, such as plan.publish
    #[arg(long, value_name = "ACTION", value_parser = action)]
    action: Option<String>,
    /// Only entries that name this account
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    account: Option<u64>,
    /// Report as JSON, one entry a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: ClientArgs,
}

fn action(word: &str) -> Result<String, String> {
    use turnpike_access::audit::Action;
    if Action::ALL.iter().any(|action| action.word() == word) {
        return Ok(word.to_owned());
    }
    let known: Vec<&str> = Action::ALL.iter().map(|action| action.word()).collect();
    Err(format!("no such action; use one of {}", known.join(", ")))
}

const VERIFY_EXAMPLES: &str = "\
The last line names the newest entry and its hash: keep it outside the cluster. Only an anchor that
was kept elsewhere shows that somebody with all rights on the database has rewritten the whole log.
The exit code is 1 if a fault was found.

Examples:
  turnpike audit verify
  turnpike audit verify --anchor 1284:5f0c…
  turnpike audit verify --file audit.jsonl";

/// Options of `audit verify`.
#[derive(Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES, after_long_help = format!("{VERIFY_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(crate) struct VerifyArgs {
    /// An entry and its hash that an earlier verification printed
    #[arg(long, value_name = "NUMBER:HASH", value_parser = anchor)]
    anchor: Option<Anchor>,
    /// Check this export instead of the cluster's log
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
}

fn anchor(text: &str) -> Result<Anchor, String> {
    let parsed = text.split_once(':').and_then(|(sequence, hash)| {
        let hash = from_hexadecimal(hash)?.try_into().ok()?;
        Some(Anchor { sequence: sequence.parse().ok()?, hash })
    });
    parsed.ok_or_else(|| "write NUMBER:HASH as `turnpike audit verify` prints it".to_owned())
}

const EXPORT_EXAMPLES: &str = "\
The file is complete only if the exit code is 0. An existing file is not overwritten.

Examples:
  turnpike audit export --output audit-2026.jsonl
  turnpike audit verify --file audit-2026.jsonl";

/// Options of `audit export`.
#[derive(Debug, Args)]
#[command(after_help = EXPORT_EXAMPLES)]
pub(crate) struct ExportArgs {
    /// The file to create
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    client: ClientArgs,
}

const TRIM_EXAMPLES: &str = "\
Deletes from the shared database the entries that the export holds, except the newest one. The
export is verified first, and an entry of the log records what was trimmed: keep the file. The
database's role must be permitted to delete entries (see turnpike database roles).

Examples:
  turnpike audit export --output audit-2026.jsonl
  turnpike audit trim --exported audit-2026.jsonl --database postgres://turnpike_trim@db/turnpike";

/// Options of `audit trim`.
#[derive(Debug, Args)]
#[command(after_help = TRIM_EXAMPLES)]
pub(crate) struct TrimArgs {
    /// The export, which is kept
    #[arg(long, value_name = "FILE")]
    exported: PathBuf,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// The resolved settings of a command that reads the log of a cluster.
struct ReadSettings {
    request: ReadRequest,
    client: ClientSettings,
}

impl ListArgs {
    fn resolve(self, context: &Context) -> anyhow::Result<(ReadSettings, bool)> {
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            return Err(usage("--since is not before --until: no entry can be between them"));
        }
        let text = |given: Option<String>| given.into_iter().collect::<String>();
        let request = ReadRequest {
            after: 0,
            since_us: self.since.map(Timestamp::micros),
            until_us: self.until.map(Timestamp::micros),
            principal: text(self.principal),
            action: text(self.action),
            // 0: all accounts. The parser takes numbers from 1 on.
            account: self.account.unwrap_or(0),
        };
        let client = self.client.resolve(&context.config)?;
        Ok((ReadSettings { request, client }, self.json))
    }
}

pub(crate) async fn run(command: AuditCommand, context: &Context) -> anyhow::Result<Finish> {
    match command {
        AuditCommand::List(args) => {
            let (settings, json) = args.resolve(context)?;
            list(settings, json).await
        }
        AuditCommand::Verify(args) => match args.file {
            Some(file) => verify_file(&file, args.anchor),
            None => verify(&args.client.resolve(&context.config)?, args.anchor).await,
        },
        AuditCommand::Export(args) => {
            export(&args.client.resolve(&context.config)?, &args.output).await
        }
        AuditCommand::Trim(args) => {
            trim_exported(&args.database.resolve(&context.config)?, &args.exported).await
        }
    }
}

/// Reads all selected entries, page by page. Returns the last page, which names the newest entry.
async fn read_all(
    settings: &ReadSettings,
    mut each: impl FnMut(&Row) -> anyhow::Result<()>,
) -> anyhow::Result<ReadResponse> {
    let front = settings.client.connect().await?;
    let mut request = settings.request.clone();
    loop {
        let page = read_page(&front, &request).await?;
        page.rows.iter().try_for_each(&mut each)?;
        if !page.more {
            return Ok(page);
        }
        request.after = page.through;
    }
}

async fn read_page(front: &Front, request: &ReadRequest) -> anyhow::Result<ReadResponse> {
    front
        .call("the audit log could not be read", || {
            let (mut audit, request) = (front.audit(), request.clone());
            async move { audit.read(request).await }
        })
        .await
}

async fn list(settings: ReadSettings, json: bool) -> anyhow::Result<Finish> {
    let (mut rows, mut count) = (Vec::new(), 0_u64);
    read_all(&settings, |row| {
        count += 1;
        let line = ExportLine::of(row)?;
        if json {
            return Ok(ui::print(serde_json::to_string(&line)?)?);
        }
        rows.push(shown(line));
        if rows.len() == LISTED_TOGETHER {
            print_rows(&mut rows)?;
        }
        Ok(())
    })
    .await?;
    if !json {
        print_rows(&mut rows)?;
    }
    if count == 0 {
        ui::print_stderr("no entry of the audit log is as asked for");
    }
    Ok(Finish::Done)
}

/// How many entries are shown in one table, so that a long list needs little memory.
const LISTED_TOGETHER: usize = 1_000;

fn print_rows(rows: &mut Vec<Vec<String>>) -> anyhow::Result<()> {
    if !rows.is_empty() {
        let header = ["ENTRY", "TIME", "PRINCIPAL", "FROM", "REQUEST", "ACTION", "WHAT", "OUTCOME"];
        ui::print_table(&header, &std::mem::take(rows))?;
    }
    Ok(())
}

fn shown(line: ExportLine) -> Vec<String> {
    let what = if line.detail.is_empty() {
        line.target
    } else {
        format!("{}: {}", line.target, line.detail)
    };
    let outcome = if line.outcome.is_empty() { line.kind } else { line.outcome };
    let at = values::show_instant(line.at_us);
    let texts = [line.principal, line.address, line.request_id, line.action, what, outcome];
    let mut row = vec![line.sequence.to_string(), at];
    row.extend(texts.iter().map(|text| text.escape_debug().to_string()));
    row
}

async fn verify(client: &ClientSettings, anchor: Option<Anchor>) -> anyhow::Result<Finish> {
    let settings = ReadSettings { request: ReadRequest::default(), client: client.clone() };
    let mut verifier = Verifier::new(anchor);
    let last = read_all(&settings, |row| {
        verifier.row(row);
        Ok(())
    })
    .await?;
    let hash =
        <[u8; 32]>::try_from(&last.last_hash[..]).context("the front's answer has no hash")?;
    report(&verifier.finish(Some(Anchor { sequence: last.last, hash }), false))
}

fn verify_file(path: &Path, anchor: Option<Anchor>) -> anyhow::Result<Finish> {
    let mut verifier = Verifier::new(anchor);
    let faults = export_file::read(path, |row| verifier.row(row))?;
    faults.named.iter().for_each(ui::print_stderr);
    let done = report(&verifier.finish(None, true));
    if faults.count > 0 {
        bail!("{} is no whole export, or was changed: {} faults", path.display(), faults.count);
    }
    done
}

fn report(report: &AuditReport) -> anyhow::Result<Finish> {
    for (sequence, what) in &report.open {
        ui::print(format_args!(
            "entry {sequence} has no outcome ({}): the change may or may not have been made",
            what.escape_debug()
        ))?;
    }
    for (sequence, what) in &report.unknown {
        ui::print(format_args!(
            "entry {sequence} has the outcome unknown ({}): the change may or may not have been made",
            what.escape_debug()
        ))?;
    }
    let left_out = report.unknown_count - report.unknown.len() as u64;
    if left_out > 0 {
        ui::print(format_args!("and {left_out} more entries with the outcome unknown"))?;
    }
    for fault in &report.faults {
        ui::print_stderr(fault);
    }
    let AuditReport { entries, first, last, faults_count, .. } = report;
    if *faults_count > 0 {
        bail!("{faults_count} faults in {entries} entries of the audit log");
    }
    if *entries == 0 {
        bail!(
            "the audit log is empty, so that nothing is verified: each change of a cluster has \
             entries, and the creation of its partitions too"
        );
    }
    let hash = hexadecimal(&report.last_hash);
    ui::print(format_args!("{entries} entries, {first} to {last}, form an unbroken chain"))?;
    ui::print(format_args!("--anchor {last}:{hash}"))?;
    Ok(Finish::Done)
}

async fn export(client: &ClientSettings, output: &Path) -> anyhow::Result<Finish> {
    let mut file = ExportWriter::create(output)?;
    let settings = ReadSettings { request: ReadRequest::default(), client: client.clone() };
    read_all(&settings, |row| file.add(row)).await?;
    let count = file.finish()?;
    ui::print(format_args!("{count} entries are in {}", output.display()))?;
    Ok(Finish::Done)
}

async fn trim_exported(url: &str, exported: &Path) -> anyhow::Result<Finish> {
    let mut verifier = Verifier::new(None);
    // The last entry of the export stays in the log, so that the log is never empty.
    let mut ends: [Option<Anchor>; 2] = [None, None];
    let faults = export_file::read(exported, |row| {
        verifier.row(row);
        // A hash of another length is a fault that the verifier reports.
        let hash = row.hash.first_chunk::<32>().filter(|_| row.hash.len() == 32);
        ends = [ends[1], hash.map(|hash| Anchor { sequence: row.sequence, hash: *hash })];
    })?;
    let found = verifier.finish(None, true);
    if faults.count > 0 || found.faults_count > 0 {
        bail!(
            "{} is no unbroken export: nothing was trimmed; `turnpike audit verify --file` says why",
            exported.display()
        );
    }
    let Some(through) = ends[0] else {
        bail!("{} holds fewer than two entries: nothing was trimmed", exported.display());
    };
    let database = database::open(url).await?;
    let log = AuditLog::start(Arc::clone(&database), rand::random());
    let end = (through.sequence, through.hash);
    let deleted = trim::trim(&database, &log, &Actor::local(), found.first, end).await?;
    ui::print(format_args!(
        "{deleted} entries up to {} were deleted; keep {}",
        through.sequence,
        exported.display()
    ))?;
    Ok(Finish::Done)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_read_as_it_is_printed() {
        let hash = "5f".repeat(32);
        let read = anchor(&format!("12:{hash}")).unwrap();
        assert_eq!((read.sequence, read.hash), (12, [0x5f; 32]));
        for bad in ["12", "x:5f", &format!("12:{}", &hash[2..]), &format!("-1:{hash}")] {
            assert!(anchor(bad).is_err(), "{bad}");
        }
        assert!(action("plan.publish").is_ok());
        assert!(action("plan.published").unwrap_err().contains("plan.publish, table.publish"));
    }
}
