//! Pulling with acknowledgement.

use std::time::Duration;

use tonic::Code;
use turnpike_client::{ClientError, FeedConsumer};

use crate::support::{Faults, LINES, World};

const LIMIT: Duration = Duration::from_secs(30);

async fn consumer(world: &World, name: &str) -> FeedConsumer {
    let fronts = world.fronts(&["f1:1"], LIMIT).await;
    FeedConsumer::register(fronts, name).await.unwrap()
}

/// The rows that a pull delivers; acknowledges the first `acknowledged` pages.
async fn rows(consumer: &mut FeedConsumer, acknowledged: usize) -> Vec<u64> {
    let mut pages = consumer.pull(0, 0).await.unwrap();
    let (mut rows, mut count) = (Vec::new(), 0);
    while let Some(page) = pages.next_page().await.unwrap() {
        rows.extend(page.lines.iter().map(|line| line.row));
        count += 1;
        if count <= acknowledged {
            consumer.acknowledge(&page).await.unwrap();
            // A second acknowledgement of the same page changes nothing.
            consumer.acknowledge(&page).await.unwrap();
        }
    }
    rows
}

/// P38: lines that were not acknowledged are delivered again, acknowledged ones are not.
#[tokio::test(start_paused = true)]
async fn p38_a_pull_continues_after_the_acknowledged_page() {
    let world = World::new(1);
    world.start("f1:1", Faults::default());
    let mut first = consumer(&world, "billing").await;
    assert_eq!(rows(&mut first, 1).await, (0..LINES).collect::<Vec<_>>());
    assert_eq!(first.cursors()[&1].row, 3);
    drop(first);
    let mut second = consumer(&world, "billing").await;
    assert_eq!(rows(&mut second, 9).await, (3..LINES).collect::<Vec<_>>());
    assert_eq!(rows(&mut second, 9).await, Vec::<u64>::new());
}

#[tokio::test(start_paused = true)]
async fn two_processes_with_one_name_are_told() {
    let world = World::new(1);
    world.start("f1:1", Faults::default());
    let (mut one, mut other) =
        (consumer(&world, "billing").await, consumer(&world, "billing").await);
    let mut pages = other.pull(0, 0).await.unwrap();
    let page = pages.next_page().await.unwrap().unwrap();
    rows(&mut one, 1).await;
    let error = other.acknowledge(&page).await.unwrap_err();
    assert!(matches!(error, ClientError::Overtaken { partition: 1, .. }), "{error}");
    rows(&mut one, 1).await;
    let error = other.acknowledge(&page).await.unwrap_err();
    let is_aborted = matches!(&error, ClientError::Refused { code: Code::Aborted, .. });
    assert!(is_aborted, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_no_front_accepts_is_refused_before_the_call() {
    let world = World::new(1);
    for name in ["", "two words", &"x".repeat(129)] {
        let fronts = world.fronts(&["f1:1"], LIMIT).await;
        let error = FeedConsumer::register(fronts, name).await.unwrap_err();
        assert!(matches!(error, ClientError::BadConsumer { .. }), "{error}");
    }
}
