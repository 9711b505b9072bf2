//! Bindings of identities to accounts in memory.

use async_trait::async_trait;
use turnpike_types::{AccountNumber, Timestamp};

use super::database::MemoryDatabase;
use super::state::State;
use crate::identities::bindings::{self, Asked, Histories, RowChange};
use crate::identities::check_bindings;
use crate::identities::row::{BindingRow, key_of};
use crate::{
    BindOutcome, Binding, BindingsMark, IdentityHistory, IdentityStore, RebindOutcome, Rebinding,
    StoreResult,
};

#[async_trait]
impl IdentityStore for MemoryDatabase {
    async fn bind_identities(&self, bindings: &[Binding]) -> StoreResult<Vec<BindOutcome>> {
        let now = self.now();
        self.state().bind_identities(bindings, now)
    }

    async fn rebind_identities(&self, changes: &[Rebinding]) -> StoreResult<Vec<RebindOutcome>> {
        let now = self.now();
        self.state().rebind_identities(changes, now)
    }

    async fn guide(&self, identities: &[String]) -> StoreResult<Vec<IdentityHistory>> {
        Ok(self.state().guide(identities))
    }

    async fn bindings_mark(&self) -> StoreResult<BindingsMark> {
        Ok(self.state().bindings_mark())
    }

    async fn advance_guided_through(&self) -> StoreResult<bool> {
        let now = self.now();
        Ok(self.state().advance_guided_through(now))
    }

    async fn bindings_of(&self, account: AccountNumber, most: usize) -> StoreResult<Vec<Binding>> {
        Ok(self.state().bindings_of(account, most))
    }
}

impl State {
    fn bind_identities(
        &mut self,
        asked: &[Binding],
        now: Timestamp,
    ) -> StoreResult<Vec<BindOutcome>> {
        check_bindings(asked)?;
        let mut histories = self.histories(asked.iter().map(|one| one.identity.as_str()));
        let recorded =
            bindings::recording_instant(self.bindings_recorded, now, self.guided_through);
        let (outcomes, writes) = bindings::judge_bindings(&mut histories, asked, recorded);
        self.write_bindings(&writes, recorded);
        Ok(outcomes)
    }

    fn rebind_identities(
        &mut self,
        asked: &[Rebinding],
        now: Timestamp,
    ) -> StoreResult<Vec<RebindOutcome>> {
        check_bindings(asked.iter().map(Rebinding::binding))?;
        let identities = asked.iter().map(|one| one.binding().identity.as_str());
        let mut histories = self.histories(identities);
        let recorded =
            bindings::recording_instant(self.bindings_recorded, now, self.guided_through);
        let (outcomes, writes) = bindings::judge_rebindings(&mut histories, asked, recorded);
        self.write_bindings(&writes, recorded);
        Ok(outcomes)
    }

    fn histories<'a>(&self, identities: impl Iterator<Item = &'a str>) -> Histories {
        let keys = bindings::keys_of(identities);
        Histories::of(self.binding_rows(&keys))
    }

    /// The rows under `keys`, in force and withdrawn.
    fn binding_rows(&self, keys: &[String]) -> impl Iterator<Item = BindingRow> {
        keys.iter().flat_map(|key| {
            let tables = [self.bindings.get(key), self.withdrawn_bindings.get(key)];
            tables.into_iter().flatten().flatten().cloned()
        })
    }

    fn write_bindings(&mut self, writes: &[RowChange], recorded: Timestamp) {
        if writes.is_empty() {
            return;
        }
        self.bindings_recorded = recorded;
        let new: Vec<Binding> = bindings::inserted(writes).cloned().collect();
        let identities = new.iter().map(|binding| binding.identity.as_str());
        for (is_v4, length) in bindings::prefix_lengths(identities) {
            self.prefix_lengths.add_length(is_v4, length);
        }
        if bindings::moves_version(writes, self.prefix_lengths) {
            self.bindings_version += 1;
        }
        for write in writes {
            let identity = match write {
                RowChange::Insert(row) => &row.binding.identity,
                RowChange::Withdraw(row) => {
                    let key = key_of(&row.identity);
                    self.withdrawn_bindings.entry(key).or_default().push(row.clone());
                    continue;
                }
                RowChange::Delete { identity, .. } | RowChange::End { identity, .. } => identity,
            };
            let history = self.bindings.entry(key_of(identity)).or_default();
            bindings::carry_out(history, write);
        }
    }

    fn guide(&self, identities: &[String]) -> Vec<IdentityHistory> {
        let of = |identity: &String| Asked::of(identity, self.prefix_lengths);
        let asked: Vec<Asked> = identities.iter().map(of).collect();
        let keys = bindings::keys_asked(&asked);
        bindings::guided(&asked, self.binding_rows(&keys))
    }

    const fn bindings_mark(&self) -> BindingsMark {
        BindingsMark { version: self.bindings_version, guided_through: self.guided_through }
    }

    fn advance_guided_through(&mut self, now: Timestamp) -> bool {
        let is_moved = self.guided_through < now;
        self.guided_through = self.guided_through.max(now);
        is_moved
    }

    fn bindings_of(&self, account: AccountNumber, most: usize) -> Vec<Binding> {
        let rows = self.bindings.values().flatten();
        let own = rows.filter(|row| row.account == account).take(most);
        own.map(|row| row.binding.clone()).collect()
    }
}
