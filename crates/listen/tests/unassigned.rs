//! Requests that need no role, such as of health and reflection: they take a small part of the
//! memory, and their connections make way for others.

use std::time::Duration;

use tonic::Code;
use turnpike_listen::MemoryPart;

use crate::support::{
    Call, Client, End, INGEST, MIB, SHOW, Server, WATCH, claim, config, message, until,
};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// Opens `count` requests of `path`, each with the bytes `part`. Returns those that stay open.
async fn opened(client: &Client, path: &str, part: &[u8], count: usize) -> Vec<Call> {
    let mut calls = Vec::new();
    for _ in 0..count {
        let mut call = client.open(path).await;
        drop(call.send(part, false).await);
        calls.push(call);
    }
    calls
}

async fn is_served(client: &Client, path: &str) -> End {
    let mut call = client.open(path).await;
    call.send(&message(1), true).await.unwrap();
    call.end().await.unwrap()
}

#[tokio::test]
async fn requests_that_need_no_role_leave_the_room_of_all_others() {
    for (path, part) in [(WATCH, message(1)), (CHECK, claim(1_000)), (REFLECTION, message(1))] {
        let server = Server::start(config(), 8 * MIB).await;
        let attacker = Client::connect(server.address).await;
        let calls = opened(&attacker, path, &part, 100).await;
        until("all have arrived", || server.echo.peers.lock().unwrap().len() == 100).await;
        let other = Client::connect(server.address).await;
        for path in [INGEST, SHOW] {
            let end = is_served(&other, path).await;
            assert_eq!(end.code, Code::Ok, "{path}: {end:?}");
        }
        drop(calls);
        until("everything is released", || server.budget.used(MemoryPart::Messages) == 0).await;
    }
}

#[tokio::test]
async fn a_request_that_needs_no_role_is_small() {
    let server = Server::start(config(), 64 * MIB).await;
    let client = Client::connect(server.address).await;
    for path in [WATCH, CHECK] {
        let mut call = client.open(path).await;
        call.send(&claim(1_025), false).await.unwrap();
        assert_eq!(call.end().await.unwrap().code, Code::OutOfRange, "{path}");
    }
}

#[tokio::test]
async fn a_connection_with_only_such_requests_makes_way_before_an_idle_one() {
    let mut config = config();
    config.connections_max = 4;
    let server = Server::start(config, 64 * MIB).await;
    let honest = Client::connect(server.address).await;
    assert_eq!(is_served(&honest, INGEST).await.code, Code::Ok);
    let mut watching = Vec::new();
    for _ in 0..8 {
        let Ok(client) = Client::try_connect(server.address).await else { continue };
        let Ok(mut call) = client.try_open(WATCH).await else { continue };
        drop(call.send(&message(1), false).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
        watching.push((client, call));
    }
    let other = Client::connect(server.address).await;
    assert_eq!(is_served(&other, INGEST).await.code, Code::Ok);
    let call = honest.try_open(INGEST).await;
    assert!(call.is_ok(), "the connection that was served before is still open");
}

#[tokio::test]
async fn a_stream_that_needs_no_role_ends_after_a_bounded_time() {
    let mut config = config();
    config.deadlines.unassigned = Duration::from_millis(100);
    let server = Server::start(config, 64 * MIB).await;
    let client = Client::connect(server.address).await;
    let mut patient = client.open(INGEST).await;
    patient.send(&message(1), false).await.unwrap();
    patient.answers(1).await;
    let mut call = client.open(WATCH).await;
    call.send(&message(1), true).await.unwrap();
    assert_eq!(call.end().await.unwrap().code, Code::Unavailable);
    patient.send(&message(1), true).await.unwrap();
    patient.answers(1).await;
    assert_eq!(patient.end().await.unwrap().code, Code::Ok);
}
