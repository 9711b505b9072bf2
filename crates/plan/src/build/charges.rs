//! Where a primitive's charges go, and whose charges come to it.

use turnpike_types::Currency;

use super::Builder;
use crate::check::{Checked, End};
use crate::error::Cause;
use crate::run::ChargeOut;
use crate::spec::{Carries, OTHERS, Refused, Role};

/// Whose charges come together somewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) own: bool,
    pub(crate) others: bool,
}

/// Where the charges of each output go: to a place of their own when anything but adders stands
/// between them and the finalizer; and how many places there are.
pub(super) fn charge_places(checked: &Checked) -> (Vec<Vec<ChargeOut>>, usize) {
    let nodes = &checked.wiring.nodes;
    let mut looked_at = vec![false; nodes.len()];
    // Takers stand later in the order, so backwards each knows its takers.
    for &place in checked.order.iter().rev() {
        let takers = nodes[place].takers.iter().flatten();
        looked_at[place] = takers.into_iter().any(|&taker| match nodes[taker].spec.role {
            Role::Gathers => looked_at[taker],
            Role::Posts => false,
            _ => nodes[taker].spec.inputs.iter().any(|input| input.carries == Carries::Charge),
        });
    }
    let mut count = 0;
    let mut of = |place: usize, output: &crate::spec::OutputSpec| {
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
    /// Where the charges of an output go.
    pub(crate) fn charge_out(&self, name: &str) -> ChargeOut {
        let node = &self.checked.wiring.nodes[self.place];
        let output = node.spec.output(name);
        let out = output.and_then(|output| self.charges[self.place].get(output));
        out.copied().unwrap_or(ChargeOut::Account)
    }

    /// The places of the charges that reach an input, through adders.
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
        // There is no cycle, and a charge is taken once: this ends.
        for end in self.checked.wiring.nodes[place].inputs.get(input).into_iter().flatten() {
            let End::Port { node, output } = *end else { continue };
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

    /// Whose charges reach an input: are some the account's own, and some those of other accounts?
    pub(crate) fn whose(&self, name: &str) -> Whose {
        let mut whose = Whose::default();
        if let Some(index) = self.checked.wiring.nodes[self.place].spec.input(name) {
            self.ask_whose(self.place, index, &mut whose);
        }
        whose
    }

    fn ask_whose(&self, place: usize, input: usize, whose: &mut Whose) {
        // There is no cycle, and a charge is taken once: this ends.
        for end in self.checked.wiring.nodes[place].inputs.get(input).into_iter().flatten() {
            let End::Port { node, output } = *end else { continue };
            let spec = self.checked.wiring.nodes[node].spec;
            let port = spec.outputs.get(output).map(|output| output.name);
            let passes = spec.inputs.iter().any(|input| input.carries == Carries::Charge);
            if spec.role == Role::Shares {
                *(if port == Some(OTHERS) { &mut whose.others } else { &mut whose.own }) = true;
            } else if passes {
                for (index, input) in spec.inputs.iter().enumerate() {
                    if input.carries == Carries::Charge {
                        self.ask_whose(node, index, whose);
                    }
                }
            } else {
                whose.own = true;
            }
        }
    }

    /// Refuses charges of other accounts at an input.
    pub(crate) fn only_own(&mut self, name: &str) -> Result<(), Refused> {
        if !self.whose(name).others {
            return Ok(());
        }
        let message = format!(
            "{name}: charges of other accounts come here, and only the account's own may: lead port {OTHERS} to a SecondAccountFinalizer"
        );
        Err(self.refuse(self.primitive.line, Cause::WrongAccount, message))
    }

    /// The currency of the charges that leave the primitive.
    pub(crate) fn charged(&self) -> Currency {
        self.checked.charged.get(self.place).copied().unwrap_or(self.document.currency)
    }

    /// The currency of the charges that the primitive makes of nothing but usage and time.
    pub(crate) fn currency(&mut self) -> Result<Currency, Refused> {
        match self.primitive.property("currency") {
            None => Ok(self.document.currency),
            Some(text) => self.read(self.primitive.line, "currency", crate::values::currency(text)),
        }
    }
}
