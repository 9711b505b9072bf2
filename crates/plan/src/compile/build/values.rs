//! Converts property values to the form that the object code uses. A wrong value is recorded as an
//! error.

use turnpike_types::Money;

use super::builder::Builder;
use crate::language::findings::{Cause, Refused};
use crate::language::graph::{Child, Primitive};
use crate::language::measure::{Decimal, Quantity};
use crate::language::price::{Price, fixed};
use crate::machine::code::Component;

/// Maximum number of components of a plan: steps, constants and fixed charges.
const COMPONENTS_MAX: usize = 4096;

impl Builder<'_> {
    /// Declares a component (a step, constant or fixed charge that charge lines refer to), and
    /// returns its index.
    pub(crate) fn component(&mut self, line: u32, component: Component) -> Result<u16, Refused> {
        let index = self.code.components.len();
        let number = u16::try_from(index).ok().filter(|_| index < COMPONENTS_MAX);
        let Some(number) = number else {
            let message = format!("more than {COMPONENTS_MAX} steps and charges: split the plan");
            return Err(self.refuse(line, Cause::TooLarge, message));
        };
        self.code.components.push(component);
        Ok(number)
    }

    /// The exact price of one base unit, when `per` units cost `amount`.
    pub(crate) fn price(&mut self, line: u32, amount: &str, per: &str) -> Result<Price, Refused> {
        let amount = self.read(line, "price", Decimal::parse(amount))?;
        let per = self.read(line, "per", Quantity::parse(per))?;
        if per.base == 0 {
            return Err(self.refuse(
                line,
                Cause::BadValue,
                "per: a price is per at least one unit, not 0: write a larger quantity",
            ));
        }
        let price = Price::new(amount, per.base, self.digits());
        price.ok_or_else(|| {
            self.refuse(
                line,
                Cause::BadValue,
                "price: the price per unit does not fit 128 bits: write fewer digits",
            )
        })
    }

    /// A fixed amount, rounded by the plan's rounding rule.
    pub(crate) fn money(&mut self, line: u32, name: &str, amount: &str) -> Result<Money, Refused> {
        let amount = self.read(line, name, Decimal::parse(amount))?;
        let money = fixed(amount, self.digits());
        money.ok_or_else(|| {
            self.refuse(
                line,
                Cause::BadValue,
                format!("{name}: it has more than 38 digits: write fewer"),
            )
        })
    }

    /// The parsed value; records an error when the value could not be parsed.
    pub(crate) fn read<T>(
        &mut self,
        line: u32,
        name: &str,
        read: Result<T, String>,
    ) -> Result<T, Refused> {
        read.map_err(|why| self.refuse(line, Cause::BadValue, format!("{name}: {why}")))
    }

    /// A required property of the primitive. Its presence was checked before, so this error does
    /// not occur in practice.
    pub(crate) fn property<'p>(
        &mut self,
        from: &'p Primitive,
        name: &str,
    ) -> Result<&'p str, Refused> {
        let found = from.property(name);
        found.ok_or_else(|| {
            self.refuse(from.line, Cause::MissingProperty, format!("{name} is missing"))
        })
    }

    /// A required property of an element within the primitive.
    pub(crate) fn child_property<'p>(
        &mut self,
        from: &'p Child,
        name: &str,
    ) -> Result<&'p str, Refused> {
        let found = from.property(name);
        found.ok_or_else(|| {
            self.refuse(from.line, Cause::MissingProperty, format!("{name} is missing"))
        })
    }

    /// The number of decimals to which the plan rounds amounts.
    pub(crate) fn digits(&self) -> u32 {
        self.document.rounding.digits
    }

    /// Whether each line books the difference between rounded running totals.
    pub(crate) fn rounds_running(&self) -> bool {
        self.document.rounding.running
    }
}
