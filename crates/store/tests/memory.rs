//! The memory implementation passes the suite.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use turnpike_store::SharedDatabase;
use turnpike_store::conformance::{LetGo, Subject};
use turnpike_store::memory::MemoryDatabase;

async fn subject() -> Subject {
    let database = MemoryDatabase::new();
    let same = database.clone();
    Subject {
        open: Arc::new(move || {
            let view: Arc<dyn SharedDatabase> = Arc::new(same.clone());
            Box::pin(std::future::ready(view))
        }),
        hold_appends: Arc::new(move || {
            let database = database.clone();
            Box::pin(async move {
                let paused = database.pause_appends().await;
                Box::new(|| -> futures::future::BoxFuture<'static, ()> {
                    Box::pin(async move { drop(paused) })
                }) as LetGo
            })
        }),
    }
}

turnpike_store::conformance!(subject);
