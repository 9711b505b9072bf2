//! The core of rating: what an account is rated by, what falls due, and how it is booked. One copy
//! for the owner of a partition and for a trial.
//!
//! ```text
//!   settings, subscriptions (settings.rs)     plan and table versions
//!        |                                       |
//!   Profiles (profiles.rs)                    Catalogue (catalogue.rs)   CodeCache (codes.rs)
//!   shared by equal accounts                     |                          |   compiled plans
//!        |                                       +------------+-------------+
//!        |                                                    v
//!        +------------------------------------------------> resolve.rs   what is in force when
//!                                                             |
//!   usage       Tariffs::at             (tariffs.rs) <--------+  kept by profile and interval
//!   no usage    Tariffs::due_intervals
//!                    |
//!               Dues (dues.rs)       when to visit an account next
//!               Sweep (booking.rs)   next_due -> tables -> fall_due --> Books::book
//!                                                                       an owner logs it;
//!                                                                       a trial applies it
//! ```
//!
//! Invariants:
//! - A record or charge is rated by the versions of plans and tables in force at its instant, in
//!   the account's zone, whatever was resolved before.
//! - A subscription whose plan can't be read, or whose parameters do not fit it, suspends usage.
//!   The charges of the account's other plans are still booked, except those of an option of which
//!   it is an alternative: an option can't be compared without one.
//! - Charges of an account are booked in the order in which they fall due (P34). One that can't be
//!   booked stops the later ones, and suspends the records that start after it.
//! - A table that is not in memory is never taken for one that does not exist: the caller reads it, lends
//!   it (lent.rs), and asks again.
//! - What a malformed plan can cost is bounded: intervals of an account, charges at one instant,
//!   charges between two looks at other work.
//! - Nothing here waits, reads a clock or a database, or logs: [`Books`] and [`Tell`] are given by
//!   the caller.
//!
//! Not provided: the state of accounts, deduplication, and the choice of the catalogue that is new
//! enough to rate by (P36).

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod booking;
mod catalogue;
mod codes;
mod dues;
mod lent;
mod notice;
mod profiles;
mod resolve;
mod settings;
mod tariff;
mod tariffs;

pub use booking::{AccountEntry, Books, FallingDue, Stop, Sweep, is_swept};
pub use catalogue::{Catalogue, InForce, UnreadTable, VersionHead};
pub use codes::{CodeCache, Compilation, parameters_of};
pub use dues::Dues;
pub use notice::{ACCOUNT_INTERVALS_MAX, Notice, Tell};
pub use profiles::{Profile, ProfileId, Profiles};
pub use settings::{Settings, Subscription};
pub use tariff::{CodeSlot, DueTariff, NoTariff, PlansInForce, Subscribed, Tariff};
pub use tariffs::Tariffs;
