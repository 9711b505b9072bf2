//! The protocol as specified holds in every state of each configuration.

use protocol_model::check::holds;
use protocol_model::model::Protocol;

#[test]
fn clients_retry_owners_crash_statements_come_late_and_the_surviving_members_serve() {
    holds("retries", Protocol { faults: 2, checks_healing: true, ..Protocol::small() });
}

#[test]
fn three_nodes_claim_from_each_other() {
    holds("three nodes", Protocol { nodes: 3, ..Protocol::small() });
}

#[test]
fn requests_come_through_a_front_without_routes() {
    holds("questions", Protocol { fronts: 2, questions: 1, ..Protocol::small() });
}

#[test]
fn replies_to_clients_take_their_time() {
    let protocol = Protocol { questions: 1, slow_replies: true, ..Protocol::small() };
    holds("slow replies", Protocol { records: 2, sendings: 1, ..protocol });
}

#[test]
fn answers_of_the_database_take_their_time() {
    holds("slow answers", Protocol { slow_answers: true, ..Protocol::small() });
}

#[test]
fn nodes_keep_what_they_read_and_hand_over() {
    let warm = Protocol { keeps_copy: true, hands_over: true, ..Protocol::small() };
    holds("warm", Protocol { has_consumer: true, ..warm });
}

#[test]
fn history_rolls_back() {
    holds("failover", failover());
    let retried = Protocol { sendings: 2, questions: 0, faults: 0, ..failover() };
    holds("failover, retries", retried);
}

fn failover() -> Protocol {
    Protocol {
        keeps_copy: true,
        failovers: 1,
        has_consumer: true,
        questions: 1,
        sendings: 1,
        ..Protocol::small()
    }
}

#[test]
fn the_surviving_members_serve_after_a_failover_too() {
    let protocol =
        Protocol { checks_healing: true, has_consumer: false, questions: 0, ..failover() };
    holds("healing after failover", protocol);
}
