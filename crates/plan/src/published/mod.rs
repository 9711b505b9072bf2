//! The functions of this crate about published plans: the language, the compiler and the primitives
//! together.
//!
//! ```text
//! parse.rs         parses and compiles plans
//! subscribing.rs   checks of a subscription
//! next_version.rs  what subscribed accounts lose by the next version of their plan
//! types.rs         the primitive types as data, for authors and editors
//! ```

pub(crate) mod next_version;
pub(crate) mod parse;
pub(crate) mod subscribing;
pub(crate) mod types;
