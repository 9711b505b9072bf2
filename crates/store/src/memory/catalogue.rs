//! The catalogue in memory.

use std::collections::BTreeSet;

use async_trait::async_trait;
use turnpike_types::{Timestamp, capped};

use super::database::MemoryDatabase;
use super::state::{State, within};
use crate::catalogue::{
    CATALOGUE_BYTES_MAX, CATALOGUE_HEADS_MAX, CatalogueTotals, Judgement, judge,
};
use crate::{
    CatalogueEntry, CatalogueHead, CatalogueKind, CatalogueStore, Publish, PublishOutcome,
    StoreResult,
};

#[async_trait]
impl CatalogueStore for MemoryDatabase {
    async fn publish(&self, publish: &Publish) -> StoreResult<PublishOutcome> {
        let now = self.now();
        self.state().publish(publish, now)
    }

    async fn catalogue_since(&self, after: u64, most: usize) -> StoreResult<Vec<CatalogueEntry>> {
        Ok(self.state().catalogue_since(after, most))
    }

    async fn catalogue_heads(
        &self,
        kind: CatalogueKind,
        id: Option<&str>,
        after: u64,
    ) -> StoreResult<Vec<CatalogueHead>> {
        Ok(self.state().catalogue_heads(kind, id, after))
    }

    async fn catalogue_totals(&self, kind: CatalogueKind) -> StoreResult<CatalogueTotals> {
        Ok(self.state().catalogue_totals(kind))
    }
}

impl State {
    fn publish(&mut self, publish: &Publish, now: Timestamp) -> StoreResult<PublishOutcome> {
        let known = self.catalogue.iter().map(|entry| &entry.head);
        let known = known.filter(|head| head.kind == publish.kind && head.id == publish.id);
        let heads: Vec<CatalogueHead> = known.cloned().collect();
        let totals = self.catalogue_totals(publish.kind);
        if let Judgement::Settled(outcome) = judge(&heads, publish, now, totals)? {
            return Ok(outcome);
        }
        let catalogue_version = self.catalogue_version() + 1;
        let head = publish.head(catalogue_version, now);
        self.catalogue.push(CatalogueEntry { head, body: publish.body.clone() });
        Ok(PublishOutcome::Published(catalogue_version))
    }

    fn catalogue_totals(&self, kind: CatalogueKind) -> CatalogueTotals {
        let of_kind = self.catalogue.iter().filter(|entry| entry.head.kind == kind);
        let ids: BTreeSet<&str> = of_kind.clone().map(|entry| entry.head.id.as_str()).collect();
        CatalogueTotals {
            ids: ids.len() as u64,
            bytes: of_kind.map(|entry| entry.head.bytes).sum(),
        }
    }

    /// The entries after catalogue version `after`. Version `n` has index `n - 1`.
    fn published_after(&self, after: u64) -> impl Iterator<Item = &CatalogueEntry> {
        self.catalogue.iter().skip(capped(after))
    }

    fn catalogue_since(&self, after: u64, most: usize) -> Vec<CatalogueEntry> {
        let entries = self.published_after(after).take(most);
        within(CATALOGUE_BYTES_MAX, |entry| entry.body.len(), entries)
    }

    fn catalogue_heads(
        &self,
        kind: CatalogueKind,
        id: Option<&str>,
        after: u64,
    ) -> Vec<CatalogueHead> {
        self.published_after(after)
            .map(|entry| &entry.head)
            .filter(|head| head.kind == kind && id.is_none_or(|id| head.id == id))
            .take(CATALOGUE_HEADS_MAX)
            .cloned()
            .collect()
    }
}
