//! The settings of an account.

use std::collections::BTreeMap;

use turnpike_types::Currency;

use crate::calendar::zone::Zone;

/// An account's settings in force at the record's start (docs/plan-semantics.md section 6).
#[derive(Clone, Debug)]
pub struct AccountContext {
    /// The time zone of the account's days and months.
    pub zone: Zone,
    /// The day of the month on which the account's billing cycles start, 1 to 31.
    pub cycle_day: u8,
    /// The currency in which the account is billed.
    pub currency: Currency,
    /// The attributes that plans read as `account.NAME`.
    pub attributes: BTreeMap<String, String>,
}
