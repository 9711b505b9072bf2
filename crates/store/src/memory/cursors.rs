//! Consumers and their cursors in memory.

use std::collections::BTreeSet;

use async_trait::async_trait;
use turnpike_mutants::{Check, off};
use turnpike_types::{SegmentHash, SegmentNumber};

use super::database::MemoryDatabase;
use super::state::State;
use crate::cursors::{check_consumer_name, check_consumers, check_cursors};
use crate::{Consumer, CursorAck, CursorStore, StoreResult};

#[async_trait]
impl CursorStore for MemoryDatabase {
    async fn register_consumer(&self, name: &str) -> StoreResult<()> {
        self.state().register_consumer(name)
    }

    async fn consumer(&self, name: &str) -> StoreResult<Vec<Consumer>> {
        Ok(self.state().consumer(name))
    }

    async fn consumers(&self) -> StoreResult<Vec<String>> {
        let state = self.state();
        let names: BTreeSet<&String> = state.cursors.keys().map(|(name, _)| name).collect();
        Ok(names.into_iter().cloned().collect())
    }

    async fn remove_consumer(&self, name: &str) -> StoreResult<bool> {
        let mut state = self.state();
        let before = state.cursors.len();
        state.cursors.retain(|(other, _), _| other != name);
        Ok(state.cursors.len() < before)
    }

    async fn acknowledge(&self, from: &Consumer, to: &Consumer) -> StoreResult<CursorAck> {
        self.state().acknowledge(from, to)
    }
}

impl State {
    fn register_consumer(&mut self, name: &str) -> StoreResult<()> {
        check_consumer_name(name)?;
        let consumers: BTreeSet<&str> =
            self.cursors.keys().map(|(name, _)| name.as_str()).collect();
        if !consumers.contains(name) {
            check_consumers(name, consumers.len() as u64)?;
        }
        for &partition in self.partitions.keys() {
            self.cursors.entry((name.to_owned(), partition)).or_insert_with(|| Consumer {
                name: name.to_owned(),
                partition,
                segment: SegmentNumber(0),
                row: 0,
                hash: SegmentHash::default(),
            });
        }
        Ok(())
    }

    fn consumer(&self, name: &str) -> Vec<Consumer> {
        self.cursors.values().filter(|cursor| cursor.name == name).cloned().collect()
    }

    fn acknowledge(&mut self, from: &Consumer, to: &Consumer) -> StoreResult<CursorAck> {
        check_cursors(from, to)?;
        let Some(cursor) = self.cursors.get_mut(&(from.name.clone(), from.partition)) else {
            return Ok(CursorAck::Unknown);
        };
        if cursor != from && !off(Check::CursorCompared) {
            return Ok(CursorAck::Elsewhere(cursor.clone()));
        }
        cursor.clone_from(to);
        Ok(CursorAck::Moved)
    }
}
