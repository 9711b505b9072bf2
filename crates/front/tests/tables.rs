//! Publishing reference tables through a front (P36).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::world;

use std::fmt::Write as _;
use std::sync::Arc;

use tonic::{Code, Status};
use turnpike_proto::plan::v1::{
    GetTableRequest, GetTableResponse, ListRequest, ListTablesRequest, PublishTableRequest,
    PublishTableResponse, TableVersion,
};
use turnpike_store::StoreIncarnation;
use turnpike_store::memory::MemoryDatabase;
use turnpike_types::Timestamp;
use turnpike_types::limits::{MESSAGE_BYTES_MAX, TABLE_BYTES_MAX};
use world::{World, config};

/// 2026-03-10T12:00:00Z: the 11th has begun at UTC+14, the 12th nowhere.
const NOW: Timestamp = Timestamp(1_773_144_000_000_000);

async fn world() -> World {
    let db = MemoryDatabase::with_clock(Arc::new(|| NOW), StoreIncarnation(1));
    World::over(db, config(), 1).await
}

const ROWS: &str = "prefix,destination,price,per,setup\n1,US,0.02,1 min,\n44,Britain,0.03,1 min,\n";

fn dial_plan(id: &str, version: u32, starts: &str) -> String {
    format!("# turnpike-table id={id} kind=dial-plan version={version} starts={starts}\n{ROWS}")
}

async fn publish(world: &World, text: String) -> Result<PublishTableResponse, Status> {
    let mut plans = world.plans();
    plans.publish_table(PublishTableRequest { text }).await.map(tonic::Response::into_inner)
}

async fn get(world: &World, id: &str, version: u32) -> Result<GetTableResponse, Status> {
    let request = GetTableRequest { table_id: id.to_owned(), version };
    world.plans().get_table(request).await.map(tonic::Response::into_inner)
}

async fn list(world: &World, id: &str) -> Vec<TableVersion> {
    let request = ListTablesRequest { table_id: id.to_owned() };
    world.plans().list_tables(request).await.unwrap().into_inner().tables
}

/// Asserts that a refusal has this code and contains all `words`.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, words: &[&str]) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{}", status.message());
    for word in words {
        assert!(status.message().contains(word), "{word:?} is not in {:?}", status.message());
    }
}

#[tokio::test(start_paused = true)]
async fn a_published_table_is_listed_and_returned_as_it_was_written() {
    let world = world().await;
    let text = dial_plan("world", 1, "2020-01-01");
    let answer = publish(&world, text.clone()).await.unwrap();
    assert!(!answer.already);
    let table = answer.table.unwrap();
    assert_eq!((table.table_id.as_str(), table.version, table.rows), ("world", 1, 2));
    assert_eq!((table.kind.as_str(), table.starts.as_str()), ("dial-plan", "2020-01-01"));
    assert_eq!((table.catalogue_version, table.published_at_us), (1, NOW.micros()));
    assert_eq!((table.bytes, table.content_hash.len()), (text.len() as u64, 64));
    let again = publish(&world, text.clone()).await.unwrap();
    assert!(again.already);
    assert_eq!(again.table.as_ref(), Some(&table));
    publish(&world, dial_plan("world", 2, "2026-04-01")).await.unwrap();
    publish(&world, dial_plan("cheap", 1, "2026-01-01")).await.unwrap();
    let listed = list(&world, "").await;
    let names: Vec<_> =
        listed.iter().map(|table| (table.table_id.as_str(), table.version)).collect();
    assert_eq!(names, [("cheap", 1), ("world", 1), ("world", 2)]);
    assert_eq!(list(&world, "world").await[0], table);
    let first = get(&world, "world", 1).await.unwrap();
    assert_eq!((first.text, first.table), (text, Some(table)));
    assert_eq!(get(&world, "world", 0).await.unwrap().table.unwrap().version, 2, "the newest");
    let plans = world.plans().list(ListRequest::default()).await.unwrap().into_inner();
    assert!(plans.plans.is_empty(), "a table is no plan");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_cannot_be_right_is_refused_with_the_lines_of_its_faults() {
    let world = world().await;
    refused(publish(&world, String::new()).await, Code::InvalidArgument, &["turnpike-table"]);
    let wrong =
        dial_plan("world", 1, "2026-01-01") + "x,Nowhere,0.1,1 min,\n2,Africa,dear,1 min,\n";
    refused(publish(&world, wrong).await, Code::InvalidArgument, &["line 5", "line 6", "dear"]);
    assert!(list(&world, "").await.is_empty());
}

/// The refusal of a table with a fault in every row still fits the HTTP header that carries it.
#[tokio::test(start_paused = true)]
async fn a_refusal_lists_as_many_faults_as_fit_in_it() {
    let world = world().await;
    let mut text = dial_plan("world", 1, "2026-01-01");
    for row in 0..10_000 {
        writeln!(text, "x{row},ŻÓŁĆ {{}},{},1 min,", "\"ü\"".repeat(50)).unwrap();
    }
    refused(publish(&world, text).await, Code::InvalidArgument, &["line 5", "… and", "more"]);
}

#[tokio::test(start_paused = true)]
async fn a_version_is_immutable_and_may_share_its_start_only_with_one_that_it_supersedes() {
    let world = world().await;
    publish(&world, dial_plan("world", 1, "2026-04-01")).await.unwrap();
    let other = dial_plan("world", 1, "2026-04-01").replace("0.02", "0.03");
    let words = ["table world version 1", "immutable", "next version"];
    refused(publish(&world, other).await, Code::FailedPrecondition, &words);
    let same = publish(&world, dial_plan("world", 2, "2026-04-01")).await;
    refused(same, Code::AlreadyExists, &["version 1", "supersedes=1"]);
    let superseding = dial_plan("world", 2, "2026-04-01 supersedes=1");
    assert!(publish(&world, superseding).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn p36_a_further_version_can_not_start_on_a_date_that_has_begun_anywhere() {
    let world = world().await;
    publish(&world, dial_plan("world", 1, "2020-01-01")).await.unwrap();
    for starts in ["2026-02-01", "2026-03-11"] {
        let words = [starts, "has begun", "version 1 has already rated", "2026-03-12"];
        let late = publish(&world, dial_plan("world", 2, starts)).await;
        refused(late, Code::FailedPrecondition, &words);
    }
    let early = publish(&world, dial_plan("world", 2, "2019-12-31")).await;
    refused(early, Code::FailedPrecondition, &["the table already has versions", "2026-03-12"]);
    assert!(publish(&world, dial_plan("world", 2, "2026-03-12")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_table_keeps_its_kind() {
    let world = world().await;
    publish(&world, dial_plan("world", 1, "2020-01-01")).await.unwrap();
    let tax = "# turnpike-table id=world kind=tax version=2 starts=2026-04-01\nplace,tax,rate\nUS,federal,3\n";
    let words = ["world version 2", "kind tax", "dial-plan", "another id"];
    refused(publish(&world, tax.to_owned()).await, Code::FailedPrecondition, &words);
}

#[tokio::test(start_paused = true)]
async fn an_absent_table_is_reported_as_missing() {
    let world = world().await;
    publish(&world, dial_plan("world", 1, "2020-01-01")).await.unwrap();
    refused(get(&world, "", 0).await, Code::InvalidArgument, &["table_id"]);
    refused(get(&world, "moon", 0).await, Code::NotFound, &["no table moon"]);
    refused(get(&world, "world", 7).await, Code::NotFound, &["table world has no version 7"]);
    assert!(list(&world, "moon").await.is_empty());
}

/// A table of 32 MiB is sent in both directions. The transport accepts more, so that a larger table
/// gets the front's own refusal.
#[tokio::test(start_paused = true)]
async fn the_largest_table_is_stored_and_returned_and_a_larger_one_is_refused_by_its_size() {
    let world = world().await;
    let table = dial_plan("world", 1, "2020-01-01");
    let padding = "# a comment that costs its reader little\n";
    let mut text = table.clone() + &padding.repeat((TABLE_BYTES_MAX - table.len()) / padding.len());
    text.push_str(&"\n".repeat(TABLE_BYTES_MAX - text.len()));
    assert_eq!(publish(&world, text.clone()).await.unwrap().table.unwrap().rows, 2);
    let mut plans = world.plans().max_decoding_message_size(MESSAGE_BYTES_MAX);
    let request = GetTableRequest { table_id: "world".to_owned(), version: 0 };
    let found = plans.get_table(request).await.unwrap().into_inner();
    assert!(found.text == text, "{} bytes came back", found.text.len());
    let larger = publish(&world, text + "\n").await;
    refused(larger, Code::InvalidArgument, &["33554433 bytes", "33554432"]);
}
