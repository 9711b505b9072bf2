//! Tests that the plans in the documentation parse.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

#[test]
fn every_plan_of_the_language_page_and_the_gallery_is_accepted_and_compiles() {
    let pages = concat!(
        include_str!("../../../docs/price-plans.md"),
        include_str!("../../../docs/plan-gallery.md")
    );
    let plans: Vec<&str> =
        pages.split("```xml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(plans.len() > 10);
    for xml in plans {
        let plan = turnpike_plan::parse(xml).unwrap_or_else(|errors| panic!("{errors}\n{xml}"));
        turnpike_plan::compile(&plan, &BTreeMap::new()).unwrap();
    }
}

#[test]
fn every_primitive_has_a_page() {
    let pages = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/primitives");
    for primitive in turnpike_plan::primitive_types() {
        let page = pages.join(primitive.name).with_extension("md");
        let text = std::fs::read_to_string(&page).unwrap_or_else(|_| panic!("{}", page.display()));
        assert!(text.starts_with(&format!("# {}\n", primitive.name)), "{}", primitive.name);
    }
}
