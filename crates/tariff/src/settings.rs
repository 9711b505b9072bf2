//! The settings and the subscriptions of an account, as commands state them and the log holds them.

use std::collections::BTreeMap;

/// The settings of an account from an instant on.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct Settings {
    /// The instant from which the settings are in force, in microseconds since 1970.
    #[prost(sfixed64, tag = "1")]
    pub from_us: i64,
    /// The IANA time zone.
    #[prost(string, tag = "2")]
    pub zone: String,
    /// The day of the month on which billing cycles begin, 1 to 31.
    #[prost(uint32, tag = "3")]
    pub cycle_day: u32,
    /// The currency (ISO 4217).
    #[prost(string, tag = "4")]
    pub currency: String,
    /// The attributes that plans may use in their rules.
    #[prost(btree_map = "string, string", tag = "5")]
    pub attributes: BTreeMap<String, String>,
}

/// A subscription.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Message)]
pub struct Subscription {
    /// The plan.
    #[prost(string, tag = "1")]
    pub plan_id: String,
    /// The instant from which the subscription is in force, in microseconds since 1970.
    #[prost(sfixed64, tag = "2")]
    pub from_us: i64,
    /// The end (exclusive), in microseconds since 1970; `i64::MAX` while the subscription has no
    /// end.
    #[prost(sfixed64, tag = "3")]
    pub until_us: i64,
    /// The subscription with the larger priority rates first.
    #[prost(uint32, tag = "4")]
    pub priority: u32,
    /// Overrides of the plan's parameters.
    #[prost(btree_map = "string, string", tag = "5")]
    pub parameters: BTreeMap<String, String>,
    /// The option that this subscription is an alternative of; empty for none.
    #[prost(string, tag = "6")]
    pub option: String,
    /// The fee of the option for each cycle, a decimal in the account's currency; empty for none.
    #[prost(string, tag = "7")]
    pub fee: String,
    /// The position among the option's alternatives, from 0. Of equally cheap alternatives, the
    /// first one is billed.
    #[prost(uint32, tag = "8")]
    pub place: u32,
    /// The instant at which the client opted out and kept this alternative. From then on the
    /// subscription is no longer an alternative. Absent while the client has the choice.
    #[prost(sfixed64, optional, tag = "9")]
    pub kept_from_us: Option<i64>,
}

impl Subscription {
    /// Whether the subscription, while in force, is an alternative of its option at `at_us`.
    pub fn is_alternative_at(&self, at_us: i64) -> bool {
        !self.option.is_empty() && self.kept_from_us.is_none_or(|kept| at_us < kept)
    }

    /// Whether the subscription is in force at some instant. One that was cancelled at its start is
    /// not.
    pub const fn is_ever_in_force(&self) -> bool {
        self.from_us < self.until_us
    }

    /// The instant (exclusive) until which the subscription is an alternative of its option.
    pub fn option_until_us(&self) -> i64 {
        self.kept_from_us.unwrap_or(i64::MAX).min(self.until_us)
    }
}
