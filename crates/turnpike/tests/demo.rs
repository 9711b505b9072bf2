//! A short `turnpike demo`: real processes, a node that is killed, and an audit of the rated
//! output.

#![allow(clippy::unwrap_used)]

use crate::support;

use support::run;

#[test]
fn the_demo_loses_nothing_and_reports_it() {
    let ran = run(&["demo", "--records", "4000"]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    for said in [
        "kill -9",
        "4,013 records sent = 4,013 in the log = 4,013 rated",
        "1,000 duplicates",
        "total USD 154.291666667",
        "Try next",
    ] {
        assert!(ran.out.contains(said), "{said:?} is not in\n{}", ran.out);
    }
}
