//! `turnpike rate`: prices usage locally, without a cluster, with the same evaluator as the nodes.

mod happened;
mod option;
mod report;
mod settings;
mod start;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use turnpike_collect::AccountsCsv;
use turnpike_plan::{AccountContext, Plan, Table};
use turnpike_trial::{Trial, TrialAccount, TrialAccounts, TrialCatalogue, TrialOutcome};
use turnpike_types::Timestamp;

use crate::accounts_file::warn_of_begin;
use crate::exit::{Finish, usage};
use crate::usage_file::{Rows, Source};
use crate::{plans, tables, ui, usage_file};

use happened::Happened;
use report::ChargeWriter;
pub(crate) use settings::RateArgs;
use settings::RateSettings;

pub(crate) fn run(args: RateArgs) -> anyhow::Result<Finish> {
    rate(&args.resolve()?)
}

fn rate(settings: &RateSettings) -> anyhow::Result<Finish> {
    let mut loaded = Vec::new();
    for file in &settings.plans {
        let plan = plans::load(file)?;
        plan.warnings.iter().for_each(ui::print_stderr);
        loaded.push(plan.plan);
    }
    let versions = loaded.iter().map(|plan| (plan.id(), plan.version()));
    check_given_once("plan", settings.plans.iter().zip(versions))?;
    let tables = settings.tables.iter().map(|file| tables::load(file).map(Arc::new));
    let tables: Vec<_> = tables.collect::<Result<_, _>>()?;
    let versions = tables.iter().map(|table| (table.id(), table.version()));
    check_given_once("table", settings.tables.iter().zip(versions))?;
    loaded.iter().for_each(|plan| warn_of_missing_tables(plan, &tables));
    let catalogue = TrialCatalogue::new(loaded).with_tables(tables);
    let until = settings.until;
    let happened = settings.now.map_or_else(Happened::by_the_clock, Happened::by);
    let mut attributes = read_names(&catalogue);
    attributes.extend(settings.attributes.iter().cloned());
    let (path, format) = (settings.usage.as_path(), settings.format);
    let named = settings.attributes.as_slice();
    let source = Source { path, format, attributes: &attributes, named };
    let (rows, from) = start::rows_and_start(settings, source, &happened)?;
    let accounts = accounts(settings, &catalogue, from, happened.now())?;
    if settings.step {
        step::check_breakpoints(&settings.breakpoints, &catalogue)?;
        return step_through(settings, Trial::new(catalogue, accounts), rows, happened, until);
    }
    let mut happened = happened;
    let mut trial = Trial::new(catalogue, accounts);
    let mut lines = ChargeWriter::new(settings.json);
    for row in rows {
        match row {
            Ok(row) => {
                if let Err(why) = happened.check(&row.content) {
                    lines.rejected(&row, &why);
                    continue;
                }
                trial.book_before(&row.content)?;
                lines.fell_due(trial.take_due())?;
                lines.write(&row, trial.rate(&row.content, row.line)?)?;
            }
            Err(fault) => lines.bad_row(&fault),
        }
    }
    if let Some(until) = until {
        trial.advance(until)?;
        lines.fell_due(trial.take_due())?;
    }
    happened.warn();
    warn_of_notices(&mut trial);
    lines.finish()
}

/// Refuses a version that two files hold: only one of them would be used.
fn check_given_once<'a>(
    what: &str,
    files: impl Iterator<Item = (&'a PathBuf, (&'a str, u32))>,
) -> anyhow::Result<()> {
    let mut given: BTreeMap<(&str, u32), &PathBuf> = BTreeMap::new();
    for (file, (id, version)) in files {
        if let Some(first) = given.insert((id, version), file) {
            let (first, second) = (first.display(), file.display());
            return Err(usage(format!(
                "--{what} {second}: {first} is version {version} of {what} {id} too: give each \
                 version once, or change the version in one of the files"
            )));
        }
    }
    Ok(())
}

/// Words in properties of the plans that may be the name of a record attribute, and the measures
/// that the plans read, as columns `measure:NAME`.
fn read_names(catalogue: &TrialCatalogue) -> BTreeSet<String> {
    let primitives = catalogue.plans().flat_map(Plan::primitives);
    let properties = primitives.flat_map(|primitive| {
        let children = primitive.children.iter().flat_map(|child| &child.properties);
        primitive.properties.iter().chain(children)
    });
    let texts = properties.filter(|(name, _)| *name != "id").map(|(_, text)| text.as_str());
    let attributes = texts.map(|text| text.strip_prefix("record.").unwrap_or(text).to_owned());
    let inputs = catalogue.plans().flat_map(Plan::primitives).flat_map(|one| &one.inputs);
    let sources = inputs.flat_map(|input| &input.links).filter(|link| link.is_source());
    attributes.chain(sources.map(|link| format!("measure:{}", link.port))).collect()
}

/// Warns of the tables that a plan reads and no `--table` provides.
fn warn_of_missing_tables(plan: &Plan, tables: &[Arc<Table>]) {
    for name in plan.tables() {
        let of_kind = tables.iter().filter(|table| table.kind() == name.kind);
        let known: Vec<&str> = of_kind.map(|table| table.id()).collect();
        if !known.contains(&name.id.as_str()) {
            ui::print_stderr(format_args!(
                "plan {}: warning: it reads the {} table {}, and no --table holds it{}: records that need it are suspended as no-table",
                plan.id(),
                name.kind,
                name.id,
                turnpike_plan::hint(&name.id, known)
            ));
        }
    }
}

fn step_through(
    settings: &RateSettings,
    mut trial: Trial,
    rows: Rows,
    mut happened: Happened,
    until: Option<Timestamp>,
) -> anyhow::Result<Finish> {
    let mut walk = step::at_terminal(settings.json, settings.breakpoints.clone(), &settings.usage);
    let mut left_over = false;
    for row in rows {
        match row {
            Ok(row) => {
                if let Err(why) = happened.check(&row.content) {
                    left_over = true;
                    let (line, id) = (row.line, &row.content.record_id);
                    ui::print_stderr(format_args!("line {line}, record {id}: {why}"));
                    continue;
                }
                trial.book_before_stepping(&row.content, &mut walk)?;
                walk.fell_due(&trial.take_due())?;
                let outcome = trial.rate_stepping(&row.content, row.line, &mut walk)?;
                left_over |=
                    matches!(outcome, TrialOutcome::Suspended(_) | TrialOutcome::Conflict(_));
                walk.outcome(&row.content.record_id, &outcome)?;
            }
            Err(fault) => {
                left_over = true;
                ui::print_stderr(fault);
            }
        }
        if walk.is_over() {
            return Ok(Finish::Done);
        }
    }
    if let Some(until) = until {
        trial.advance_stepping(until, &mut walk)?;
        walk.fell_due(&trial.take_due())?;
    }
    happened.warn();
    warn_of_notices(&mut trial);
    Ok(Finish::unless(left_over))
}

fn warn_of_notices(trial: &mut Trial) {
    for notice in trial.take_notices() {
        ui::print_stderr(format_args!("warning: {notice}"));
    }
}

fn accounts(
    settings: &RateSettings,
    catalogue: &TrialCatalogue,
    from: Timestamp,
    now: Timestamp,
) -> anyhow::Result<TrialAccounts> {
    let Some(file) = &settings.accounts else {
        let first = catalogue.plans().next().map(Plan::currency);
        let currency = settings.currency.or(first);
        let currency = currency.ok_or_else(|| usage("name a plan with --plan"))?;
        let (cycle_day, attributes) = (settings.cycle_day, BTreeMap::new());
        let zone = settings.zone.clone();
        let account = TrialAccount::new(AccountContext { zone, cycle_day, currency, attributes });
        return Ok(TrialAccounts::all_alike(option::subscribed(
            settings, account, catalogue, from,
        )?));
    };
    let rows = AccountsCsv::new(&file.display().to_string(), usage_file::open(file)?)?;
    // A wrong account would give wrong bills, so one bad row is an error.
    let rows: Vec<_> = rows.map(|row| row.map(|row| row.content)).collect::<Result<_, _>>()?;
    let without_start = rows.iter().filter(|row| row.plan_from.is_none() && !row.plans.is_empty());
    warn_of_begin(without_start.count() as u64, now);
    Ok(TrialAccounts::from_rows(rows, now)?)
}
