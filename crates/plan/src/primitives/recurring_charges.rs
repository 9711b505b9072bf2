//! The recurring charges: an amount for each period, in advance or with the period's first usage
//! (docs/plan-semantics.md section 5).
//!
//! A charge in advance stores, for each subscription, the first date that is not yet booked. This
//! date only moves forward (P34). With `prorate="day"` the charge also stores its booking for each
//! period ([`Bookings`]), so that a cancellation credits the unused days, however far it is
//! backdated.

use jiff::civil::Date;
use smallvec::SmallVec;
use turnpike_types::{LineKind, Money, SuspenseReason};

use crate::calendar::period::Period;
use crate::calendar::periods::{Calendared, date_of, period_of};
use crate::compile::build::Builder;
use crate::compile::definition::{Built, Definition};
use crate::language::findings::Cause;
use crate::language::graph::Primitive;
use crate::language::measure::{Decimal, Unit};
use crate::language::price::Price;
use crate::language::spec::{
    CHARGE_OUT, OutputSpec, PropertySpec, Role, Spec, Value, optional, required, with_default,
};
use crate::machine::code::{Component, Evaluation, Op};
use crate::machine::evaluation::event::{DueQuery, Event};
use crate::machine::evaluation::places::{ChargeOut, UsageInput};
use crate::machine::meaning::{CHARGED, CHARGED_UNTIL};
use crate::machine::state::{Keep, VariableId};
use crate::machine::stream::Span;

use super::parts::bookings::{Booking, Bookings};
use super::parts::charging::{CURRENCY, DUE, TRIGGER, is_due_with_use};
use super::parts::weekdays::{WEEKDAY, week_of};

/// The maximum number of periods that one due event credits; a further event credits the remaining
/// periods.
const CREDITS_MAX: usize = 128;

const AMOUNT: PropertySpec = required("amount", Value::Money, "the charge for each period");
const PRORATE: PropertySpec = optional(
    "prorate",
    Value::Choice(&["day"]),
    "charges a part of the amount: the days with an active subscription of the period's days",
);
const OUTPUTS: &[OutputSpec] = &[CHARGE_OUT];

pub(super) static MONTHLY: Definition = Definition {
    spec: Spec {
        name: "MonthlyRecurringCharge",
        help: "Charges an amount for each calendar month, in advance or with its first usage.",
        inputs: TRIGGER,
        outputs: OUTPUTS,
        properties: &[AMOUNT, DUE, PRORATE, CURRENCY],
        children: &[],
        role: Role::Plain,
    },
    build: |primitive, builder| build(Calendared::Month, primitive, builder),
};

pub(super) static BILLING_CYCLE: Definition = Definition {
    spec: Spec {
        name: "BillingCycleRecurringCharge",
        help: "Charges an amount for each billing cycle, in advance or with its first usage.",
        inputs: TRIGGER,
        outputs: OUTPUTS,
        properties: &[AMOUNT, DUE, PRORATE, CURRENCY],
        children: &[],
        role: Role::Plain,
    },
    build: |primitive, builder| build(Calendared::Cycle, primitive, builder),
};

pub(super) static WEEKLY: Definition = Definition {
    spec: Spec {
        name: "WeeklyRecurringCharge",
        help: "Charges an amount for each week, in advance or with its first usage.",
        inputs: TRIGGER,
        outputs: OUTPUTS,
        properties: &[
            AMOUNT,
            DUE,
            PRORATE,
            CURRENCY,
            with_default("starts", WEEKDAY, "Mon", "the first day of a week"),
        ],
        children: &[],
        role: Role::Plain,
    },
    build: |primitive, builder| build(week_of(primitive), primitive, builder),
};

fn build(calendared: Calendared, primitive: &Primitive, builder: &mut Builder<'_>) -> Built {
    let with_use = is_due_with_use(primitive, builder)?;
    let by_day = primitive.property("prorate").is_some();
    if with_use && by_day {
        let message = "prorate: a charge that is due with the first usage is never prorated: write due=\"period-start\", or take prorate out";
        return Err(builder.refuse(primitive.line, Cause::BadValue, message));
    }
    let written = builder.property(primitive, "amount")?;
    let amount = builder.money(primitive.line, "amount", written)?;
    let component = Component {
        primitive: primitive.id.clone(),
        component: primitive.id.clone(),
        kind: LineKind::Recurring,
        price: format!("{written} per {}", calendared.word()),
        unit: Unit::One,
        level: None,
        currency: builder.currency()?,
    };
    let component = builder.component(primitive.line, component)?;
    let out = builder.charge_out("charge");
    if with_use {
        let variable = builder.remember(None, Unit::One, Keep::Horizon, CHARGED)?;
        let trigger = builder.input("trigger");
        builder.op(WithUse { calendared, variable, component, amount, out, trigger });
        return Ok(());
    }
    builder.is_swept();
    let decimal = builder.read(primitive.line, "amount", Decimal::parse(written))?;
    let prorated = if by_day {
        let credit = Component {
            primitive: primitive.id.clone(),
            component: format!("{}-unused", primitive.id),
            kind: LineKind::Adjustment,
            price: format!("unused days of {written} per {}", calendared.word()),
            unit: Unit::One,
            level: None,
            currency: builder.currency()?,
        };
        Some(Prorated {
            amount: decimal,
            digits: builder.digits(),
            credit: builder.component(primitive.line, credit)?,
            bookings: Bookings::declare(builder)?,
        })
    } else {
        None
    };
    let next = builder.remember(Some("next"), Unit::One, Keep::Ever, CHARGED_UNTIL)?;
    builder.is_due_by(next);
    builder.op(InAdvance { calendared, next, component, amount, prorated, out });
    Ok(())
}

/// A charge that is made with the first usage of each period.
struct WithUse {
    calendared: Calendared,
    variable: VariableId,
    component: u16,
    amount: Money,
    out: ChargeOut,
    trigger: UsageInput,
}

impl Op for WithUse {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        run.read(&self.trigger)?;
        match run.single(&self.trigger) {
            Some(span) => self.charge_single(run, span),
            None => self.charge_any(run),
        }
    }
}

impl WithUse {
    /// Handles the general case of any number of ranges of units. A record of quantity zero is
    /// charged in the period of its start.
    #[inline(never)]
    fn charge_any(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let stream = run.take(&self.trigger)?;
        let charged = if stream.spans.is_empty() && stream.zero_quantity {
            let start = run.flow(&self.trigger).start;
            let period = run.period(self.calendared, start).period;
            self.charge_for(run, period, 0)
        } else {
            self.charge(run, &stream.spans)
        };
        run.give(&self.trigger, stream);
        charged
    }

    /// Handles the common case of one range of units within one period.
    #[inline]
    fn charge_single(&self, run: &mut Evaluation<'_>, span: Span) -> Result<(), SuspenseReason> {
        match run.only_period(self.calendared, &self.trigger) {
            Some(period) => self.charge_for(run, period, span.first),
            None => self.charge(run, &[span]),
        }
    }

    /// Charges once for each period that holds one of the units.
    #[inline(never)]
    fn charge(&self, run: &mut Evaluation<'_>, spans: &[Span]) -> Result<(), SuspenseReason> {
        let flow = run.flow(&self.trigger);
        let mut last = Period::EVER;
        for span in spans {
            let mut unit = span.first;
            while unit < span.end {
                let here = run.period(self.calendared, flow.instant(unit));
                if here.period != last {
                    last = here.period;
                    self.charge_for(run, last, unit)?;
                }
                unit = flow.units_before(here.to).max(unit + 1);
            }
        }
        Ok(())
    }

    #[inline]
    fn charge_for(
        &self,
        run: &mut Evaluation<'_>,
        period: Period,
        first_unit: i64,
    ) -> Result<(), SuspenseReason> {
        let line =
            |run: &Evaluation<'_>| run.fixed(self.component, self.amount, period, first_unit);
        run.charge_once(self.variable, period, self.out, line)
    }
}

/// A charge at the start of each period.
struct InAdvance {
    calendared: Calendared,
    /// The variable that holds, for each subscription, the first date that is not yet booked, in
    /// days since 1970.
    next: VariableId,
    component: u16,
    amount: Money,
    prorated: Option<Prorated>,
    out: ChargeOut,
}

/// The values that only a charge with `prorate="day"` needs.
struct Prorated {
    amount: Decimal,
    digits: u32,
    credit: u16,
    bookings: Bookings,
}

/// A due event: the charge of a period, or the credit for unused days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Falls {
    Charge(Date),
    Credit,
    /// The stored date up to which the charge is booked is none, so no charge can be booked.
    Unreadable,
}

impl Op for InAdvance {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let Event::Due { at, from, until, .. } = *run.event else { return Ok(()) };
        // Only one event is booked in each call. The next query finds a further event at this
        // instant.
        match self.falls_due(&mut run.due_query(from, until)) {
            Some((due, Falls::Charge(date))) if due == at => self.charge(run, date),
            Some((due, Falls::Credit)) if due == at => self.credit(run),
            Some((due, Falls::Unreadable)) if due == at => Err(SuspenseReason::Overflow),
            _ => Ok(()),
        }
    }

    fn next_due(&self, query: &mut DueQuery<'_>) -> Option<i64> {
        self.falls_due(query).map(|(at, _)| at)
    }
}

impl InAdvance {
    fn falls_due(&self, query: &mut DueQuery<'_>) -> Option<(i64, Falls)> {
        let charge = self.next_charge(query);
        charge.or_else(|| self.next_credit(query))
    }

    /// The charge for the first date that is not yet booked, and the instant at which it is due.
    fn next_charge(&self, query: &mut DueQuery<'_>) -> Option<(i64, Falls)> {
        let (since, cancelled, from) = (query.since, query.cancelled, query.from);
        let subscription = Period::of_subscription(since);
        let booked = match query.state.get(self.next, subscription).map(i32::try_from) {
            None => None,
            Some(Ok(days)) => Some(date_of(Period(days))),
            // Without the date, charges would be booked again or left out.
            Some(Err(_)) => {
                let at = since.max(from);
                return (at < query.until).then_some((at, Falls::Unreadable));
            }
        };
        let begins_here = since > i64::MIN && since >= from;
        let date = match booked {
            Some(booked) => self.to_be_booked(booked, query)?,
            None if begins_here => query.calendar.date(since),
            // Nothing was booked yet, because the previous plan version did not have this charge.
            None => {
                let begins = query.calendar.date(from);
                self.next_begin(begins, query)?
            }
        };
        let at = query.calendar.first_instant(date).max(since).max(from);
        let ends = if cancelled == i64::MAX { Date::MAX } else { query.calendar.date(cancelled) };
        // The date of a cancellation is not part of the subscription.
        let is_active = at < cancelled && (self.prorated.is_none() || date < ends);
        (at < query.until && is_active).then_some((at, Falls::Charge(date)))
    }

    /// The first date from `next` on for which a charge is booked in the interval of the query.
    fn to_be_booked(&self, next: Date, query: &mut DueQuery<'_>) -> Option<Date> {
        if query.begun_before(next) {
            // A new plan version charges from the next period on. Periods that began before keep
            // the charge of the earlier version.
            let from = query.calendar.date(query.from);
            return self.next_begin(next.max(from), query);
        }
        // A changed billing-cycle day leaves days between two cycles. A prorated charge covers
        // them; a charge that is not prorated waits for the next cycle.
        if self.prorated.is_some() { Some(next) } else { self.next_begin(next, query) }
    }

    /// The first date from `date` on at which a period begins in the interval of the query.
    fn next_begin(&self, date: Date, query: &mut DueQuery<'_>) -> Option<Date> {
        let first = query.calendar.first_of(self.calendared, date);
        let mut date =
            if first == date { date } else { query.calendar.next_first(self.calendared, date) };
        while query.begun_before(date) {
            let next = query.calendar.next_first(self.calendared, date);
            if next <= date {
                return None;
            }
            date = next;
        }
        Some(date)
    }

    /// The credit for charged days after the cancellation, and the instant at which it is due.
    fn next_credit(&self, query: &mut DueQuery<'_>) -> Option<(i64, Falls)> {
        let prorated = self.prorated.as_ref()?;
        let cancelled = query.cancelled;
        // The credit is booked in the interval that ends with the cancellation.
        if cancelled == i64::MAX || cancelled != query.until {
            return None;
        }
        let ends = period_of(query.calendar.date(cancelled));
        let is_left = prorated.bookings.past(query.state, query.since, ends).next().is_some();
        is_left.then_some((cancelled, Falls::Credit))
    }

    fn charge(&self, run: &mut Evaluation<'_>, date: Date) -> Result<(), SuspenseReason> {
        let calendar = &mut run.scratch.calendar;
        let first = calendar.first_of(self.calendared, date);
        let next = calendar.next_first(self.calendared, date);
        let (period, days) = (period_of(first), |date| period_of(date).0);
        let ends = match run.cancelled {
            i64::MAX => next,
            cancelled => run.scratch.calendar.date(cancelled).min(next),
        };
        let subscription = Period::of_subscription(run.since);
        let (mut amount, mut booked_to) = (self.amount, next);
        if let Some(prorated) = &self.prorated {
            let (active, all) = (days(ends) - days(date), days(next) - days(first));
            let price = Price::new(prorated.amount, all.into(), prorated.digits);
            let part = price.and_then(|price| price.of(active.into()));
            amount = part.ok_or(SuspenseReason::Overflow)?;
            prorated.bookings.book(run, period_of(date), period_of(ends), amount)?;
            booked_to = ends;
        }
        run.set(self.next, subscription, days(booked_to).into())?;
        let line = run.fixed(self.component, amount, period, 0);
        run.book(self.out, line).map(drop)
    }

    /// Credits the bookings for the date of the cancellation and later dates, one line for each
    /// period.
    fn credit(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        let Some(prorated) = &self.prorated else { return Ok(()) };
        let ends = period_of(run.scratch.calendar.date(run.cancelled));
        let past: SmallVec<[Booking; 4]> =
            prorated.bookings.past(run.state, run.since, ends).take(CREDITS_MAX).collect();
        for booking in past {
            let unused = prorated.bookings.give_back(run, booking, ends, prorated.digits)?;
            let first = date_of(booking.first);
            let period = period_of(run.scratch.calendar.first_of(self.calendared, first));
            let line = run.fixed(prorated.credit, unused, period, 0);
            run.book(self.out, line)?;
        }
        Ok(())
    }
}
