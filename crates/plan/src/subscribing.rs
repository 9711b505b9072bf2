//! May an account subscribe to a plan? Asked when the command comes, so that usage does not wait in
//! suspense for a reason that was known from the start.
//!
//! ```text
//!  plan id known? -> a version in force at the start? -> of that version and each later one:
//!      parameters declared? -> values of their types, and does the plan compile with them?
//!      -> does it post in the account's currency?
//! ```
//!
//! Not judged here: whether the account is open, and what it is subscribed to already.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use jiff::civil::Date;
use turnpike_types::{Currency, Timestamp};

use crate::graph::Plan;
use crate::values::ACCOUNT_CURRENCY;
use crate::zone::{Zone, first_instant_of};

/// A subscription that starts before this instant starts with the plan's first version: a start of
/// 1970-01-01, in any zone, or of the beginning of time means "whenever the plan starts".
pub const ANY_START: Timestamp = Timestamp(2 * DAY_US);

const DAY_US: i64 = 86_400_000_000;
/// How far the easternmost zone is ahead of UTC.
const EAST_US: i64 = 14 * 3_600_000_000;
/// Versions, parameters and faults named in one message.
const NAMED_MAX: usize = 10;
/// Names that are compared with a misspelt one.
const COMPARED_MAX: usize = 10_000;
/// Letters of what was asked for that are repeated in a message.
const LETTERS_MAX: usize = 100;
/// Letters of one fault of a plan.
const FAULT_LETTERS_MAX: usize = 300;

/// A published version of a plan.
#[derive(Clone, Copy, Debug)]
pub struct PublishedVersion<'a> {
    /// Its number.
    pub version: u32,
    /// The first local date that it rates.
    pub starts: Date,
    /// Its content; `None` where a newer program published what this one can't read.
    pub plan: Option<&'a Plan>,
}

/// An account's settings at the start of a subscription.
#[derive(Clone, Copy, Debug)]
pub struct SubscriberSettings<'a> {
    /// The zone of its dates.
    pub zone: &'a Zone,
    /// The currency it is billed in.
    pub currency: Currency,
}

/// A subscription that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionAsked<'a> {
    /// The plan's id.
    pub plan_id: &'a str,
    /// From when.
    pub from: Timestamp,
    /// Overrides of the plan's parameters.
    pub parameters: &'a BTreeMap<String, String>,
    /// `None` where they are not known: what depends on them is not judged then.
    pub settings: Option<SubscriberSettings<'a>>,
}

/// Why a subscription can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionFault {
    /// No version of the plan was published.
    #[error("plan {plan:?} is not published{}; turnpike plan list shows what is", Nearest(nearest))]
    UnknownPlan {
        /// As it was asked for.
        plan: String,
        /// The published id that is most like it.
        nearest: Option<String>,
    },
    /// The plan's first version starts later.
    #[error(
        "plan {plan:?} has no version in force at {from}: {versions}; let the subscription start \
         then or later, or publish a version that starts earlier"
    )]
    NotInForce {
        /// The plan.
        plan: String,
        /// The start that was asked for.
        from: String,
        /// The versions there are and when they start.
        versions: String,
    },
    /// The plan does not declare the parameter.
    #[error(
        "plan {plan:?} version {version} has no parameter {parameter:?}{}; {declared}",
        Nearest(nearest)
    )]
    UnknownParameter {
        /// The plan.
        plan: String,
        /// Its version.
        version: u32,
        /// As it was asked for.
        parameter: String,
        /// The declared name that is most like it.
        nearest: Option<String>,
        /// The parameters that it declares.
        declared: String,
    },
    /// A value of another type, or one with which the plan does not compile.
    #[error("plan {plan:?} version {version} can't have these parameters: {why}")]
    BadParameters {
        /// The plan.
        plan: String,
        /// Its version.
        version: u32,
        /// What is wrong, by parameter and primitive.
        why: String,
    },
    /// The account is billed in another currency than the plan posts in.
    #[error(
        "plan {plan:?} version {version} posts in {posts}, and the account is billed in \
         {account}: choose a plan in {account}, or one that converts to the account's currency"
    )]
    OtherCurrency {
        /// The plan.
        plan: String,
        /// Its version.
        version: u32,
        /// What it posts in.
        posts: Currency,
        /// What the account is billed in.
        account: Currency,
    },
}

/// What a compiler of plans says: the currency that the plan posts in, or why it does not compile.
pub type Compiled = Result<Currency, String>;

/// Checks a subscription. `versions` are those of the plan, ordered by start and then by
/// publication; `ids` are all published plans; `compile` is [`crate::compile`], or a cache of it.
///
/// # Errors
/// Why it can't be taken, and what to ask for instead.
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
    // For a subscription from whenever the plan starts, every version comes to be in force.
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
    /// Has a version that starts on `starts` begun when the subscription starts? Without a zone: in
    /// any zone.
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

/// The versions and their starts, the first ones of many.
fn listed(versions: &[PublishedVersion<'_>]) -> String {
    let mut text = String::new();
    for (place, version) in versions.iter().take(NAMED_MAX).enumerate() {
        let between = if place == 0 { "" } else { ", " };
        // Writing to a text can't fail.
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

/// Faults, one a line, on one line; the first ones of many.
fn first_lines(why: &str) -> String {
    let lines = why.lines().take(NAMED_MAX).map(|line| cut(line, FAULT_LETTERS_MAX));
    let mut lines: Vec<String> = lines.collect();
    if why.lines().nth(NAMED_MAX).is_some() {
        lines.push("…".to_owned());
    }
    lines.join("; ")
}

/// A text of the caller's as a message repeats it.
fn shortened(text: &str) -> String {
    cut(text, LETTERS_MAX)
}

fn cut(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The name that is most like `wrong`, if any is like it: at most every third letter differs.
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

/// A suggestion within a message; nothing without one.
struct Nearest<'a>(&'a Option<String>);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, " (did you mean {name:?}?)"),
            None => Ok(()),
        }
    }
}
