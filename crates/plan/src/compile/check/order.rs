//! Determines the order in which primitives run, or reports the cycle that makes an order
//! impossible.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::wiring::{LinkSource, Wiring};
use crate::language::findings::{Cause, Findings};
use crate::language::graph::Primitive;

/// Indexes of the primitives in topological order, ties by document order
/// (docs/plan-semantics.md section 3).
pub(super) fn topological(
    primitives: &[Primitive],
    wiring: &Wiring,
    findings: &mut Findings,
) -> Option<Vec<usize>> {
    let mut waits: Vec<usize> = wiring.nodes.iter().map(|node| feeders(node).count()).collect();
    let ready = waits.iter().enumerate().filter(|&(_, &count)| count == 0);
    let mut ready: BinaryHeap<Reverse<usize>> = ready.map(|(place, _)| Reverse(place)).collect();
    let mut order = Vec::with_capacity(waits.len());
    while let Some(Reverse(place)) = ready.pop() {
        order.push(place);
        let takers = wiring.nodes.get(place).map(|node| node.takers.iter().flatten());
        for &taker in takers.into_iter().flatten() {
            if let Some(count) = waits.get_mut(taker) {
                *count -= 1;
                if *count == 0 {
                    ready.push(Reverse(taker));
                }
            }
        }
    }
    if order.len() == waits.len() {
        return Some(order);
    }
    report(primitives, wiring, &waits, findings);
    None
}

fn feeders(node: &super::wiring::WiredPrimitive) -> impl Iterator<Item = usize> {
    node.inputs.iter().flatten().filter_map(|end| match end {
        LinkSource::Port { node, .. } => Some(*node),
        LinkSource::Source(_) => None,
    })
}

/// Reports one cycle. Each remaining primitive is fed by another remaining primitive, so following
/// links backwards from any of them ends in a cycle.
fn report(primitives: &[Primitive], wiring: &Wiring, waits: &[usize], findings: &mut Findings) {
    let waiting = |place: &usize| waits.get(*place).is_some_and(|&count| count > 0);
    let Some(mut at) = (0..waits.len()).find(waiting) else {
        return;
    };
    let mut path = Vec::new();
    while !path.contains(&at) {
        path.push(at);
        let back = wiring.nodes.get(at).and_then(|node| feeders(node).find(waiting));
        let Some(back) = back else { return };
        at = back;
    }
    let start = path.iter().position(|&place| place == at).unwrap_or(0);
    let mut ring: Vec<usize> = path.split_off(start);
    ring.reverse();
    let first =
        ring.iter().enumerate().min_by_key(|(_, place)| **place).map_or(0, |(index, _)| index);
    ring.rotate_left(first);
    let named: Vec<&Primitive> = ring.iter().filter_map(|&place| primitives.get(place)).collect();
    let Some(head) = named.first() else { return };
    let ids: Vec<&str> = named.iter().chain(std::iter::once(head)).map(|p| p.id.as_str()).collect();
    let message = format!("the links form a cycle, {}: remove one of them", ids.join(" -> "));
    findings.error(head.line, Some(&head.id), Cause::Cycle, message);
}
