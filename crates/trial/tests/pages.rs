//! The pages of the documentation are true: every plan on them parses, compiles, and does what its
//! own examples say, with the reference tables that stand on its page.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use turnpike_plan::{Table, parse_table, primitive_types};
use turnpike_trial::{Inputs, run_examples};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["price-plans.md", "plan-gallery.md"]
        .iter()
        .map(|name| docs().join(name))
        .collect();
    let primitives = std::fs::read_dir(docs().join("primitives")).unwrap();
    pages.extend(primitives.map(|entry| entry.unwrap().path()));
    pages.sort();
    pages
}

/// The content of fenced blocks of a language.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let fence = format!("```{language}\n");
    page.split(&*fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

fn tables(page: &str) -> Vec<Arc<Table>> {
    let texts = blocks(page, "csv").into_iter().filter(|csv| csv.starts_with("# turnpike-table"));
    let table = |text| parse_table(text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    texts.map(|text| Arc::new(table(text))).collect()
}

/// What is wrong with a plan of a page.
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
fn every_primitive_has_a_page_with_a_plan() {
    for primitive in primitive_types() {
        let path = docs().join("primitives").join(primitive.name).with_extension("md");
        let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        assert!(page.starts_with(&format!("# {}\n", primitive.name)), "{path:?}");
        let shown = blocks(&page, "xml").iter().any(|xml| xml.contains(primitive.name));
        assert!(shown, "{path:?} shows no plan with it");
    }
}
