//! Alternatives of an option, through a rating node: taken, shown, and replayed from the log
//! (docs/plan-semantics.md section 6).
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use crate::support;

use support::{
    OCTETS, checkpoints, config, create_partition, database, log, publish, replay, start,
};
use turnpike_account::PartitionState;
use turnpike_node::NodeConfig;
use turnpike_proto::account::v1::account_command::Command;
use turnpike_proto::account::v1::{
    AccountCommand, AccountOutcome, AccountResult, Offer, OptOut, Pick,
};
use turnpike_proto::node::v1::{NodeApplyRequest, NodeShowRequest};

const ACCOUNT: u64 = 7;
/// 2024-06-01, in microseconds.
const JUNE: i64 = 1_717_200_000_000_000;

fn offer(plans: &[&str], fee: &str) -> Command {
    Command::Offer(Offer {
        option: "phone".to_owned(),
        plan_ids: plans.iter().map(|&plan| plan.to_owned()).collect(),
        fee: fee.to_owned(),
        from_us: 0,
        priority: 2,
    })
}

fn pick(plan: &str, cycle: &str) -> Command {
    let (option, plan_id) = ("phone".to_owned(), plan.to_owned());
    Command::Pick(Pick { option, plan_id, cycle: cycle.to_owned() })
}

async fn apply(node: &mut support::Running, commands: Vec<Command>) -> Vec<AccountResult> {
    let commands = commands.into_iter().map(|command| AccountCommand {
        account_number: ACCOUNT,
        command: Some(command),
        identities: Vec::new(),
    });
    let request = NodeApplyRequest { partition: 1, commands: commands.collect() };
    node.client.apply(request).await.unwrap().into_inner().results
}

#[tokio::test(start_paused = true)]
async fn alternatives_are_offered_picked_and_opted_out_of_and_i4_a_replay_gives_the_same_state() {
    let db = database();
    create_partition(db.as_ref()).await;
    publish(db.as_ref(), OCTETS).await;
    // Published, but not started: none of their charges falls due during the test.
    for id in ["small", "large", "huge"] {
        let plan = OCTETS.replace("id=\"octets\"", &format!("id=\"{id}\""));
        publish(db.as_ref(), &plan.replace("2020-01-01", "2199-01-01")).await;
    }
    let eager = NodeConfig { checkpoint_log_bytes: 1, ..config("a") };
    let mut node = start(eager, &db).await;
    node.open_account(ACCOUNT).await;
    let opt_out = Command::OptOut(OptOut {
        option: "phone".to_owned(),
        plan_id: "large".to_owned(),
        at_us: JUNE,
    });
    let results = apply(
        &mut node,
        vec![
            offer(&["small", "large"], "2.5"),
            offer(&["small", "large"], "2.50"),
            offer(&["octets", "huge"], ""),
            offer(&["small", "small"], ""),
            pick("large", "2024-05-01"),
            pick("large", "2024-05-02"),
            pick("large", "soon"),
            opt_out,
        ],
    )
    .await;
    let (applied, refused) = (AccountOutcome::Applied, AccountOutcome::Refused);
    let outcomes: Vec<_> = results.iter().map(AccountResult::outcome).collect();
    let already = AccountOutcome::Already;
    assert_eq!(
        outcomes,
        [applied, already, refused, refused, applied, refused, refused, applied],
        "{results:?}"
    );
    let request = NodeShowRequest { partition: 1, account_number: ACCOUNT };
    let shown = node.client.show(request).await.unwrap().into_inner().account.unwrap();
    let subscriptions: Vec<_> = shown
        .subscriptions
        .iter()
        .map(|s| (s.plan_id.as_str(), s.option.as_str(), s.fee.as_str(), s.until_us))
        .collect();
    assert_eq!(
        subscriptions,
        [
            ("small", "phone", "2.500000000", Some(JUNE)),
            ("large", "phone", "2.500000000", Some(JUNE)),
            ("large", "", "", None),
            ("octets", "", "", None),
        ]
    );
    assert_eq!(shown.variables[0].period, "2024-05-01");
    // Checkpoints are taken from the live state.
    let rows = log(db.as_ref()).await;
    let told = replay(PartitionState::default(), &rows);
    for _ in 0..400 {
        for state in checkpoints(db.as_ref()).await {
            let reaches_the_end = state.last() == told.last();
            assert_eq!(replay(state, &rows).encode(), told.encode());
            if reaches_the_end {
                return;
            }
        }
        tokio::time::sleep(support::HEARTBEAT).await;
    }
    panic!("no checkpoint covers the whole log");
}
