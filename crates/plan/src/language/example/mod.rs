//! Examples: expected results of sample usage, written by a plan's author
//! (docs/plan-semantics.md section 9).
//!
//! This crate reads and checks examples; crates/trial runs them. A plan that fails its own examples
//! is not published.

mod read;
mod types;
mod value;

pub(crate) use read::read;
pub use types::{
    Example, ExampleAccount, ExampleBody, ExampleRecord, ExampleSettings, Expectation, Expected,
    ExpectedQuantity, ExpectedTotal, InlineExample, POSTINGS, Subject, Tolerance,
};
pub use value::parse_amount;
