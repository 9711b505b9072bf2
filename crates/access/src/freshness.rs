//! Reads the tables of access control again and again, and tells how old they are.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use turnpike_store::{AccessRead, StoreError, StoreResult};

use crate::access::Access;
use crate::refusal::AccessRefusal;
use crate::tables::{AccessSnapshot, Newest};

/// How often a front reads the tables.
pub const REFRESH: Duration = Duration::from_secs(1);
/// A read of the tables that takes longer is given up and repeated.
const READ_LIMIT: Duration = Duration::from_secs(2);
/// When the newest read of the tables is older, nothing is allowed that needs a grant or a token.
/// This is also the longest time for which a revoked grant can stay in force.
pub const STALE_AFTER: Duration = Duration::from_secs(10);

impl Access {
    /// Reads the tables if they have changed. Once access control is on it stays on in this process,
    /// whatever a database says that lost changes by a failover or a restored backup.
    ///
    /// # Errors
    /// The database can't be read. The former tables stay in force until they are too old.
    pub async fn refresh(&self) -> StoreResult<()> {
        let read_at = Instant::now();
        let known = self.newest(|newest| newest.map(|newest| newest.snapshot.version));
        let read =
            tokio::time::timeout(READ_LIMIT, self.0.db.access(known)).await.map_err(|_| {
                StoreError::Unavailable {
                    doing: "read access control",
                    cause: format!("no answer within {READ_LIMIT:?}"),
                }
            })??;
        self.take(read, read_at);
        Ok(())
    }

    /// Decides by this read from now on, which began at `read_at`.
    fn take(&self, read: AccessRead, read_at: Instant) {
        let since = self.newest(|newest| newest.and_then(|newest| newest.snapshot.enabled));
        let is_lost = since.is_some() && read.enabled.is_none();
        let enabled = read.enabled.or(since);
        let now = self.now();
        let snapshot = |tables| AccessSnapshot::new(read.version, enabled, tables, now);
        let fresh = read.tables.map(snapshot);
        if is_lost && fresh.is_some() {
            tracing::error!(
                version = read.version.number,
                "the shared database says that no role was ever granted, though one was: it lost \
                 changes by a failover or a restored backup. Access control stays on: grant again, \
                 or run turnpike access recover"
            );
        }
        let mut newest = self.0.newest.write().unwrap_or_else(PoisonError::into_inner);
        match (fresh, newest.as_mut()) {
            // A read that began earlier ended later: the newer one stays.
            (_, Some(present)) if present.read_at > read_at => {}
            (Some(snapshot), _) => {
                *newest = Some(Newest { snapshot: Arc::new(snapshot), read_at });
            }
            (None, Some(present)) => present.read_at = read_at,
            (None, None) => {}
        }
    }

    /// Reads the tables again and again. Never returns.
    pub async fn keep_fresh(self) {
        let mut ticks = tokio::time::interval(REFRESH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            ticks.tick().await;
            let refreshed = self.refresh().await;
            if !self.0.is_node {
                self.measure();
            }
            match refreshed {
                Ok(()) if is_failing => tracing::info!("the grants of roles can be read again"),
                Ok(()) => {}
                Err(error) if is_failing => tracing::debug!(%error, "grants can't be read"),
                Err(error) if self.0.is_node => tracing::warn!(
                    %error,
                    "the list of revoked certificates can't be read: the last one counts"
                ),
                Err(error) => tracing::warn!(
                    %error,
                    "the grants of roles can't be read: after {STALE_AFTER:?} nothing is allowed"
                ),
            }
            is_failing = self.newest(|newest| {
                newest.is_none_or(|newest| newest.read_at.elapsed() > REFRESH * 2)
            });
        }
    }

    /// Sets the metrics of quotas, as they were when the tables last changed.
    fn measure(&self) {
        let Ok((snapshot, _)) = self.snapshot() else { return };
        for (quota, used, most) in snapshot.quotas {
            metrics::gauge!("turnpike_front_quota_used", "quota" => quota).set(used as f64);
            metrics::gauge!("turnpike_front_quota_max", "quota" => quota).set(most as f64);
        }
    }

    /// The newest tables, and whether they are too old to allow anything by them.
    pub(crate) fn snapshot(&self) -> Result<(Arc<AccessSnapshot>, bool), AccessRefusal> {
        self.newest(|newest| {
            let newest = newest.ok_or(AccessRefusal::Stale)?;
            let is_old = newest.read_at.elapsed() > STALE_AFTER;
            Ok((Arc::clone(&newest.snapshot), is_old))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use turnpike_store::memory::MemoryDatabase;
    use turnpike_store::{AccessGrant, AccessTables, AccessVersion};
    use turnpike_types::Timestamp;

    use super::*;
    use crate::access::{AccessConfig, AccessState};

    fn front() -> Access {
        let config =
            AccessConfig { cluster: "c".to_owned(), is_tls: false, is_open_to_other_hosts: false };
        Access::of_front(config, Arc::new(MemoryDatabase::new()), Arc::new(|| Timestamp(5)))
    }

    fn auditor(principal: &str) -> AccessTables {
        let grant = AccessGrant {
            id: 1,
            principal: principal.to_owned(),
            role: "auditor".to_owned(),
            accounts: None,
            sources: vec![],
            consumer: None,
            until: None,
            granted_by: "a".to_owned(),
            granted_at: Timestamp(1),
        };
        AccessTables { grants: vec![grant], ..AccessTables::default() }
    }

    fn read(stamp: u8, enabled: Option<i64>, tables: AccessTables) -> AccessRead {
        let version = AccessVersion { number: 10, stamp: [stamp; 16] };
        AccessRead { version, enabled: enabled.map(Timestamp), tables: Some(tables) }
    }

    /// What the database returns to this process: no tables if it knows the version.
    fn answered(access: &Access, read: AccessRead) -> AccessRead {
        let known = access.newest(|newest| newest.map(|newest| newest.snapshot.version));
        let tables = read.tables.filter(|_| known != Some(read.version));
        AccessRead { tables, ..read }
    }

    /// After a failover to a replica that lacks the last change, another change gets the same number.
    #[test]
    fn tables_of_a_lost_history_are_replaced_although_their_number_is_the_same() {
        let access = front();
        access.take(read(1, Some(1), auditor("token:eva")), Instant::now());
        let present = answered(&access, read(2, Some(1), auditor("token:ben")));
        access.take(present, Instant::now());
        let grants = |name: &str| access.snapshot().unwrap().0.grants_of(name, Timestamp(5)).len();
        assert_eq!((grants("token:eva"), grants("token:ben")), (0, 1));
    }

    /// A restored backup from before the first grant opens no running front.
    #[test]
    fn access_control_that_is_on_never_goes_off() {
        let access = front();
        access.take(read(0, None, AccessTables::default()), Instant::now());
        assert_eq!(access.state(), AccessState::Off);
        access.take(read(1, Some(1), auditor("token:eva")), Instant::now());
        assert_eq!(access.state(), AccessState::On);
        for stamp in [0, 0, 2] {
            let restored = answered(&access, read(stamp, None, AccessTables::default()));
            access.take(restored, Instant::now());
            assert_eq!(access.state(), AccessState::On);
        }
        let grants = access.snapshot().unwrap().0.grants_of("token:eva", Timestamp(5));
        assert!(grants.is_empty(), "the grants are those of the restored database");
    }
}
