//! Publishing price plans through a front.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::world;

use std::sync::Arc;

use tonic::{Code, Status};
use turnpike_proto::plan::v1::{ListRequest, PublishRequest, PublishResponse, PublishTableRequest};
use turnpike_store::StoreIncarnation;
use turnpike_store::memory::MemoryDatabase;
use turnpike_types::Timestamp;
use turnpike_types::limits::{EXAMPLES_BYTES_MAX, PLAN_XML_BYTES_MAX};
use world::{World, config};

/// 2026-03-10T12:00:00Z: the 11th has begun at UTC+14, the 12th nowhere.
const NOW: Timestamp = Timestamp(1_773_144_000_000_000);

async fn world() -> World {
    let db = MemoryDatabase::with_clock(Arc::new(|| NOW), StoreIncarnation(1));
    World::over(db, config(), 1).await
}

fn xml(version: u32, starts: &str, price: &str) -> String {
    format!(
        r#"<plan xmlns="urn:turnpike:plan:1" id="octets" version="{version}" starts="{starts}" currency="USD">
  <graph>
    <UsageTypeSelector id="data" in="record.quantity" types="octets"/>
    <StepRater id="rate" in="data.pass">
      <step id="all" price="{price}" per="1 kB"/>
    </StepRater>
    <AccountFinalizer id="post" in="rate.charge"/>
  </graph>
</plan>"#
    )
}

async fn publish(world: &World, xml: String) -> Result<PublishResponse, Status> {
    world
        .plans()
        .publish(PublishRequest { xml, ..Default::default() })
        .await
        .map(tonic::Response::into_inner)
}

/// Asserts that a refusal has this code and contains all `words`.
fn refused(answer: Result<PublishResponse, Status>, code: Code, words: &[&str]) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{}", status.message());
    for word in words {
        assert!(status.message().contains(word), "{word:?} is not in {:?}", status.message());
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_cannot_be_right_is_refused() {
    let world = world().await;
    let answer = publish(&world, "<plan id=\"x\"/>".to_owned()).await;
    refused(answer, Code::InvalidArgument, &["line 1"]);
}

#[tokio::test(start_paused = true)]
async fn more_xml_than_the_limit_is_refused_by_its_size() {
    let world = world().await;
    let plan = xml(1, "2026-01-01", "0.05");
    let padded = |bytes: usize| format!("{plan}{}", " ".repeat(bytes - plan.len()));
    let answer = publish(&world, padded(PLAN_XML_BYTES_MAX + 1)).await;
    refused(answer, Code::InvalidArgument, &["1048577 bytes", "1048576"]);
    assert!(publish(&world, padded(PLAN_XML_BYTES_MAX)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn more_examples_than_the_limit_are_refused_by_their_size() {
    let world = world().await;
    let xml = xml(1, "2026-01-01", "0.05");
    let half = vec![b'x'; EXAMPLES_BYTES_MAX / 2 + 1];
    let files = ["usage.csv", "lines.csv"].map(|name| (name.to_owned(), half.clone().into()));
    let request = PublishRequest { xml, files: files.into() };
    let answer = world.plans().publish(request).await.map(tonic::Response::into_inner);
    refused(answer, Code::InvalidArgument, &["1048578 bytes", "1048576"]);
}

#[tokio::test(start_paused = true)]
async fn the_first_version_starts_on_any_date_and_the_same_content_is_there_already() {
    let world = world().await;
    let first = publish(&world, xml(1, "2000-01-01", "0.05")).await.unwrap();
    assert!(!first.already);
    let plan = first.plan.unwrap();
    assert_eq!((plan.plan_id.as_str(), plan.version, plan.catalogue_version), ("octets", 1, 1));
    assert_eq!((plan.starts.as_str(), plan.currency.as_str()), ("2000-01-01", "USD"));
    assert_eq!(plan.published_at_us, NOW.micros());
    let again = publish(&world, xml(1, "2000-01-01", "0.05")).await.unwrap();
    assert!(again.already);
    assert_eq!(again.plan.unwrap(), plan);
    // A version may be published again also after other versions were published.
    publish(&world, xml(2, "2026-04-01", "0.06")).await.unwrap();
    assert!(publish(&world, xml(1, "2000-01-01", "0.05")).await.unwrap().already);
    let listed = world.plans().list(ListRequest::default()).await.unwrap().into_inner();
    let versions: Vec<u32> = listed.plans.iter().map(|plan| plan.version).collect();
    assert_eq!(versions, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_version_is_immutable_and_may_share_its_start_only_with_one_that_it_supersedes() {
    let world = world().await;
    publish(&world, xml(1, "2026-04-01", "0.05")).await.unwrap();
    let other = publish(&world, xml(1, "2026-04-01", "0.06")).await;
    refused(other, Code::FailedPrecondition, &["immutable", "next version"]);
    // The same version with other content is refused as immutable, with any start.
    let other = publish(&world, xml(1, "2026-01-01", "0.06")).await;
    refused(other, Code::FailedPrecondition, &["immutable"]);
    let same = publish(&world, xml(2, "2026-04-01", "0.06")).await;
    refused(same, Code::AlreadyExists, &["version 1", "supersedes=\"1\""]);
    let superseding =
        xml(2, "2026-04-01", "0.06").replace("version=\"2\"", "version=\"2\" supersedes=\"1\"");
    assert!(publish(&world, superseding).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn p36_a_further_version_can_not_start_on_a_date_that_has_begun_anywhere() {
    let world = world().await;
    publish(&world, xml(1, "2026-01-01", "0.05")).await.unwrap();
    for starts in ["2026-01-01", "2026-02-01", "2026-03-10", "2026-03-11"] {
        let words = [starts, "has begun", "version 1 has already rated", "2026-03-12"];
        refused(publish(&world, xml(2, starts, "0.06")).await, Code::FailedPrecondition, &words);
    }
    let early = publish(&world, xml(2, "2025-12-31", "0.06")).await;
    refused(early, Code::FailedPrecondition, &["has begun", "2026-03-12"]);
    publish(&world, xml(2, "2026-03-12", "0.06")).await.unwrap();
    // Of several versions, the message names the one in force at that date.
    publish(&world, xml(3, "2026-05-01", "0.07")).await.unwrap();
    let late = publish(&world, xml(4, "2026-03-11", "0.08")).await;
    refused(late, Code::FailedPrecondition, &["version 1 has already rated records"]);
    let unheard = xml(1, "2000-01-01", "0.05").replace("\"octets\" version", "\"other\" version");
    assert!(publish(&world, unheard).await.is_ok(), "another plan's first version");
}

/// Accounts are billed in the currency of the version to which they subscribed.
#[tokio::test(start_paused = true)]
async fn a_version_in_another_currency_is_refused() {
    let world = world().await;
    publish(&world, xml(1, "2026-01-01", "0.05")).await.unwrap();
    let euro = |version, starts: &str| xml(version, starts, "0.05").replace("USD", "EUR");
    for (version, starts) in [(2, "2026-04-01"), (7, "2199-01-01")] {
        let words =
            ["posts in EUR", "version 1 posts in USD", starts, "currency-mismatch", "another id"];
        refused(publish(&world, euro(version, starts)).await, Code::FailedPrecondition, &words);
    }
    // The same id and version with other content is refused as immutable.
    let other = publish(&world, euro(1, "2026-04-01")).await;
    refused(other, Code::FailedPrecondition, &["immutable"]);
    let listed = world.plans().list(ListRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.plans.len(), 1);
    let elsewhere = euro(2, "2026-04-01").replace("\"octets\" version", "\"octets-eur\" version");
    assert!(publish(&world, elsewhere).await.unwrap().warnings.is_empty());
}

/// Accounts may be subscribed with values for the parameters of the preceding version.
#[tokio::test(start_paused = true)]
async fn a_parameter_that_is_gone_or_of_another_type_is_warned_of() {
    let world = world().await;
    let with = |version, starts: &str, parameters: &str| {
        xml(version, starts, "0.05").replace("<graph>", &format!("{parameters}<graph>"))
    };
    let both = "<parameter id=\"tier\" type=\"text\" value=\"a\"/>\
                <parameter id=\"most\" type=\"count\" value=\"5\"/>";
    publish(&world, with(1, "2026-01-01", both)).await.unwrap();
    let same = publish(&world, with(2, "2026-04-01", both)).await.unwrap();
    assert!(!same.warnings.iter().any(|warning| warning.contains("subscribed")), "{same:?}");
    let one = "<parameter id=\"most\" type=\"money\" value=\"5.00\"/>";
    let less = publish(&world, with(3, "2026-05-01", one)).await.unwrap();
    for words in [
        "version 3 has no parameter \"tier\", and version 2 has it: from 2026-05-01 on",
        "parameter \"most\" of version 3 is of type money, and that of version 2 of type count",
    ] {
        assert!(less.warnings.iter().any(|warning| warning.contains(words)), "{words}: {less:?}");
    }
    // A version that starts between two others is compared with the one before it.
    let between = publish(&world, with(4, "2026-03-20", both)).await.unwrap();
    assert!(!between.warnings.iter().any(|warning| warning.contains("subscribed")), "{between:?}");
    // A version with the same content is in the catalogue already.
    assert!(publish(&world, with(3, "2026-05-01", one)).await.unwrap().already);
}

/// The plan with an example.
fn with_example(version: u32, starts: &str, example: &str) -> String {
    xml(version, starts, "1.00").replace("</plan>", &format!("{example}\n</plan>"))
}

fn inline(amount: &str) -> String {
    format!(
        r#"<example name="five octets">
  <record id="r1" type="octets" start="2026-04-01T00:00:00Z" quantity="5"/>
  <expect record="r1" component="all" quantity="5 B" amount="{amount}"/>
</example>"#
    )
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_fails_its_own_examples_is_refused() {
    let world = world().await;
    let wrong = publish(&world, with_example(1, "2026-01-01", &inline("0.006"))).await;
    refused(
        wrong,
        Code::InvalidArgument,
        &[
            "plan octets version 1 gives other results than its own examples",
            "five octets: line 11: record r1, component all: expected amount 0.006000000, found 0.005000000",
        ],
    );
    let listed = world.plans().list(ListRequest::default()).await.unwrap().into_inner();
    assert!(listed.plans.is_empty());
    let right = publish(&world, with_example(1, "2026-01-01", &inline("0.005"))).await.unwrap();
    assert_eq!(right.examples, ["five octets: ok, 1 record, 1 line"]);
}

/// Examples read tables from the catalogue. If a table is missing, the examples that read it fail.
#[tokio::test(start_paused = true)]
async fn examples_read_the_tables_of_the_catalogue() {
    let world = world().await;
    let calls = r#"<plan xmlns="urn:turnpike:plan:1" id="calls" version="1" starts="2026-01-01" currency="USD">
  <graph>
    <E164DialPlanRater id="dial" in="record.duration" table="world" country-code="44" international-prefix="00"/>
    <AccountFinalizer id="post" in="dial.charge"/>
  </graph>
  <example name="two minutes">
    <record id="r1" type="call" start="2026-04-01T00:00:00Z" duration="2 min" attribute.called="001 212 555 0100"/>
    <expect record="r1" component="call" amount="0.04"/>
  </example>
</plan>"#;
    let without = publish(&world, calls.to_owned()).await;
    refused(
        without,
        Code::InvalidArgument,
        &["expected amount 0.040000000, found suspended, no-table"],
    );
    let text = "# turnpike-table id=world kind=dial-plan version=1 starts=2026-01-01\n\
        prefix,destination,price,per\n1,US,0.02,1 min\n";
    let request = PublishTableRequest { text: text.to_owned() };
    world.plans().publish_table(request).await.unwrap();
    let with = publish(&world, calls.to_owned()).await.unwrap();
    assert_eq!(with.examples, ["two minutes: ok, 1 record, 1 line"]);
    assert!(!with.warnings.iter().any(|text| text.contains("no-table")), "{:?}", with.warnings);
    let (graph, rest) = calls.split_once("<example").unwrap();
    let misspelt = format!("{graph}</plan>").replace("\"world\"", "\"wrold\"");
    assert!(rest.ends_with("</plan>"));
    let told = publish(&world, misspelt.replace("id=\"calls\"", "id=\"others\"")).await.unwrap();
    let hint = |text: &String| text.contains("wrold") && text.contains("(did you mean world?)");
    assert!(told.warnings.iter().any(hint), "{:?}", told.warnings);
}

#[tokio::test(start_paused = true)]
async fn the_files_of_examples_are_published_with_the_plan() {
    let world = world().await;
    let by_files = r#"<example name="f" usage="usage.csv" expect="lines.csv"/>"#;
    let xml = with_example(1, "2026-01-01", by_files);
    let words = ["expected the file usage.csv, found none of that name beside the plan"];
    refused(publish(&world, xml.clone()).await, Code::InvalidArgument, &words);
    let usage = "record_id,account_number,usage_type,start_time,quantity\n\
        r1,7,octets,2026-04-01T00:00:00Z,5\n";
    let lines = "record_id,component,bytes,amount\nr1,all,5,0.005\n";
    let files = [("usage.csv", usage), ("lines.csv", lines)]
        .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec().into()));
    let request = PublishRequest { xml: xml.clone(), files: files.into() };
    let published = world.plans().publish(request).await.unwrap().into_inner();
    assert_eq!(published.examples, ["f: ok, 1 record, 1 line"]);
    // The published version has already passed its examples.
    let again = publish(&world, xml).await.unwrap();
    assert!(again.already && again.examples.is_empty());
}
