//! Checks all states of a configuration, and finds the shortest path to a violated property.

use std::fmt::Write as _;

use stateright::{Checker, Model};

use crate::database::Statement;
use crate::model::{Action, Protocol, State};

/// The number of states that a check visited, and their largest distance from the start.
#[derive(Clone, Copy, Debug)]
pub struct Explored {
    /// Number of distinct states.
    pub states: usize,
    /// The largest distance of a state from the initial state, in steps.
    pub depth: usize,
}

/// Checks every reachable state.
///
/// # Panics
/// A property is violated (the message has the path to the violation), or no state fulfils a
/// condition that some state must fulfil.
pub fn holds(name: &str, protocol: Protocol) -> Explored {
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    let explored = Explored { states: checker.unique_state_count(), depth: checker.max_depth() };
    println!("{name}: {} states, depth {}", explored.states, explored.depth);
    checker.assert_properties();
    explored
}

/// Returns the shortest path to a state where `property` does not hold, as one text for each step.
/// Returns `None` if there is no such state.
pub fn counterexample(protocol: Protocol, property: &'static str) -> Option<Vec<String>> {
    let protocol = Protocol { only: Some(property), ..protocol };
    let checker = protocol.checker().spawn_bfs().join();
    let path = checker.discovery(property)?.into_vec();
    let steps = path.iter().filter_map(|(state, action)| Some(told(state, action.as_ref()?)));
    Some(steps.collect())
}

/// Describes an action in words. Node 0 is named `a`, record 0 is named `r0`.
fn told(state: &State, action: &Action) -> String {
    let name = |node: &usize| char::from(b'a' + *node as u8);
    match action {
        Action::Submit(record, node) => format!("a client sends r{record} to {}", name(node)),
        Action::Ask(node) => format!("a client asks {} for the account", name(node)),
        Action::Send(node) => {
            let open = state.nodes[*node].owner().map(|owner| &owner.open);
            let rated = open.map(|open| open.rated.clone()).unwrap_or_default();
            let ids: Vec<_> = rated.iter().map(|rated| format!("r{}", rated.record)).collect();
            let what = if ids.is_empty() { "a barrier".to_owned() } else { ids.join(" and ") };
            format!("{} sends {what}", name(node))
        }
        Action::GiveUp(node) => format!("{} gives up waiting", name(node)),
        Action::Crash(node) => format!("{} crashes and restarts", name(node)),
        Action::Claim(node) => format!("{} sends a claim", name(node)),
        Action::Recover(node) => format!("{} reads the tail and serves", name(node)),
        Action::Follow(node) => format!("{} follows the log", name(node)),
        Action::Release(node) => format!("{} releases the partition", name(node)),
        Action::CarryOut(index) => {
            let sent = &state.sent[*index];
            let mut line = format!("the database gets {}'s {}", name(&sent.from), statement(sent));
            if sent.passed_fence {
                line.push_str(", which has passed the fence already");
            }
            if !sent.awaited {
                line.push_str(" (late)");
            }
            line
        }
        Action::Hear(index) => {
            let answered = &state.answers[*index];
            let late = if answered.awaited { "" } else { " (late)" };
            format!("{} hears {:?}{late}", name(&answered.to), answered.answer)
        }
        Action::Deliver(index) => {
            let in_flight = &state.replies[*index];
            format!("a front gets {:?} of epoch {}", in_flight.reply, in_flight.epoch)
        }
        Action::Replicate => "the replica catches up".to_owned(),
        Action::Failover => "the replica is promoted".to_owned(),
        Action::Pull => "the consumer pulls".to_owned(),
    }
}

fn statement(sent: &crate::model::Sent) -> String {
    match &sent.statement {
        Statement::Claim { seen, .. } => format!("claim on epoch {seen}"),
        Statement::Barrier { title, .. } => format!("barrier of epoch {}", title.epoch),
        Statement::Release { title } => format!("release of epoch {}", title.epoch),
        Statement::Append(segment) => {
            let mut line =
                format!("append of segment {} under epoch {}:", segment.number, segment.epoch);
            for rated in &segment.rated {
                let _ = write!(line, " r{}", rated.record);
            }
            line
        }
    }
}
