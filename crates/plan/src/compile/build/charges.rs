//! Compile-time routing of charges: the buffer ("slot") that collects the charges of each output,
//! and the accounts whose charges reach an input.

use turnpike_types::{Currency, Must};

use super::builder::Builder;
use crate::compile::check::{Checked, LinkSource};
use crate::language::findings::{Cause, Refused};
use crate::language::spec::{Carries, OTHERS, Role};
use crate::machine::evaluation::places::ChargeOut;

/// The accounts whose charges reach an input: the record's own account, other accounts, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChargeOrigins {
    pub(crate) own: bool,
    pub(crate) others: bool,
}

/// The destination of the charges of each output, by primitive and output index, and the number of
/// charge slots. A charge slot is a buffer of charge lines. An output has a slot if a primitive
/// other than an adder reads its charges before the finalizer; otherwise its charges are posted
/// directly.
pub(super) fn charge_places(checked: &Checked) -> (Vec<Vec<ChargeOut>>, usize) {
    let nodes = &checked.wiring.nodes;
    let mut looked_at = vec![false; nodes.len()];
    // Consumers follow in topological order, so a reverse pass visits each consumer first.
    for &place in checked.order.iter().rev() {
        let takers = nodes[place].takers.iter().flatten();
        looked_at[place] = takers.into_iter().any(|&taker| match nodes[taker].spec.role {
            Role::Gathers => looked_at[taker],
            Role::Posts => false,
            _ => nodes[taker].spec.inputs.iter().any(|input| input.carries == Carries::Charge),
        });
    }
    let mut count = 0;
    let mut of = |place: usize, output: &crate::language::spec::OutputSpec| {
        if output.carries != Carries::Charge || !looked_at[place] {
            return ChargeOut::Account;
        }
        count += 1;
        ChargeOut::Slot(count - 1)
    };
    let places = nodes.iter().enumerate();
    let outs = places
        .map(|(place, node)| node.spec.outputs.iter().map(|output| of(place, output)).collect())
        .collect();
    (outs, count)
}

impl Builder<'_> {
    /// The destination of the charges of an output.
    pub(crate) fn charge_out(&self, name: &str) -> ChargeOut {
        let node = &self.checked.wiring.nodes[self.place];
        let output = node.spec.output(name);
        let out = output.and_then(|output| self.charges[self.place].get(output));
        *out.must("the primitive declares the output")
    }

    /// The charge slots whose lines reach an input, directly or through adders.
    pub(crate) fn charges(&self, name: &str) -> Box<[usize]> {
        let node = &self.checked.wiring.nodes[self.place];
        let mut slots = Vec::new();
        if let Some(index) = node.spec.input(name) {
            self.gather(self.place, index, &mut slots);
        }
        slots.sort_unstable();
        slots.into()
    }

    fn gather(&self, place: usize, input: usize, slots: &mut Vec<usize>) {
        // This recursion ends: the graph has no cycle, and each charge output has one consumer.
        for end in self.checked.wiring.nodes[place].inputs.get(input).into_iter().flatten() {
            let LinkSource::Port { node, output } = *end else { continue };
            let spec = self.checked.wiring.nodes[node].spec;
            if spec.role == Role::Gathers {
                for (index, input) in spec.inputs.iter().enumerate() {
                    if input.carries == Carries::Charge {
                        self.gather(node, index, slots);
                    }
                }
            } else if let ChargeOut::Slot(slot) = self.charges[node][output] {
                slots.push(slot);
            }
        }
    }

    /// The accounts whose charges reach an input.
    pub(crate) fn charge_origins(&self, name: &str) -> ChargeOrigins {
        let mut charge_origins = ChargeOrigins::default();
        if let Some(index) = self.checked.wiring.nodes[self.place].spec.input(name) {
            self.add_charge_origins(self.place, index, &mut charge_origins);
        }
        charge_origins
    }

    fn add_charge_origins(&self, place: usize, input: usize, found: &mut ChargeOrigins) {
        // This recursion ends: the graph has no cycle, and each charge output has one consumer.
        for end in self.checked.wiring.nodes[place].inputs.get(input).into_iter().flatten() {
            let LinkSource::Port { node, output } = *end else { continue };
            let spec = self.checked.wiring.nodes[node].spec;
            let port = spec.outputs.get(output).map(|output| output.name);
            let passes = spec.inputs.iter().any(|input| input.carries == Carries::Charge);
            if spec.role == Role::Shares {
                *(if port == Some(OTHERS) { &mut found.others } else { &mut found.own }) = true;
            } else if passes {
                for (index, input) in spec.inputs.iter().enumerate() {
                    if input.carries == Carries::Charge {
                        self.add_charge_origins(node, index, found);
                    }
                }
            } else {
                found.own = true;
            }
        }
    }

    /// Refuses the primitive if charges of other accounts reach the input.
    pub(crate) fn only_own(&mut self, name: &str) -> Result<(), Refused> {
        if !self.charge_origins(name).others {
            return Ok(());
        }
        let message = format!(
            "{name}: charges of other accounts reach this input, which accepts only the account's own: link port {OTHERS} to a SecondAccountFinalizer"
        );
        Err(self.refuse(self.primitive.line, Cause::WrongAccount, message))
    }

    /// The currency of the charges that leave the primitive.
    pub(crate) fn charged(&self) -> Currency {
        self.checked.charged[self.place]
    }

    /// The currency of the charges that the primitive creates from usage or time alone: its
    /// `currency` property, else the currency of the plan.
    pub(crate) fn currency(&mut self) -> Result<Currency, Refused> {
        match self.primitive.property("currency") {
            None => Ok(self.document.currency),
            Some(text) => {
                self.read(self.primitive.line, "currency", crate::language::values::currency(text))
            }
        }
    }
}
