//! Compares the pages with the code (rules, tests, links, samples), and runs the tutorial step by
//! step.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "docs/guide.rs"]
mod guide;
#[path = "docs/links.rs"]
mod links;
#[path = "docs/markdown.rs"]
mod markdown;
#[path = "docs/rules.rs"]
mod rules;
#[path = "docs/samples.rs"]
mod samples;
#[path = "docs/setting_up.rs"]
mod setting_up;
