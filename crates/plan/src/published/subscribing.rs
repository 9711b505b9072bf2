//! Checks whether an account may subscribe to a plan. The checks run when the command is accepted,
//! so that usage does not go into suspense for a reason that was known when the account subscribed.
//!
//! ```text
//!  the plan id is known, and a version is in force at the start; that version and each later one
//!      declares the parameters, compiles with the values given for them,
//!      and posts in the account's currency
//! ```
//!
//! Not checked here: the status of the account, and its other subscriptions.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use jiff::civil::Date;
use turnpike_types::{Currency, DAY_US, Timestamp};

use crate::calendar::zone::{Zone, first_instant_of};
use crate::language::plan::Plan;
use crate::language::values::ACCOUNT_CURRENCY;

/// A subscription that starts before this instant starts with the plan's first version: a start of
/// 1970-01-01 in any zone, or [`Timestamp::MIN`], means "from the start of the plan".
pub const ANY_START: Timestamp = Timestamp(2 * DAY_US);

/// The greatest offset of a time zone ahead of UTC, in microseconds.
const EAST_US: i64 = 14 * 3_600_000_000;
/// Maximum number of versions, parameters or errors in one message.
const NAMED_MAX: usize = 10;
/// Maximum number of names that are compared with a misspelt one.
const COMPARED_MAX: usize = 10_000;
/// Maximum number of characters of the request that a message repeats.
const LETTERS_MAX: usize = 100;
/// Maximum number of characters of one error of a plan.
const FAULT_LETTERS_MAX: usize = 300;

/// A published version of a plan.
#[derive(Clone, Copy, Debug)]
pub struct PublishedVersion<'a> {
    /// The number of the version.
    pub version: u32,
    /// The first local date that the version rates.
    pub starts: Date,
    /// The content of the version; `None` if a newer release published a plan that this release
    /// can't read.
    pub plan: Option<&'a Plan>,
}

/// An account's settings at the start of a subscription.
#[derive(Clone, Copy, Debug)]
pub struct SubscriberSettings<'a> {
    /// The time zone of the account's dates.
    pub zone: &'a Zone,
    /// The currency in which the account is billed.
    pub currency: Currency,
}

/// A requested subscription.
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionAsked<'a> {
    /// The plan's id.
    pub plan_id: &'a str,
    /// The start of the subscription.
    pub from: Timestamp,
    /// Overrides of the plan's parameters.
    pub parameters: &'a BTreeMap<String, String>,
    /// The account's settings; `None` if they are unknown: checks that depend on them are skipped.
    pub settings: Option<SubscriberSettings<'a>>,
}

/// The reason why a subscription is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionFault {
    /// No version of the plan was published.
    #[error(
        "plan {plan:?} is not published{}; turnpike plan list shows the published plans",
        Nearest(nearest)
    )]
    UnknownPlan {
        /// The requested plan id.
        plan: String,
        /// The published id nearest to the requested one.
        nearest: Option<String>,
    },
    /// The plan's first version starts later.
    #[error(
        "plan {plan:?} has no version in force at {from}: {versions}; let the subscription start \
         then or later, or publish a version that starts earlier"
    )]
    NotInForce {
        /// The plan's id.
        plan: String,
        /// The requested start.
        from: String,
        /// The existing versions and their starts.
        versions: String,
    },
    /// The plan does not declare the parameter.
    #[error(
        "plan {plan:?} version {version} has no parameter {parameter:?}{}; {declared}",
        Nearest(nearest)
    )]
    UnknownParameter {
        /// The plan's id.
        plan: String,
        /// The version of the plan.
        version: u32,
        /// The requested parameter.
        parameter: String,
        /// The declared name nearest to the requested one.
        nearest: Option<String>,
        /// The declared parameters.
        declared: String,
    },
    /// A value has another type than the parameter, or the plan does not compile with it.
    #[error("plan {plan:?} version {version} can't have these parameters: {why}")]
    BadParameters {
        /// The plan's id.
        plan: String,
        /// The version of the plan.
        version: u32,
        /// The errors, with parameter and primitive.
        why: String,
    },
    /// The account is billed in another currency than the plan posts in.
    #[error(
        "plan {plan:?} version {version} posts in {posts}, and the account is billed in \
         {account}: choose a plan in {account}, or one that converts to the account's currency"
    )]
    OtherCurrency {
        /// The plan's id.
        plan: String,
        /// The version of the plan.
        version: u32,
        /// The currency that the plan posts in.
        posts: Currency,
        /// The currency that the account is billed in.
        account: Currency,
    },
}

/// The result of a compilation: the currency that the plan posts in, or the errors.
pub type Compiled = Result<Currency, String>;

/// Checks a subscription. `versions` are those of the plan, ordered by start and then by
/// publication; `ids` are the ids of all published plans; `compile` is [`crate::compile()`] or a
/// cache of it.
///
/// # Errors
/// The reason of the refusal, and a remedy.
pub fn check_subscription<'i>(
    asked: &SubscriptionAsked<'_>,
    versions: &[PublishedVersion<'_>],
    ids: impl Iterator<Item = &'i str>,
    compile: &mut dyn FnMut(&Plan, &BTreeMap<String, String>) -> Compiled,
) -> Result<(), SubscriptionFault> {
    if versions.is_empty() {
        let nearest = nearest(asked.plan_id, ids);
        return Err(SubscriptionFault::UnknownPlan { plan: shortened(asked.plan_id), nearest });
    }
    debug_assert!(versions.is_sorted_by_key(|version| version.starts), "versions out of order");
    let begun = versions.partition_point(|version| asked.may_start_with(version.starts));
    if begun == 0 {
        return Err(SubscriptionFault::NotInForce {
            plan: asked.plan_id.to_owned(),
            from: asked.shown_start(),
            versions: listed(versions),
        });
    }
    // For a subscription from the start of the plan, every version will be in force at some time.
    let first = if asked.from < ANY_START { 0 } else { begun - 1 };
    for (place, version) in versions.iter().enumerate().skip(first) {
        let next = versions.get(place + 1);
        let is_superseded = next.is_some_and(|next| next.starts == version.starts);
        if let Some(plan) = version.plan.filter(|_| !is_superseded) {
            check_version(asked, plan, compile)?;
        }
    }
    Ok(())
}

impl SubscriptionAsked<'_> {
    /// Whether a version that starts on `starts` may be in force when the subscription starts: in
    /// the account's zone or, without settings, in any zone.
    fn may_start_with(&self, starts: Date) -> bool {
        if self.from < ANY_START {
            return true;
        }
        match self.settings {
            Some(SubscriberSettings { zone, .. }) => first_instant_of(zone, starts) <= self.from,
            None => {
                let first = first_instant_of(&Zone::utc(), starts).micros();
                first.saturating_sub(EAST_US) <= self.from.micros()
            }
        }
    }

    fn shown_start(&self) -> String {
        match self.settings {
            Some(SubscriberSettings { zone, .. }) => zone.show(self.from),
            None => Zone::utc().show(self.from),
        }
    }
}

fn check_version(
    asked: &SubscriptionAsked<'_>,
    plan: &Plan,
    compile: &mut dyn FnMut(&Plan, &BTreeMap<String, String>) -> Compiled,
) -> Result<(), SubscriptionFault> {
    let declares = |name: &str| plan.parameters().iter().any(|known| known.id == name);
    if let Some(unknown) = asked.parameters.keys().find(|name| !declares(name)) {
        let ids = plan.parameters().iter().map(|parameter| parameter.id.as_str());
        return Err(SubscriptionFault::UnknownParameter {
            plan: asked.plan_id.to_owned(),
            version: plan.version(),
            parameter: shortened(unknown),
            nearest: nearest(unknown, ids.clone()),
            declared: declared(ids),
        });
    }
    let mut parameters = asked.parameters.clone();
    if let Some(settings) = asked.settings.filter(|_| plan.converts_to_account()) {
        parameters.insert(ACCOUNT_CURRENCY.to_owned(), settings.currency.to_string());
    }
    let posts = compile(plan, &parameters).map_err(|why| SubscriptionFault::BadParameters {
        plan: asked.plan_id.to_owned(),
        version: plan.version(),
        why: first_lines(&why),
    })?;
    match asked.settings.map(|settings| settings.currency) {
        Some(account) if account != posts => Err(SubscriptionFault::OtherCurrency {
            plan: asked.plan_id.to_owned(),
            version: plan.version(),
            posts,
            account,
        }),
        _ => Ok(()),
    }
}

/// The versions and their starts, up to [`NAMED_MAX`].
fn listed(versions: &[PublishedVersion<'_>]) -> String {
    let mut text = String::new();
    for (place, version) in versions.iter().take(NAMED_MAX).enumerate() {
        let between = if place == 0 { "" } else { ", " };
        // Writing to a string can't fail.
        let _ = write!(text, "{between}version {} starts on {}", version.version, version.starts);
    }
    match versions.len().saturating_sub(NAMED_MAX) {
        0 => text,
        more => format!("{text}, and {more} more"),
    }
}

fn declared<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    let named: Vec<&str> = ids.take(NAMED_MAX + 1).collect();
    match named.len() {
        0 => "it declares none".to_owned(),
        1..=NAMED_MAX => format!("it declares {}", named.join(", ")),
        _ => format!("it declares {}, …", named[..NAMED_MAX].join(", ")),
    }
}

/// The errors, one per line of `why`, joined in one line, up to [`NAMED_MAX`].
fn first_lines(why: &str) -> String {
    let lines = why.lines().take(NAMED_MAX).map(|line| cut(line, FAULT_LETTERS_MAX));
    let mut lines: Vec<String> = lines.collect();
    if why.lines().nth(NAMED_MAX).is_some() {
        lines.push("…".to_owned());
    }
    lines.join("; ")
}

/// A text of the request, shortened for a message.
fn shortened(text: &str) -> String {
    cut(text, LETTERS_MAX)
}

fn cut(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The name nearest to `wrong` within one edit per three letters.
fn nearest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    if wrong.chars().count() > LETTERS_MAX {
        return None;
    }
    let distance = |name: &str| strsim::osa_distance(&wrong.to_lowercase(), &name.to_lowercase());
    let most = (wrong.chars().count() / 3).max(1);
    let names = names.take(COMPARED_MAX).map(|name| (distance(name), name));
    let best = names.filter(|(distance, _)| *distance <= most).min();
    best.map(|(_, name)| name.to_owned())
}

/// A suggestion in a message; empty for `None`.
struct Nearest<'a>(&'a Option<String>);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, " (did you mean {name:?}?)"),
            None => Ok(()),
        }
    }
}
