//! Every plan in the documentation parses and compiles, and its examples pass with the reference
//! tables on the same page.
#![allow(clippy::unwrap_used, missing_docs)]

use crate::support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use support::{at, parsed, session, settings};
use turnpike_plan::{Table, parse_amount, parse_table, primitive_types};
use turnpike_trial::{Inputs, Trial, TrialAccount, TrialAccounts, TrialCatalogue, run_examples};
use turnpike_types::AccountNumber;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn pages() -> Vec<PathBuf> {
    let folders = [docs(), docs().join("primitives")];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let files = entries.map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect();
    pages.sort();
    pages
}

/// The contents of the fenced blocks of a language.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let fence = format!("```{language}\n");
    page.split(&*fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

fn tables(page: &str) -> Vec<Arc<Table>> {
    let texts = blocks(page, "csv").into_iter().filter(|csv| csv.starts_with("# turnpike-table"));
    let table = |text| parse_table(text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    texts.map(|text| Arc::new(table(text))).collect()
}

/// The reason why a plan on a page is faulty; `None` if it compiles and its examples pass.
fn faults(xml: &str, tables: &[Arc<Table>]) -> Option<String> {
    let plan = match turnpike_plan::parse(xml) {
        Ok(plan) => plan,
        Err(errors) => return Some(errors.to_string()),
    };
    if let Err(errors) = turnpike_plan::compile(&plan, &BTreeMap::new()) {
        return Some(errors.to_string());
    }
    if plan.examples().is_empty() {
        return Some("it has no example".to_owned());
    }
    let report = run_examples(&plan, &Inputs::new(&|_| None).with_tables(tables));
    (!report.passed()).then(|| report.to_string())
}

#[test]
fn every_plan_on_every_page_does_what_its_examples_say() {
    let mut wrong = Vec::new();
    let mut plans = 0;
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let tables = tables(&page);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for xml in blocks(&page, "xml").into_iter().filter(|xml| xml.contains("<plan ")) {
            plans += 1;
            let told = faults(xml, &tables);
            let id = xml.split("id=\"").nth(1).unwrap().split('"').next().unwrap();
            wrong.extend(told.map(|why| format!("{name}, plan {id}:\n{why}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(plans > primitive_types().len() / 2, "{plans}");
}

#[test]
fn every_plan_in_the_examples_does_what_its_own_examples_say() {
    let folder = docs().join("../examples");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let plans: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|kind| kind == "xml")).collect();
    assert!(!plans.is_empty());
    for path in plans {
        let xml = std::fs::read_to_string(&path).unwrap();
        assert_eq!(faults(&xml, &[]), None, "{}", path.display());
    }
}

#[test]
fn every_primitive_has_a_page_with_a_plan() {
    for primitive in primitive_types() {
        let path = docs().join("primitives").join(primitive.name).with_extension("md");
        let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        assert!(page.starts_with(&format!("# {}\n", primitive.name)), "{path:?}");
        let shown = blocks(&page, "xml").iter().any(|xml| xml.contains(primitive.name));
        assert!(shown, "{path:?} shows no plan with it");
    }
}

/// The offer of docs/plan-gallery.md: each of the three plans rates all usage, and the cheapest one
/// is billed, together with the fee.
#[test]
fn of_the_gallerys_three_plans_the_cheapest_is_billed() {
    let page = std::fs::read_to_string(docs().join("plan-gallery.md")).unwrap();
    let ids = ["light", "regular", "heavy"];
    let xml = |id: &str| {
        let named = format!(" id=\"{id}\" version");
        blocks(&page, "xml").into_iter().find(|xml| xml.contains(&named)).unwrap().to_owned()
    };
    for (minutes, billed) in [(10, "8.000000000"), (100, "24.000000000"), (1000, "36.000000000")] {
        let mut euros = settings("UTC");
        euros.currency = "EUR".parse().unwrap();
        let from = at("2026-03-01T00:00:00Z");
        let fee = parse_amount("1.00").unwrap();
        let mut accounts = TrialAccounts::none();
        let offered = TrialAccount::new(euros).with_option("phone", fee, from, ids);
        accounts.open(AccountNumber(42), offered).unwrap();
        let plans = ids.map(|id| parsed(&xml(id)));
        let mut trial = Trial::new(TrialCatalogue::new(plans), accounts);
        let mut call = session(42, "r1", "2026-03-02T08:00:00Z", 0);
        call.usage_type = "call".to_owned();
        call.duration_us = minutes * 60_000_000;
        trial.rate(&call, 1).unwrap();
        trial.advance(at("2026-04-03T00:00:00Z")).unwrap();
        let balance: Vec<_> = trial.balance(AccountNumber(42)).collect();
        assert_eq!(balance[0].1.unwrap().to_string(), billed, "{minutes}");
    }
}
