//! Lists the actions that are possible in a state, and implements the interface of the model
//! checker `stateright`.

use stateright::{Model, Property};

use crate::database::RecordId;
use crate::model::{Action, Protocol, State};
use crate::node::Role;
use crate::properties;

impl Protocol {
    fn of_outside(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend((0..state.sent.len()).map(Action::CarryOut));
        actions.extend((0..state.answers.len()).map(Action::Hear));
        actions.extend((0..state.replies.len()).map(Action::Deliver));
        let lags = state.replica.as_ref() != Some(&state.database);
        if state.failovers < self.failovers && lags {
            actions.extend([Action::Replicate, Action::Failover]);
        }
        if self.has_consumer {
            actions.push(Action::Pull);
        }
    }

    fn of_node(&self, state: &State, at: usize, actions: &mut Vec<Action>) {
        let node = &state.nodes[at];
        if state.faults < self.faults {
            if node.awaits() {
                actions.push(Action::GiveUp(at));
            }
            if node.role != Role::Standby || !node.copy.is_empty() {
                actions.push(Action::Crash(at));
            }
        }
        match &node.role {
            Role::Standby => {
                if state.claims < self.claims && at <= state.joined {
                    actions.push(Action::Claim(at));
                }
                if self.keeps_copy && node.copy != state.database.log {
                    actions.push(Action::Follow(at));
                }
            }
            Role::Claiming => {}
            Role::Claimed { .. } => actions.push(Action::Recover(at)),
            Role::Owner(owner) => {
                if owner.in_flight.is_none() && !owner.open.is_empty() {
                    actions.push(Action::Send(at));
                }
                if self.hands_over && owner.in_flight.is_none() && owner.open.is_empty() {
                    actions.push(Action::Release(at));
                }
                self.of_clients(state, at, actions);
            }
        }
    }

    fn of_clients(&self, state: &State, at: usize, actions: &mut Vec<Action>) {
        let sent = &state.outside.sent;
        for record in 0..self.records {
            // Records are interchangeable. So record 0 is sent first, then record 1: this leaves
            // fewer states.
            let is_turn = record == 0 || sent[record - 1] > 0;
            if is_turn && sent[record] < self.sendings {
                actions.push(Action::Submit(record as RecordId, at));
            }
        }
        if state.outside.asked < self.questions {
            actions.push(Action::Ask(at));
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for node in 0..self.nodes {
            self.of_node(state, node, actions);
        }
        self.of_outside(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        next.step(&action, self);
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = properties::of(self);
        all.retain(|property| self.only.is_none_or(|only| property.name == only));
        all
    }
}
