//! Decisions use tables that are fresh; without them nothing is allowed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tonic::Code;
use turnpike_access::{Access, AccessConfig, AccessState, REFRESH, STALE_AFTER};
use turnpike_store::memory::{Clock, MemoryDatabase};
use turnpike_store::{Call as StoreCall, Interpose, Interposed, StoreError, StoreResult};
use turnpike_types::Timestamp;

use crate::world::{Call, START, World, certificate_of, config, granted, local, remote};

const SHOW: &str = "/turnpike.account.v1.AccountService/Show";

/// Cuts a process off from its database.
#[derive(Default)]
struct Cut(AtomicBool);

#[async_trait]
impl Interpose for Cut {
    async fn before(&self, _: StoreCall) -> StoreResult<()> {
        match self.0.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable { doing: "test", cause: "cut".to_owned() }),
            false => Ok(()),
        }
    }

    async fn after(&self, _: StoreCall) -> StoreResult<()> {
        Ok(())
    }
}

/// A front with a line to a database that another front uses too.
async fn two_fronts(is_tls: bool) -> (World, World, Arc<Cut>) {
    let db = Arc::new(MemoryDatabase::new());
    let clock: Clock = Arc::new(|| START);
    let now = || Arc::new(AtomicI64::new(START.0));
    let cut = Arc::new(Cut::default());
    let line = Arc::new(Interposed::new(db.clone(), Arc::clone(&cut)));
    let one = World::over(line, now(), clock.clone(), is_tls).await;
    (one, World::over(db, now(), clock, is_tls).await, cut)
}

fn auditor() -> Call {
    Call::new(SHOW).certificate(certificate_of(&["spiffe://c/client/eva"]))
}

#[tokio::test(start_paused = true)]
async fn a_front_follows_the_changes_of_another_front() {
    let (one, other, _) = two_fronts(true).await;
    let following = tokio::spawn(one.access.clone().keep_fresh());
    assert_eq!(one.code(auditor()), Code::PermissionDenied);
    other.grant(granted("spiffe://c/client/eva", "auditor")).await.unwrap();
    tokio::time::sleep(REFRESH * 2).await;
    assert_eq!(one.code(auditor()), Code::Ok);
    following.abort();
}

#[tokio::test(start_paused = true)]
async fn grants_that_can_not_be_read_allow_nothing_after_the_time_limit() {
    let (one, other, cut) = two_fronts(true).await;
    other.grant(granted("spiffe://c/client/eva", "auditor")).await.unwrap();
    let following = tokio::spawn(one.access.clone().keep_fresh());
    tokio::time::sleep(REFRESH * 2).await;
    let open = one.call(auditor()).unwrap().permit;
    cut.0.store(true, Ordering::SeqCst);
    tokio::time::sleep(STALE_AFTER - REFRESH * 3).await;
    assert_eq!(one.code(auditor()), Code::Ok, "a short failure stops nothing");
    tokio::time::sleep(REFRESH * 3 + Duration::from_millis(1)).await;
    assert_eq!(one.code(auditor()), Code::Unavailable);
    assert_eq!(open.renewed().unwrap_err().code(), Code::Unavailable);
    assert_eq!(one.code(Call::new("/grpc.health.v1.Health/Check")), Code::Ok);
    cut.0.store(false, Ordering::SeqCst);
    tokio::time::sleep(REFRESH * 2).await;
    assert_eq!(one.code(auditor()), Code::Ok);
    following.abort();
}

/// A cluster without access control, on one machine, goes on through a failure of the database.
#[tokio::test(start_paused = true)]
async fn access_control_that_is_off_stays_off_while_the_database_can_not_be_read() {
    let (one, _, cut) = two_fronts(false).await;
    cut.0.store(true, Ordering::SeqCst);
    tokio::time::sleep(STALE_AFTER * 2).await;
    assert!(one.access.refresh().await.is_err());
    assert_eq!(one.code(Call::new(SHOW)), Code::Ok);
}

/// A front for clients on other machines can't know whether access control was switched on since.
#[tokio::test(start_paused = true)]
async fn access_control_that_was_off_long_ago_allows_other_machines_nothing() {
    let (one, _, cut) = two_fronts(false).await;
    let settings = AccessConfig { is_open_to_other_hosts: true, ..config(false) };
    let open = Access::of_front(settings, one.db.clone(), Arc::new(|| START));
    open.refresh().await.unwrap();
    let code = |from| {
        let answer = crate::world::call(&open, Call::new(SHOW).from(from));
        answer.map_or_else(|status| status.code(), |_| Code::Ok)
    };
    assert_eq!((code(local()), code(remote())), (Code::Ok, Code::Ok));
    cut.0.store(true, Ordering::SeqCst);
    tokio::time::sleep(STALE_AFTER + Duration::from_millis(1)).await;
    assert_eq!((code(local()), code(remote())), (Code::Ok, Code::Unavailable));
    cut.0.store(false, Ordering::SeqCst);
    open.refresh().await.unwrap();
    assert_eq!(code(remote()), Code::Ok);
}

#[tokio::test]
async fn before_the_first_read_nothing_is_allowed() {
    let db = Arc::new(MemoryDatabase::new());
    let access = Access::of_front(config(false), db, Arc::new(|| Timestamp(0)));
    assert_eq!(access.state(), AccessState::Unread);
    let refused = crate::world::call(&access, Call::new(SHOW)).unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    access.refresh().await.unwrap();
    assert!(crate::world::call(&access, Call::new(SHOW)).is_ok());
}
