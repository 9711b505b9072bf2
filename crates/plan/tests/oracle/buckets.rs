//! The units that allowances cover: each unit is drawn from the first bucket, in drawing order,
//! that is valid on its date and has units left (docs/plan-semantics.md section 4).

use jiff::civil::Date;
use turnpike_plan::{Child, Period, Primitive, VariableId, first_instant_of};
use turnpike_types::Timestamp;

use super::clock::{Every, date_of, days_since_1970, local_date};
use super::naive::{Memory, Naive, Push, base, subscription};

/// A valid grant: the key of its state, and the granted quantity; the state holds the quantity
/// used. For bought units, the quantity is `None`, and the state holds the quantity left.
type Lot = ((VariableId, Period), Option<i128>);

/// A grant of a bucket: its expiry, its grant date, and the period of its state.
struct Grant {
    expires: Date,
    granted: Date,
    period: Period,
}

impl Naive<'_> {
    /// Draws the copies of a unit, which are identified by numbers, from the valid grants. Returns
    /// the copies that a grant covers, and the copies that no grant covers.
    pub(crate) fn cover_copies(
        &self,
        primitive: &Primitive,
        push: Push,
        copies: Vec<i128>,
        memory: &mut Memory,
    ) -> (Vec<i128>, Vec<i128>) {
        let (mut covered, mut rest) = (Vec::new(), Vec::new());
        let buckets = self.buckets(primitive, push.at(), memory);
        for copy in copies {
            let value = |key| memory.values.get(key).copied().unwrap_or(0);
            let found = buckets.iter().find(|(key, grant)| match grant {
                Some(grant) => value(key) < *grant,
                None => value(key) > 0,
            });
            let Some((key, grant)) = found else {
                rest.push(copy);
                continue;
            };
            covered.push(copy);
            if let Push::Unit { .. } = push {
                *memory.values.entry(*key).or_default() += if grant.is_some() { 1 } else { -1 };
                memory.changed.insert(*key);
            }
        }
        (covered, rest)
    }

    /// The grants that are valid at an instant, in the order in which they are drawn: by earliest
    /// expiry, then priority, then grant time.
    fn buckets(&self, primitive: &Primitive, at: i64, memory: &Memory) -> Vec<Lot> {
        let today = local_date(&self.account.zone, at);
        let mut valid = Vec::new();
        for (place, bucket) in primitive.children.iter().enumerate() {
            let id = format!("{}/{}", primitive.id, bucket.property("id").unwrap());
            let variable = self.variable(&id);
            let priority = -number(bucket, "priority");
            if bucket.kind == "bought" {
                let since = self.variable(&format!("{id}/since"));
                for &(known, expires) in memory.values.keys() {
                    let granted = memory.values.get(&(since, expires)).map_or(0, |days| *days);
                    let granted = date_of(Period(granted as i32));
                    if known == variable && granted <= today && today < date_of(expires) {
                        let order = (date_of(expires), priority, granted, place);
                        valid.push((order, ((variable, expires), None)));
                    }
                }
                continue;
            }
            for Grant { expires, granted, period } in self.grants(bucket, today) {
                if today < expires {
                    let order = (expires, priority, granted, place);
                    let grant = Some(base(bucket.property("grant").unwrap()));
                    valid.push((order, ((variable, period), grant)));
                }
            }
        }
        valid.sort_by_key(|(order, _)| *order);
        valid.into_iter().map(|(_, bucket)| bucket).collect()
    }

    /// Adds bought units to an allowance. Each unit is valid from its date on; units with the same
    /// expiry are merged, and are valid from the earlier of their dates.
    pub(crate) fn top_up(&self, allowance: &Primitive, units: &[(i64, i128)], memory: &mut Memory) {
        let bought = allowance.children.iter().find(|child| child.kind == "bought").unwrap();
        let id = format!("{}/{}", allowance.id, bought.property("id").unwrap());
        let (left, since) = (self.variable(&id), self.variable(&format!("{id}/since")));
        for &(at, copies) in units.iter().filter(|(_, copies)| *copies > 0) {
            let today = local_date(&self.account.zone, at);
            let days = jiff::Span::new().days(number(bought, "valid"));
            let expires = days_since_1970(today.checked_add(days).unwrap());
            let today = i128::from(days_since_1970(today).0);
            let held = memory.values.get(&(left, expires)).map_or(0, |held| (*held).max(0));
            let known = memory.values.get(&(since, expires)).map_or(0, |days| *days);
            let begins = if held > 0 { known.min(today) } else { today };
            memory.values.insert((left, expires), held + copies);
            memory.values.insert((since, expires), begins);
            memory.changed.extend([(left, expires), (since, expires)]);
        }
    }

    /// The grants of a bucket up to the date `today`. Periods whose rollover has ended are left
    /// out.
    fn grants(&self, bucket: &Child, today: Date) -> Vec<Grant> {
        let Some(every) = Every::of_bucket(bucket) else {
            let granted = match self.since {
                Timestamp::MIN => Date::MIN,
                Timestamp(since) => local_date(&self.account.zone, since),
            };
            let expires = match bucket.property("valid") {
                Some(_) => {
                    let days = jiff::Span::new().days(number(bucket, "valid"));
                    granted.checked_add(days).unwrap()
                }
                None => Date::MAX,
            };
            return vec![Grant { expires, granted, period: subscription(self.since) }];
        };
        let mut grants = Vec::new();
        let mut granted = every.first_of(self.account, today);
        for _ in 0..=number(bucket, "rollover") {
            let next = every.next_of(self.account, granted);
            // A period that ended before the subscription began has no grant.
            if next > today || first_instant_of(&self.account.zone, next) > self.since {
                let mut expires = next;
                for _ in 0..number(bucket, "rollover") {
                    expires = every.next_of(self.account, expires);
                }
                grants.push(Grant { expires, granted, period: days_since_1970(granted) });
            }
            granted = every.first_of(self.account, granted.yesterday().unwrap());
        }
        grants
    }
}

/// The number in a property, or its number of days such as `30 d`; 0 if the property is absent.
fn number(bucket: &Child, name: &str) -> i64 {
    let text = bucket.property(name).unwrap_or("0");
    text.trim_end_matches(" d").parse().unwrap()
}
