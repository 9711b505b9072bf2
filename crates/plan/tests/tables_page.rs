//! Tests that the tables in the documentation parse.
#![allow(clippy::unwrap_used, missing_docs)]

use turnpike_plan::{TableKind, parse_table};

const PAGE: &str = include_str!("../../../docs/tables.md");

#[test]
fn every_table_on_the_page_is_accepted_without_a_warning() {
    let blocks = PAGE.split("```csv\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut shown = Vec::new();
    for text in blocks {
        let table = parse_table(text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        assert!(table.warnings().is_empty(), "{:?}", table.warnings());
        shown.push(table.kind());
    }
    let missing = TableKind::ALL.into_iter().find(|kind| !shown.contains(kind));
    assert_eq!(missing, None, "the page shows no table of this kind");
}

#[test]
fn every_kind_has_a_section_of_the_page() {
    for kind in TableKind::ALL {
        assert!(PAGE.contains(&format!("\n## {kind}\n")), "{kind}");
    }
}
