//! What the pages say is so: rules, tests, links, samples, and the tutorial step by step.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod guide;
mod links;
mod markdown;
mod rules;
mod samples;
