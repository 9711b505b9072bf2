//! Price plans: parses and checks them, compiles them to object code, and rates records. No I/O, no
//! clock.
//!
//! ```text
//!  calendar/     time zones, dates, periods
//!      ^
//!  language/     what an author writes: XML, values, examples; the declarations of primitives
//!      ^
//!  tables/       dial plans, taxes, holidays, rates, addresses: published like plans
//!      ^
//!  machine/      object code, and what runs it: rates records, books what falls due
//!      ^
//!  compile/      checks a plan and builds its object code
//!      ^
//!  primitives/   one file each: declaration, checks, operation; parts/ is what they share
//!      ^
//!  published/    the public functions: parse, compile, checks of subscriptions and versions
//!
//!  plan.xml -> Document -> primitives with values -> checks -> ObjectCode
//!              language/   language/fill_in.rs       compile/check/, compile/build/
//!  ObjectCode, account, state, record -> Rater (machine/) -> Rated: charge lines, new values of
//!                                                            the account's variables
//! ```
//!
//! A folder imports only folders above it in this list, and no two files import each other
//! (crates/tidy/src/structure.rs).
//!
//! The meaning of a plan is defined unit by unit. The object code works on spans, which are
//! intervals of consecutive units, and must give the same result. The cost of rating a record grows
//! with the number of spans that are priced differently, not with the quantity of the record.
//!
//! Invariants:
//! - [`parse`], [`compile()`] and [`parse_table`] refuse or accept any text and never panic. A plan
//!   that was parsed compiles with its defaults, or with other values that a subscription may give
//!   (compile/defaults.rs).
//! - [`Rater::rate`] is a function of its arguments: it changes no state, and the previous record
//!   has no influence on the result.
//! - A rater, the primitive that prices units, prices each unit at its input. A unit that arrives
//!   by two paths through the graph is priced twice.
//! - Overflow is an error; it gives neither zero nor a wrapped number.
//! - A variable's key depends on the state name, primitive id and unit, not on the version of the
//!   plan. So an account keeps its totals when a new version takes effect.
//!
//! Not part of this crate: the choice of the version in force and the order of records (the owner
//! of the account decides them); the booking of due charges at the right time (the owner's sweep);
//! the comparison of two versions of a plan (crates/trial).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod calendar;
mod compile;
mod language;
mod machine;
mod primitives;
mod published;
mod tables;

pub use calendar::period::Period;
pub use calendar::zone::{Zone, ZoneError, first_instant_of, tz_database_version};
pub use language::example::{
    Example, ExampleAccount, ExampleBody, ExampleRecord, ExampleSettings, Expectation, Expected,
    ExpectedQuantity, ExpectedTotal, InlineExample, POSTINGS, Subject, Tolerance, parse_amount,
};
pub use language::findings::{Cause, PlanError, PlanErrors, Warning};
pub use language::graph::{Child, Input, Link, Parameter, Primitive};
pub use language::measure::Unit;
pub use language::nearest::hint;
pub use language::plan::Plan;
pub use language::table_name::{TableKind, TableName};
pub use language::values::ACCOUNT_CURRENCY;
pub use machine::account::AccountContext;
pub use machine::code::{Component, ObjectCode, Variable};
pub use machine::in_force::{DueInterval, OfferId, OptionInForce, PlanInForce};
pub use machine::lines::ChargeLine;
pub use machine::offset::PostedAmount;
pub use machine::options::{Comparison, Cycle, comparison, winner};
pub use machine::rater::{Rated, Rater};
pub use machine::remembered::{Reading, Remembered};
pub use machine::state::{AccountState, Keep, StateEntry, VariableId, plan_number};
pub use machine::stream::PORTIONS_MAX;
pub use machine::sweep::due::{DUE_USAGE_TYPE, Due};
pub use machine::watch::{PortUnits, PrimitiveStep, UnitDistribution, Watch};
pub use published::next_version::{SubscriberLoss, subscriber_losses};
pub use published::parse::{compile, parse, parse_published, parse_published_earlier};
pub use published::subscribing::{
    ANY_START, Compiled, PublishedVersion, SubscriberSettings, SubscriptionAsked,
    SubscriptionFault, check_subscription,
};
pub use published::types::{
    ChildType, InputType, OutputType, PrimitiveType, PropertyType, primitive_types,
};
pub use tables::{Table, TableError, TableErrors, parse_published_table, parse_table};
