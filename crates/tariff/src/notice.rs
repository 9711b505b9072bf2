//! What an operator must know about the resolution of tariffs.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use turnpike_plan::Zone;
use turnpike_types::Timestamp;

/// The most intervals of one account. Charges after the last one do not fall due.
pub const ACCOUNT_INTERVALS_MAX: usize = 10_000;

/// A fault of published plans and subscriptions together.
#[derive(Clone, Debug)]
pub enum Notice<'a> {
    /// The parameters of a subscription do not fit its plan.
    Unfit {
        /// The id of the plan.
        plan: &'a str,
        /// The version of the plan.
        version: u32,
        /// The errors of the plan with these parameters, one per line.
        errors: &'a str,
    },
    /// The settings and plans of an account change too often.
    ManyIntervals {
        /// The ids of the plans of the account.
        plans: &'a BTreeSet<&'a str>,
        /// Charges that fall due at or after this instant are not booked.
        at: Timestamp,
    },
    /// Too many subscriptions of an account were cancelled at their start.
    ManyCredits {
        /// The id of the plan whose charges are not given back.
        plan: &'a str,
    },
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfit { plan, version, errors } => write!(
                f,
                "plan {plan} version {version}: a subscription's parameters do not fit it: {errors}"
            ),
            Self::ManyIntervals { plans, at } => {
                let plans: Vec<&str> = plans.iter().copied().collect();
                write!(
                    f,
                    "the settings and plans of an account change {ACCOUNT_INTERVALS_MAX} times or \
                     more (plans: {}): charges that fall due at {} or later are not booked",
                    plans.join(", "),
                    Zone::utc().show(*at)
                )
            }
            Self::ManyCredits { plan } => write!(
                f,
                "plan {plan}: an account cancelled {ACCOUNT_INTERVALS_MAX} subscriptions at their \
                 start: the charges of further ones are not given back"
            ),
        }
    }
}

/// Takes notices, for example to log them.
#[derive(Clone)]
pub struct Tell(Arc<dyn Fn(&Notice<'_>) + Send + Sync>);

impl Tell {
    /// Calls `with` for each notice.
    pub fn new(with: impl Fn(&Notice<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(with))
    }

    pub(crate) fn tell(&self, notice: &Notice<'_>) {
        (self.0)(notice);
    }
}

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tell")
    }
}
