//! TaxCalculator: the taxes of a place, added to charges or included in them
//! (docs/plan-semantics.md section 3).
//!
//! Exclusive prices: each tax is a percentage of the line's rounded amount; a compound tax is a
//! percentage of that amount plus the taxes before it. Inclusive prices: each tax on a net amount N
//! is N*f, where f is the tax's factor, so a gross amount G contains the tax G*f/(1 + sum of f).
//! These are exact fractions, each rounded once, and the net amount is G less the taxes.

use smallvec::SmallVec;
use turnpike_types::{LineKind, Money, Must, SuspenseReason};

use crate::compile::definition::Definition;
use crate::language::price::half_even;
use crate::language::spec::{
    CHARGE_OUT, Role, Spec, Value, charge_in, optional, required, with_default,
};
use crate::language::table_name::TableKind;
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::places::{Attribute, ChargeOut, TableRef};
use crate::machine::evaluation::refusal::Named;
use crate::machine::lines::ChargeLine;
use crate::tables::TaxRow;

use super::parts::charges::{
    Percent, beside, component, for_each_line, is_charge, line, money, replaced,
};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "TaxCalculator",
        help: "Adds the taxes of a place to charges, or splits charges that include them.",
        inputs: &[charge_in("in")],
        outputs: &[CHARGE_OUT],
        properties: &[
            required("table", Value::Text, "the id of the table of taxes"),
            with_default(
                "place",
                Value::Attribute,
                "account.tax-place",
                "the attribute that holds the place",
            ),
            optional("category", Value::Text, "the category of these charges in the table"),
            with_default(
                "prices",
                Value::Choice(&["exclusive", "inclusive"]),
                "exclusive",
                "whether taxes are added to the charges, or included in them",
            ),
        ],
        children: &[],
        role: Role::Plain,
    },
    build: |primitive, builder| {
        let (at, id) = (primitive.line, primitive.id.as_str());
        let table = builder.property(primitive, "table")?;
        let place = builder.property(primitive, "place")?;
        let mut named = |name, price| component(builder, at, (id, name), LineKind::Tax, price);
        let tax = named("tax", format!("taxes of {table}"))?;
        let net = match primitive.property("prices") {
            Some("inclusive") => Some(named("net", format!("without taxes of {table}"))?),
            _ => None,
        };
        let op = TaxCalculator {
            table: builder.table(TableKind::Tax, table),
            place: builder.attribute(at, "place", place)?,
            category: primitive.property("category").unwrap_or_default().into(),
            tax,
            net,
            digits: builder.digits(),
            slots: builder.charges("in"),
            out: builder.charge_out("charge"),
        };
        builder.op(op);
        Ok(())
    },
};

/// The maximum number of taxes of one line.
const TAXES_MAX: usize = 8;

struct TaxCalculator {
    table: TableRef,
    place: Attribute,
    category: Box<str>,
    /// The component of taxes; the row of a line identifies the tax.
    tax: u16,
    /// The component of the net amount, if prices include taxes.
    net: Option<u16>,
    digits: u32,
    slots: Box<[usize]>,
    out: ChargeOut,
}

type Taxes<'a> = SmallVec<[&'a TaxRow; 4]>;

impl Op for TaxCalculator {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        // The taxes are looked up with the first charge, so that a record without a charge needs no
        // place.
        let mut taxes: Option<Taxes<'_>> = None;
        for_each_line(run, &self.slots, |run, number| {
            if !is_charge(run, number)? {
                run.pass_on(self.out, number);
                return Ok(());
            }
            if taxes.is_none() {
                taxes = Some(self.taxes(run)?);
            }
            let taxes = taxes.as_deref().must("they were read");
            match self.net {
                Some(net) if !taxes.is_empty() => self.take_out(run, number, taxes, net),
                _ => self.add(run, number, taxes),
            }
        })
    }
}

/// The category of the charges for a message; no text if the plan names none.
struct OfCategory<'a>(&'a str);

impl std::fmt::Display for OfCategory<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ", category {:?}", self.0) }
    }
}

impl TaxCalculator {
    /// The taxes on these charges at the place of taxation of the record.
    fn taxes<'a>(&self, run: &Evaluation<'a>) -> Result<Taxes<'a>, SuspenseReason> {
        let table = run.table(self.table)?.tax();
        let table = table.ok_or_else(|| run.without_table(self.table))?;
        let place = run.attribute(&self.place)?.ok_or_else(|| {
            let about = format_args!("{} is missing", Named(&self.place));
            run.refuse(SuspenseReason::NoTaxPlace, about)
        })?;
        let taxes = table.taxes(place, &self.category).ok_or_else(|| {
            let about = format_args!("{place:?}{}", OfCategory(&self.category));
            run.refuse(SuspenseReason::NoTaxPlace, about)
        })?;
        if taxes.len() > TAXES_MAX { Err(SuspenseReason::Overflow) } else { Ok(taxes) }
    }

    /// Adds taxes to a line.
    fn add(
        &self,
        run: &mut Evaluation<'_>,
        number: u32,
        taxes: &[&TaxRow],
    ) -> Result<(), SuspenseReason> {
        let net = line(run, number)?.amount;
        run.pass_on(self.out, number);
        let mut with_taxes = net;
        for row in taxes {
            let base = if row.compound { with_taxes } else { net };
            let tax = Percent::of(row.rate).part(base, self.digits)?;
            with_taxes = with_taxes.checked_add(tax).ok_or(SuspenseReason::Overflow)?;
            let tax = ChargeLine { row: Some(row.index), ..beside(run, number, self.tax, tax)? };
            run.book(self.out, tax)?;
        }
        Ok(())
    }

    /// Splits taxes from a line. The net amount and the taxes replace the line.
    fn take_out(
        &self,
        run: &mut Evaluation<'_>,
        number: u32,
        taxes: &[&TaxRow],
        net: u16,
    ) -> Result<(), SuspenseReason> {
        let gross = line(run, number)?.amount;
        let (parts, whole) = factors(taxes).ok_or(SuspenseReason::Overflow)?;
        let mut rest = gross.nanos();
        let mut amounts: SmallVec<[Money; 4]> = SmallVec::new();
        for part in parts {
            let of_gross = part.over(whole).ok_or(SuspenseReason::Overflow)?;
            let tax = half_even(gross.nanos(), of_gross.top, of_gross.bottom, self.digits);
            let tax = tax.ok_or(SuspenseReason::Overflow)?;
            rest = rest.checked_sub(tax.nanos()).ok_or(SuspenseReason::Overflow)?;
            amounts.push(tax);
        }
        let net = beside(run, number, net, money(Some(rest))?)?;
        run.book(self.out, net)?;
        for (row, tax) in taxes.iter().zip(amounts) {
            let tax = ChargeLine { row: Some(row.index), ..beside(run, number, self.tax, tax)? };
            run.book(self.out, tax)?;
        }
        replaced(run, number);
        Ok(())
    }
}

/// A fraction in lowest terms, zero or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fraction {
    top: i128,
    bottom: i128,
}

impl Fraction {
    const ONE: Self = Self { top: 1, bottom: 1 };

    /// A fraction in lowest terms; `None` if it does not fit in 128 bits, as for all functions of
    /// this type.
    fn new(top: i128, bottom: i128) -> Option<Self> {
        let (mut a, mut b) = (top, bottom);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        (bottom > 0).then(|| Self { top: top / a, bottom: bottom / a })
    }

    fn times(self, other: Self) -> Option<Self> {
        let (one, two) = (Self::new(self.top, other.bottom)?, Self::new(other.top, self.bottom)?);
        Self::new(one.top.checked_mul(two.top)?, one.bottom.checked_mul(two.bottom)?)
    }

    fn over(self, other: Self) -> Option<Self> {
        self.times(Self::new(other.bottom, other.top)?)
    }

    fn plus(self, other: Self) -> Option<Self> {
        let (a, b) = (self.top.checked_mul(other.bottom)?, other.top.checked_mul(self.bottom)?);
        Self::new(a.checked_add(b)?, self.bottom.checked_mul(other.bottom)?)
    }
}

/// Each tax as a fraction of the net amount, and the gross amount as a fraction of the net amount.
fn factors(taxes: &[&TaxRow]) -> Option<(SmallVec<[Fraction; 4]>, Fraction)> {
    let mut whole = Fraction::ONE;
    let mut parts = SmallVec::new();
    for row in taxes {
        let (top, bottom) = Percent::of(row.rate).fraction();
        let rate = Fraction::new(top, bottom)?;
        let part = if row.compound { rate.times(whole)? } else { rate };
        whole = whole.plus(part)?;
        parts.push(part);
    }
    Some((parts, whole))
}
