//! BonusCredit: credits one party with a part of what another party pays
//! (docs/plan-semantics.md section 8).
//!
//! Each grant books two lines of opposite amounts, so the sum over all accounts does not change.

use turnpike_types::{LineKind, Money, Posting, SuspenseReason};

use crate::compile::build::Builder;
use crate::compile::definition::Definition;
use crate::language::findings::Refused;
use crate::language::graph::{Child, Primitive};
use crate::language::spec::{
    CHARGE_OUT, ChildSpec, Role, Spec, Value, charge_in, optional, required, with_default,
};
use crate::machine::code::{Evaluation, Op};
use crate::machine::evaluation::places::{Attribute, ChargeOut};
use crate::machine::lines::ChargeLine;

use super::parts::charges::{
    ACCOUNT, AccountRef, PERCENT, Percent, component, for_each_line, is_charge, line, money,
};
use super::parts::patterns::{PATTERN, fits};

pub(super) static DEFINITION: Definition = Definition {
    spec: Spec {
        name: "BonusCredit",
        help: "Credits one party with a percentage of what another party pays.",
        inputs: &[charge_in("in")],
        outputs: &[CHARGE_OUT],
        properties: &[
            with_default(
                "source",
                Value::Attribute,
                "source",
                "the attribute that holds the source",
            ),
            with_default(
                "target",
                Value::Attribute,
                "target",
                "the attribute that holds the target",
            ),
        ],
        children: &[ChildSpec {
            name: "grant",
            at_least: 1,
            properties: &[
                optional("source", PATTERN, "the pattern that the source must match"),
                optional("target", PATTERN, "the pattern that the target must match"),
                required("from", ACCOUNT, "the account that pays the charge and grants the bonus"),
                required("to", ACCOUNT, "the account that receives the bonus"),
                required("percent", PERCENT, "the percentage of the charge, from 0 to 100"),
            ],
            help: "a bonus on every charge that meets its conditions",
        }],
        role: Role::Plain,
    },
    build: |primitive, builder| {
        let grants = primitive.children.iter().map(|child| grant(primitive, child, builder));
        let grants = grants.collect::<Result<Vec<_>, _>>()?;
        let mut stands = |name| {
            let text = builder.property(primitive, name)?;
            builder.attribute(primitive.line, name, text)
        };
        let places = [stands("source")?, stands("target")?];
        let op = BonusCredit {
            places,
            grants,
            digits: builder.digits(),
            slots: builder.charges("in"),
            out: builder.charge_out("charge"),
        };
        builder.op(op);
        Ok(())
    },
};

fn grant(
    primitive: &Primitive,
    child: &Child,
    builder: &mut Builder<'_>,
) -> Result<Grant, Refused> {
    let at = child.line;
    let written = builder.child_property(child, "percent")?;
    let (from, to) = (builder.child_property(child, "from")?, builder.child_property(child, "to")?);
    let pattern = |name| child.property(name).map(Box::from);
    let mut named = |name| {
        let price = format!("{written} % of the charge");
        component(builder, at, (&primitive.id, name), LineKind::Bonus, price)
    };
    let (credit, debit) = (named("credit")?, named("debit")?);
    let to = AccountRef::read(builder, at, "to", to)?;
    builder.grants(credit, !matches!(to, AccountRef::Number(_)));
    Ok(Grant {
        credit,
        debit,
        patterns: [pattern("source"), pattern("target")],
        from: AccountRef::read(builder, at, "from", from)?,
        to,
        percent: builder.read(at, "percent", Percent::parse(written))?,
    })
}

struct Grant {
    /// The patterns that the source and the target of the record must match; `None` for no
    /// condition.
    patterns: [Option<Box<str>>; 2],
    from: AccountRef,
    to: AccountRef,
    percent: Percent,
    credit: u16,
    debit: u16,
}

struct BonusCredit {
    /// The attributes that hold the source and the target.
    places: [Attribute; 2],
    grants: Vec<Grant>,
    digits: u32,
    slots: Box<[usize]>,
    out: ChargeOut,
}

impl Op for BonusCredit {
    fn run(&self, run: &mut Evaluation<'_>) -> Result<(), SuspenseReason> {
        for_each_line(run, &self.slots, |run, number| {
            run.pass_on(self.out, number);
            if !is_charge(run, number)? {
                return Ok(());
            }
            for grant in &self.grants {
                if self.fits(grant, run)? {
                    self.book(grant, run, number)?;
                }
            }
            Ok(())
        })
    }
}

impl BonusCredit {
    /// Whether the record meets the conditions of a grant. A condition on an attribute that the
    /// record does not carry is not met.
    fn fits(&self, grant: &Grant, run: &Evaluation<'_>) -> Result<bool, SuspenseReason> {
        for (pattern, place) in grant.patterns.iter().zip(&self.places) {
            if let Some(pattern) = pattern
                && !run.attribute(place)?.is_some_and(|text| fits(pattern, text))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Books the bonus on a line, if the account `from` pays that line.
    fn book(
        &self,
        grant: &Grant,
        run: &mut Evaluation<'_>,
        number: u32,
    ) -> Result<(), SuspenseReason> {
        let paid = *line(run, number)?;
        let (from, to) = (grant.from.posting(run)?, grant.to.posting(run)?);
        // An account does not grant itself a bonus.
        if paid.posting != from || from == to {
            return Ok(());
        }
        let bonus = grant.percent.part(paid.amount, self.digits)?;
        let credit = money(bonus.nanos().checked_neg())?;
        let mut booked = |component: u16, amount: Money, posting: Posting| {
            let bonus = ChargeLine { posting, ..run.made_of(number, component, amount) };
            run.book(self.out, bonus).map(drop)
        };
        booked(grant.credit, credit, to)?;
        booked(grant.debit, bonus, from)
    }
}
