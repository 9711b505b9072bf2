//! Changes of single settings, through a rating node; and one identity in two spellings.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

// Some helpers are used by other tests only.
#[allow(dead_code)]
use crate::support;

use support::{OCTETS, config, create_partition, database, log, octets, publish, replay, start};
use turnpike_account::PartitionState;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, AccountResult, AmendSettings, Cancel, ChangeSettings,
    DatedSettings, OpenAccount, Settings, Subscribe,
};
use turnpike_proto::node::v1::{NodeApplyRequest, NodeShowRequest};
use turnpike_types::{AccountNumber, UsageRecord};

const ACCOUNT: u64 = 7;
/// 2024-06-01 and 2024-07-01, in microseconds.
const JUNE: i64 = 1_717_200_000_000_000;
const JULY: i64 = 1_719_792_000_000_000;

async fn apply(node: &mut support::Running, account: u64, command: Command) -> AccountResult {
    let command =
        AccountCommand { account_number: account, command: Some(command), identities: Vec::new() };
    loop {
        let commands = vec![command.clone()];
        let request = NodeApplyRequest { partition: 1, commands };
        let result = node.client.apply(request).await.unwrap().into_inner().results.remove(0);
        if result.outcome() != AccountOutcome::Retry {
            return result;
        }
        // The owner has just read the catalogue, and reads it again after a pause.
        tokio::time::sleep(support::HEARTBEAT).await;
    }
}

async fn amend(node: &mut support::Running, from_us: i64, asked: AmendSettings) -> AccountResult {
    apply(node, ACCOUNT, Command::AmendSettings(AmendSettings { from_us, ..asked })).await
}

async fn shown(node: &mut support::Running) -> Vec<DatedSettings> {
    let request = NodeShowRequest { partition: 1, account_number: ACCOUNT };
    node.client.show(request).await.unwrap().into_inner().account.unwrap().settings
}

fn gold() -> AmendSettings {
    let attributes = [("level", "gold"), ("region", "")];
    let attributes = attributes.map(|(name, text)| (name.to_owned(), text.to_owned()));
    AmendSettings { attributes: attributes.into(), ..AmendSettings::default() }
}

fn currency(code: &str) -> AmendSettings {
    AmendSettings { currency: Some(code.to_owned()), ..AmendSettings::default() }
}

fn removing(names: &[&str]) -> AmendSettings {
    let removed_attributes = names.iter().map(|name| (*name).to_owned()).collect();
    AmendSettings { removed_attributes, ..AmendSettings::default() }
}

/// Ends the subscription of the account.
async fn unsubscribe(node: &mut support::Running, at_us: i64) {
    let cancel = Command::Cancel(Cancel { plan_id: "octets".to_owned(), at_us });
    let result = apply(node, ACCOUNT, cancel).await;
    assert_eq!(result.outcome(), AccountOutcome::Applied, "{}", result.message);
}

async fn running() -> (std::sync::Arc<dyn turnpike_store::SharedDatabase>, support::Running) {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    let mut node = start(config("a"), &db).await;
    node.open_account(ACCOUNT).await;
    (db, node)
}

#[tokio::test(start_paused = true)]
async fn only_the_named_settings_change_and_i4_a_replay_gives_the_same_state() {
    let (db, mut node) = running().await;
    // A plan in the former currency would refuse the change to the other.
    unsubscribe(&mut node, JUNE).await;
    let (applied, already) = (AccountOutcome::Applied, AccountOutcome::Already);
    let zone = AmendSettings { zone: Some("Asia/Tokyo".to_owned()), ..AmendSettings::default() };
    let cycle_day = AmendSettings { cycle_day: Some(15), ..AmendSettings::default() };
    for (from, asked, outcome) in [
        (JUNE, gold(), applied),
        (JUNE, gold(), already),
        (JUNE, currency("CHF"), applied),
        (JULY, zone, applied),
        (JULY + 1, cycle_day, applied),
        // This value is already in force at that instant.
        (JULY, currency("CHF"), already),
    ] {
        let result = amend(&mut node, from, asked.clone()).await;
        assert_eq!(result.outcome(), outcome, "{asked:?}: {}", result.message);
    }
    let remove = removing(&["region"]);
    assert_eq!(amend(&mut node, JULY + 2, remove.clone()).await.outcome(), applied);
    assert_eq!(amend(&mut node, JULY + 2, remove).await.outcome(), already);
    let settings = |zone: &str, cycle_day, currency: &str, attributes: &[(&str, &str)]| {
        let attributes = attributes.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned()));
        let (zone, currency) = (zone.to_owned(), currency.to_owned());
        Settings { zone, cycle_day, currency, attributes: attributes.collect() }
    };
    let both: &[(&str, &str)] = &[("level", "gold"), ("region", "")];
    let expected = [
        (i64::MIN, settings("UTC", 1, "USD", &[])),
        (JUNE, settings("UTC", 1, "USD", both)),
        (JUNE, settings("UTC", 1, "CHF", both)),
        (JULY, settings("Asia/Tokyo", 1, "CHF", both)),
        (JULY + 1, settings("Asia/Tokyo", 15, "CHF", both)),
        (JULY + 2, settings("Asia/Tokyo", 15, "CHF", &both[..1])),
    ];
    let found: Vec<(i64, Settings)> = shown(&mut node)
        .await
        .into_iter()
        .map(|dated| (dated.from_us, dated.settings.unwrap()))
        .collect();
    assert_eq!(found, expected);
    drop(node);
    let state = replay(PartitionState::default(), &log(db.as_ref()).await);
    let account = state.account(turnpike_types::AccountNumber(ACCOUNT)).unwrap();
    let profile = state.profiles().get(account.profile).unwrap();
    assert_eq!(profile.settings.len(), expected.len());
    let at_june = profile.settings_at(turnpike_types::Timestamp(JUNE)).unwrap();
    assert_eq!(at_june.currency, "CHF", "of two changes at one instant the last one counts");
}

#[tokio::test(start_paused = true)]
async fn an_impossible_change_is_refused_with_the_reason() {
    let (_db, mut node) = running().await;
    unsubscribe(&mut node, JUNE).await;
    amend(&mut node, JULY, currency("CHF")).await;
    let early = amend(&mut node, JUNE, currency("EUR")).await;
    assert_eq!(early.outcome(), AccountOutcome::Refused);
    assert!(early.message.contains("2024-07-01T00:00:00Z"), "{}", early.message);
    let zone = AmendSettings { zone: Some("Atlantis".to_owned()), ..AmendSettings::default() };
    let cycle_day = AmendSettings { cycle_day: Some(0), ..AmendSettings::default() };
    let both = AmendSettings { removed_attributes: vec!["level".to_owned()], ..gold() };
    for (asked, word) in [
        (AmendSettings::default(), "no setting is named"),
        (zone, "Atlantis"),
        (cycle_day, "cycle day"),
        (currency("francs"), "francs"),
        (both, "set and removed"),
    ] {
        let result = amend(&mut node, JULY, asked).await;
        assert_eq!(result.outcome(), AccountOutcome::Refused);
        assert!(result.message.contains(word), "{}", result.message);
    }
    let ever = amend(&mut node, i64::MIN, currency("EUR")).await;
    assert_eq!(ever.outcome(), AccountOutcome::Refused);
    let unopened = Command::AmendSettings(AmendSettings { from_us: JULY, ..gold() });
    let unopened = apply(&mut node, 8, unopened).await;
    assert!(unopened.message.contains("not open"), "{}", unopened.message);
    assert_eq!(shown(&mut node).await.len(), 2, "the refused changes are not applied");
}

/// An attribute that was never set is most likely misspelt.
#[tokio::test(start_paused = true)]
async fn an_attribute_that_the_account_does_not_have_is_not_removed() {
    let (_db, mut node) = running().await;
    amend(&mut node, JUNE, gold()).await;
    for (asked, has) in [(&["levle"][..], "level, region"), (&["level", "never-set"], "level")] {
        let result = amend(&mut node, JULY, removing(asked)).await;
        assert_eq!(result.outcome(), AccountOutcome::Refused, "{asked:?}");
        for word in ["no attribute", asked.last().unwrap(), has] {
            assert!(result.message.contains(word), "{word:?} is not in {:?}", result.message);
        }
    }
    assert_eq!(shown(&mut node).await.len(), 2, "the refused changes are not applied");
    let both = AmendSettings { cycle_day: Some(9), ..removing(&["level"]) };
    assert_eq!(amend(&mut node, JULY, both.clone()).await.outcome(), AccountOutcome::Applied);
    for again in [both, removing(&["level"])] {
        let result = amend(&mut node, JULY, again).await;
        assert_eq!(result.outcome(), AccountOutcome::Already, "{}", result.message);
    }
    // At a later instant the attribute is not in force any more, so there is nothing to remove.
    let late = amend(&mut node, JULY + 1, removing(&["level"])).await;
    assert_eq!(late.outcome(), AccountOutcome::Refused);
}

/// Otherwise usage from then on would be suspended as `currency-mismatch`, and fees would not be
/// booked.
#[tokio::test(start_paused = true)]
async fn the_currency_does_not_change_under_a_plan_in_another() {
    let (_db, mut node) = running().await;
    let whole = |currency: &str| {
        let currency = currency.to_owned();
        let settings =
            Settings { zone: "UTC".to_owned(), cycle_day: 1, currency, ..Settings::default() };
        Command::ChangeSettings(ChangeSettings { settings: Some(settings), from_us: JUNE })
    };
    let named = |from_us| Command::AmendSettings(AmendSettings { from_us, ..currency("CHF") });
    for command in [named(JUNE), named(JULY), whole("CHF")] {
        let result = apply(&mut node, ACCOUNT, command).await;
        assert_eq!(result.outcome(), AccountOutcome::Refused, "{}", result.message);
        for word in ["octets", "posts in USD", "CHF", "cancel"] {
            assert!(result.message.contains(word), "{word:?} is not in {:?}", result.message);
        }
    }
    // Other settings change as before.
    let zone = AmendSettings { zone: Some("Asia/Tokyo".to_owned()), ..AmendSettings::default() };
    assert_eq!(amend(&mut node, JUNE, zone).await.outcome(), AccountOutcome::Applied);
    // A plan that begins later counts too; one that has ended by then does not.
    unsubscribe(&mut node, JULY).await;
    let later = |from_us| {
        let plan_id = "octets".to_owned();
        Command::Subscribe(Subscribe { plan_id, from_us, priority: 1, ..Subscribe::default() })
    };
    let subscribed = apply(&mut node, ACCOUNT, later(JULY + 5)).await;
    assert_eq!(subscribed.outcome(), AccountOutcome::Applied, "{}", subscribed.message);
    assert_eq!(amend(&mut node, JULY, currency("CHF")).await.outcome(), AccountOutcome::Refused);
    unsubscribe(&mut node, JULY + 6).await;
    assert_eq!(
        amend(&mut node, JULY + 5, currency("CHF")).await.outcome(),
        AccountOutcome::Refused
    );
    let after = amend(&mut node, JULY + 6, currency("CHF")).await;
    assert_eq!(after.outcome(), AccountOutcome::Applied, "{}", after.message);
}

/// Two clients that choose the same free number must not both get it.
#[tokio::test(start_paused = true)]
async fn an_account_that_must_be_new_is_opened_once() {
    use AccountOutcome::{Already, Applied, Refused};
    let (_db, mut node) = running().await;
    let settings = Settings {
        zone: "UTC".to_owned(),
        cycle_day: 1,
        currency: "USD".to_owned(),
        ..Settings::default()
    };
    let open = |must_be_new| {
        let settings = Some(settings.clone());
        Command::Open(OpenAccount { settings, must_be_new, ..OpenAccount::default() })
    };
    for (account, must_be_new, outcome) in
        [(9, true, Applied), (9, true, Refused), (9, false, Already), (ACCOUNT, true, Refused)]
    {
        let result = apply(&mut node, account, open(must_be_new)).await;
        assert_eq!(result.outcome(), outcome, "{account}: {}", result.message);
        assert_eq!(
            outcome == Refused,
            result.message.contains("open already"),
            "{}",
            result.message
        );
    }
}

/// A request that is sent again because its answer was lost ends as if it had been answered, also
/// by the next owner. Another request for the number stays refused.
#[tokio::test(start_paused = true)]
async fn an_opening_that_is_sent_again_is_recognised() {
    use AccountOutcome::{Applied, Refused};
    let (db, mut node) = running().await;
    let settings = Settings {
        zone: "UTC".to_owned(),
        cycle_day: 1,
        currency: "USD".to_owned(),
        ..Settings::default()
    };
    let open = |request_id| {
        let settings = Some(settings.clone());
        Command::Open(OpenAccount { settings, must_be_new: true, request_id })
    };
    for (account, request_id, outcome) in [
        (9, 77, Applied),
        (9, 77, Applied),
        (9, 78, Refused),
        (9, 0, Refused),
        (10, 77, Applied),
        (ACCOUNT, 77, Refused),
        (11, 0, Applied),
        (11, 0, Refused),
    ] {
        let result = apply(&mut node, account, open(request_id)).await;
        assert_eq!(result.outcome(), outcome, "{account} {request_id}: {}", result.message);
    }
    let rows = log(db.as_ref()).await;
    let state = replay(PartitionState::default(), &rows);
    let known = |account, request_id| state.was_opened_by(AccountNumber(account), request_id);
    assert!(known(9, 77) && known(10, 77));
    assert!(!known(9, 78) && !known(9, 0) && !known(11, 0) && !known(ACCOUNT, 77));
}

#[tokio::test(start_paused = true)]
async fn a_currency_that_iso_4217_does_not_list_is_refused() {
    let (_db, mut node) = running().await;
    unsubscribe(&mut node, JUNE).await;
    let settings = Settings {
        zone: "UTC".to_owned(),
        cycle_day: 1,
        currency: "ZZZ".to_owned(),
        ..Settings::default()
    };
    let open =
        Command::Open(OpenAccount { settings: Some(settings.clone()), ..OpenAccount::default() });
    let whole = ChangeSettings { settings: Some(settings), from_us: JUNE };
    for result in [
        apply(&mut node, 8, open).await,
        apply(&mut node, ACCOUNT, Command::ChangeSettings(whole)).await,
        amend(&mut node, JUNE, currency("XXX")).await,
    ] {
        assert_eq!(result.outcome(), AccountOutcome::Refused);
        assert!(result.message.contains("ISO 4217"), "{}", result.message);
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_is_not_subscribed_is_not_cancelled() {
    let (_db, mut node) = running().await;
    let cancel = |plan: &str, at_us| Command::Cancel(Cancel { plan_id: plan.to_owned(), at_us });
    let other = apply(&mut node, ACCOUNT, cancel("unheard-of", JULY)).await;
    assert_eq!(other.outcome(), AccountOutcome::Refused);
    assert!(other.message.contains("unheard-of"), "{}", other.message);
    let never = apply(&mut node, ACCOUNT, cancel("octets", i64::MAX)).await;
    assert_eq!(never.outcome(), AccountOutcome::Refused, "a cancellation needs an end");
    let unopened = apply(&mut node, 8, cancel("octets", JULY)).await;
    assert_eq!(unopened.outcome(), AccountOutcome::Refused);
    let done = apply(&mut node, ACCOUNT, cancel("octets", JULY)).await;
    assert_eq!(done.outcome(), AccountOutcome::Applied);
}

#[tokio::test(start_paused = true)]
async fn p27_a_record_sent_again_in_another_spelling_of_its_identity_is_a_duplicate() {
    let (_db, mut node) = running().await;
    let spelled =
        |identity: &str| UsageRecord { identity: identity.to_owned(), ..octets(ACCOUNT, "r0", 5) };
    assert_eq!(node.send(&[spelled("ip:2001:DB8:0::1")]).await.accepted, 1);
    for identity in ["ip:2001:db8::1", "ip:2001:DB8:0::1", "ip:2001:0db8::0001"] {
        let answer = node.send(&[spelled(identity)]).await;
        assert_eq!(answer.duplicates, [0], "{identity}: {answer:?}");
    }
    let other = node.send(&[spelled("ip:2001:db8::2")]).await;
    assert_eq!(other.exceptions[0].reason, "conflict", "another address is different content");
}
