//! Changes between two versions of a plan after which accounts that are already subscribed can't be
//! rated: from the start of the new version on, their usage goes to suspense.

use jiff::civil::Date;
use turnpike_types::Currency;

use crate::language::plan::Plan;
use crate::published::parse::compile;

/// A change after which subscribed accounts are not rated any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriberLoss {
    /// Each of the two versions always posts in one currency, and the two currencies differ.
    #[error(
        "version {version} posts in {after}, and version {old} posts in {before}: from {starts} on, \
         usage of the subscribed accounts that are billed in {before} waits as currency-mismatch"
    )]
    OtherCurrency {
        /// The new version.
        version: u32,
        /// The version before.
        old: u32,
        /// The start of the new version.
        starts: Date,
        /// The currency of the version before.
        before: Currency,
        /// The currency of the new version.
        after: Currency,
    },
    /// The version before converts to the currency of the account, and the new version does not.
    #[error(
        "version {version} posts in {after}, and version {old} converts to the currency of the \
         account: from {starts} on, usage of the subscribed accounts that are billed in another \
         currency than {after} waits as currency-mismatch"
    )]
    NoConversion {
        /// The new version.
        version: u32,
        /// The version before.
        old: u32,
        /// The start of the new version.
        starts: Date,
        /// The currency of the new version.
        after: Currency,
    },
    /// The new version does not declare a parameter.
    #[error(
        "version {version} has no parameter {parameter:?}, and version {old} has it: from {starts} \
         on, usage of accounts that are subscribed with a value for it waits as unknown-plan"
    )]
    NoParameter {
        /// The new version.
        version: u32,
        /// The version before.
        old: u32,
        /// The start of the new version.
        starts: Date,
        /// The name of the parameter.
        parameter: String,
    },
    /// A parameter has another type.
    #[error(
        "parameter {parameter:?} of version {version} is of type {after}, and that of version {old} \
         of type {before}: from {starts} on, usage of accounts that are subscribed with a value \
         that is no {after} waits as unknown-plan"
    )]
    OtherType {
        /// The new version.
        version: u32,
        /// The version before.
        old: u32,
        /// The start of the new version.
        starts: Date,
        /// The name of the parameter.
        parameter: String,
        /// The type in the version before.
        before: String,
        /// The type in the new version.
        after: String,
    },
}

/// The changes from `before` to `after`, two versions of one plan, after which subscribed accounts
/// can't be rated.
pub fn subscriber_losses(before: &Plan, after: &Plan) -> Vec<SubscriberLoss> {
    let (version, old, starts) = (after.version(), before.version(), after.starts());
    let mut losses = Vec::new();
    let (was, is) = posted(before, after);
    if !after.converts_to_account() {
        if before.converts_to_account() {
            losses.push(SubscriberLoss::NoConversion { version, old, starts, after: is });
        } else if was != is {
            losses.push(SubscriberLoss::OtherCurrency {
                version,
                old,
                starts,
                before: was,
                after: is,
            });
        }
    }
    losses.extend(before.parameters().iter().filter_map(|known| {
        let parameter = known.id.clone();
        match after.parameters().iter().find(|new| new.id == known.id) {
            None => Some(SubscriberLoss::NoParameter { version, old, starts, parameter }),
            Some(new) if new.kind != known.kind => Some(SubscriberLoss::OtherType {
                version,
                old,
                starts,
                parameter,
                before: known.kind.clone(),
                after: new.kind.clone(),
            }),
            Some(_) => None,
        }
    }));
    losses
}

/// The currencies in which two plans post. If one of them does not compile with the defaults of its
/// parameters, the currencies of their prices are compared instead.
fn posted(before: &Plan, after: &Plan) -> (Currency, Currency) {
    let posts = |plan: &Plan| compile(plan, &[].into()).ok().map(|code| code.posts());
    posts(before).zip(posts(after)).unwrap_or((before.currency(), after.currency()))
}
