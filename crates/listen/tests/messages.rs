//! Messages: their size, their memory, their time.

use std::time::Duration;

use tonic::Code;
use turnpike_listen::MemoryPart;

use crate::support::{
    ANSWER_BYTES, Client, INGEST, MEMBER, MIB, SHORT_ANSWER_BYTES, SHOW, STATUS, Server, claim,
    config, message, until,
};

#[tokio::test]
async fn w1_a_claimed_length_takes_no_memory_and_others_are_served() {
    let server = Server::start(config(), 16 * MIB).await;
    let attacker = Client::connect(server.address).await;
    let mut calls = Vec::new();
    for _ in 0..60 {
        let mut call = attacker.open(INGEST).await;
        call.send(&[&claim(4 * MIB)[..], b"x"].concat(), false).await.unwrap();
        calls.push(call);
    }
    // 240 MiB are claimed, and the first 4 KiB of each message are taken.
    let used = || server.budget.used(MemoryPart::Messages);
    until("all prefixes have arrived", || used() == 60 * 4 * 1024).await;
    let other = Client::connect(server.address).await.named("b");
    let mut call = other.open(INGEST).await;
    call.send(&message(4 * MIB), false).await.unwrap();
    call.answers(1).await;
    drop((calls, call));
    until("everything is released", || used() == 0).await;
}

#[tokio::test]
async fn w1_large_messages_that_never_end_stay_within_their_memory_and_others_are_served() {
    const PUBLISH: &str = "/turnpike.plan.v1.PlanService/PublishTable";
    let server = Server::start(config(), 16 * MIB).await;
    let attacker = Client::connect(server.address).await;
    let mut calls = Vec::new();
    for _ in 0..20 {
        let mut call = attacker.open(PUBLISH).await;
        // An earlier message may be given up meanwhile, and this one refused.
        drop(call.send(&[&claim(32 * MIB)[..], &vec![1; 600 * 1024]].concat(), false).await);
        calls.push(call);
    }
    let messages = MemoryPart::Messages;
    assert!(server.budget.used(messages) > MIB);
    assert!(server.budget.used(messages) <= server.budget.max(messages));
    let other = Client::connect(server.address).await.named("b");
    let mut call = other.open(INGEST).await;
    call.send(&message(2 * MIB), true).await.unwrap();
    call.answers(1).await;
    assert_eq!(call.end().await.unwrap().code, Code::Ok);
    // A claim above the limit of the method is refused at its prefix.
    let mut call = other.open(PUBLISH).await;
    call.send(&claim(60 * MIB), false).await.unwrap();
    assert_eq!(call.end().await.unwrap().code, Code::OutOfRange);
}

#[tokio::test]
async fn w1_two_thousand_empty_streams_leave_room_for_others() {
    let server = Server::start(config(), 8 * MIB).await;
    let mut calls = Vec::new();
    for _ in 0..2 {
        let attacker = Client::connect(server.address).await;
        for _ in 0..1_000 {
            calls.push(attacker.open(INGEST).await);
        }
    }
    until("all have arrived", || server.echo.peers.lock().unwrap().len() == 2_000).await;
    assert_eq!(server.budget.used(MemoryPart::Requests), 30 * 16 * 1024);
    let mut call = Client::connect(server.address).await.named("b").open(INGEST).await;
    call.send(&message(1), true).await.unwrap();
    assert_eq!(call.end().await.unwrap().code, Code::Ok);
    drop(calls);
}

#[tokio::test]
async fn w1_requests_that_send_a_byte_at_a_time_end_at_their_deadline() {
    let mut config = config();
    config.deadlines.message = Duration::from_millis(300);
    let server = Server::start(config, 64 * MIB).await;
    let client = Client::connect(server.address).await;
    let mut calls = Vec::new();
    for at in 0..200 {
        let mut call = client.open(if at % 2 == 0 { INGEST } else { SHOW }).await;
        call.send(&claim(10_000), false).await.unwrap();
        calls.push(call);
    }
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        for call in &mut calls {
            // Fails once the request was refused.
            drop(call.send(&[1], false).await);
        }
    }
    for call in calls {
        assert_eq!(call.end().await.unwrap().code, Code::DeadlineExceeded);
    }
    assert_eq!(server.budget.used(MemoryPart::Messages), 0);
}

#[tokio::test]
async fn w1_open_streams_take_room_and_further_ones_are_refused() {
    // Nearly an eighth of 8 MiB is the room of 60 requests, of which one client gets half.
    let server = Server::start(config(), 8 * MIB).await;
    let client = Client::connect(server.address).await;
    let mut calls = Vec::new();
    for _ in 0..30 {
        let mut call = client.open(INGEST).await;
        call.send(&message(1), false).await.unwrap();
        call.answers(1).await;
        calls.push(call);
    }
    let end = client.open(INGEST).await.end().await.unwrap();
    assert_eq!((end.code, end.retry_after.as_deref()), (Code::ResourceExhausted, Some("1000")));
    // Another client has its share.
    let mut call = client.clone().named("b").open(INGEST).await;
    call.send(&message(1), true).await.unwrap();
    assert_eq!(call.end().await.unwrap().code, Code::Ok);
    // The open ones go on, and one that ends makes room.
    let mut last = calls.pop().unwrap();
    last.send(&message(1), true).await.unwrap();
    last.answers(1).await;
    assert_eq!(last.end().await.unwrap().code, Code::Ok);
    let mut call = client.open(INGEST).await;
    call.send(&message(1), true).await.unwrap();
    assert_eq!(call.end().await.unwrap().code, Code::Ok);
}

#[tokio::test]
async fn without_room_the_stream_that_is_silent_longest_makes_way_for_a_request() {
    let mut config = config();
    config.deadlines.silence_min = Duration::from_millis(50);
    let server = Server::start(config, 8 * MIB).await;
    let client = Client::connect(server.address).await;
    let mut calls = Vec::new();
    for _ in 0..30 {
        let mut call = client.open(INGEST).await;
        call.send(&message(1), false).await.unwrap();
        call.answers(1).await;
        calls.push(call);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut first = calls.remove(0);
    first.send(&message(1), false).await.unwrap();
    first.answers(1).await;
    let mut call = client.open(INGEST).await;
    call.send(&message(1), true).await.unwrap();
    assert_eq!(call.end().await.unwrap().code, Code::Ok);
    let end = calls.remove(0).end().await.unwrap();
    assert_eq!((end.code, end.retry_after.as_deref()), (Code::ResourceExhausted, Some("1000")));
    // The others are open.
    first.send(&message(1), true).await.unwrap();
    first.answers(1).await;
    assert_eq!(first.end().await.unwrap().code, Code::Ok);
}

#[tokio::test]
async fn a_stream_without_messages_ends_after_its_deadline() {
    let mut config = config();
    config.deadlines.silence = Duration::from_millis(100);
    let server = Server::start(config, 8 * MIB).await;
    let client = Client::connect(server.address).await;
    let mut of_member = client.clone().named(MEMBER).open(INGEST).await;
    let mut call = client.open(INGEST).await;
    for call in [&mut of_member, &mut call] {
        call.send(&message(1), false).await.unwrap();
        call.answers(1).await;
    }
    assert_eq!(call.end().await.unwrap().code, Code::Unavailable);
    of_member.send(&message(1), true).await.unwrap();
    of_member.answers(1).await;
    assert_eq!(of_member.end().await.unwrap().code, Code::Ok);
}

#[tokio::test]
async fn a_client_that_takes_no_answers_leaves_room_for_those_of_others() {
    let server = Server::start(config(), 16 * MIB).await;
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let attacker = Client::on(stream, 0).await.unwrap();
    let mut calls = Vec::new();
    for count in 1..=10 {
        let mut call = attacker.open(SHOW).await;
        call.send(&message(1), true).await.unwrap();
        calls.push(call);
        until("the request has arrived", || server.echo.peers.lock().unwrap().len() == count).await;
    }
    until("the answers wait for their reader", || {
        server.budget.used(MemoryPart::Answers) >= 2 * ANSWER_BYTES
    })
    .await;
    let other = Client::connect(server.address).await.named("b");
    for _ in 0..10 {
        let mut call = other.open(SHOW).await;
        call.send(&message(1), true).await.unwrap();
        assert_eq!(call.end().await.unwrap().code, Code::Ok);
    }
}

#[tokio::test]
async fn without_room_the_oldest_incomplete_message_makes_way_for_a_complete_one() {
    // Three eighths of 8 MiB are 3 MiB.
    let server = Server::start(config(), 8 * MIB).await;
    let client = Client::connect(server.address).await;
    let mut oldest = client.open(INGEST).await;
    let part = [&claim(4 * MIB)[..], &vec![1; 3 * MIB / 2]].concat();
    oldest.send(&part, false).await.unwrap();
    let used = || server.budget.used(MemoryPart::Messages);
    until("the incomplete message has arrived", || used() == 2 * MIB).await;
    let mut call = client.open(INGEST).await;
    call.send(&message(2 * MIB), false).await.unwrap();
    call.answers(1).await;
    let end = oldest.end().await.unwrap();
    assert_eq!((end.code, end.retry_after.as_deref()), (Code::ResourceExhausted, Some("1000")));
    assert!(end.message.contains("not complete"), "{end:?}");
}

#[tokio::test]
async fn incomplete_messages_that_fill_the_memory_make_way_for_a_complete_one() {
    let server = Server::start(config(), 8 * MIB).await;
    let attacker = Client::connect(server.address).await;
    let mut calls = Vec::new();
    for _ in 0..12 {
        let mut call = attacker.open(INGEST).await;
        call.send(&[&claim(512 * 1024)[..], &vec![1; 300 * 1024]].concat(), false).await.unwrap();
        calls.push(call);
    }
    let used = || server.budget.used(MemoryPart::Messages);
    until("the memory for messages is used up", || {
        used() > server.budget.max(MemoryPart::Messages) / 4
    })
    .await;
    let other = Client::connect(server.address).await.named("b");
    for path in [INGEST, SHOW] {
        for length in [1, 10_000] {
            let mut call = other.open(path).await;
            call.send(&message(length), true).await.unwrap();
            assert_eq!(call.end().await.unwrap().code, Code::Ok, "{path}, {length} bytes");
        }
    }
}

#[tokio::test]
async fn a_message_without_room_is_refused_with_a_retry_hint() {
    let server = Server::start(config(), 8 * MIB).await;
    let client = Client::connect(server.address).await;
    let mut call = client.open(INGEST).await;
    // The refusal may arrive before everything is sent.
    drop(call.send(&message(4 * MIB), false).await);
    let end = call.end().await.unwrap();
    assert_eq!((end.code, end.retry_after.as_deref()), (Code::ResourceExhausted, Some("1000")));
    assert_eq!(server.budget.used(MemoryPart::Messages), 0);
}

#[tokio::test]
async fn a_message_above_the_limit_of_its_method_is_refused_at_its_prefix() {
    let server = Server::start(config(), 64 * MIB).await;
    let client = Client::connect(server.address).await;
    let mut call = client.open(INGEST).await;
    call.send(&[message(10), claim(6 * MIB)].concat(), false).await.unwrap();
    call.answers(1).await;
    let end = call.end().await.unwrap();
    assert_eq!(end.code, Code::OutOfRange);
    let limit = 5 * MIB;
    assert!(end.message.contains("6291456 bytes") && end.message.contains(&limit.to_string()));
    assert!(end.message.contains(INGEST), "{end:?}");
    // Up to the limit, a batch that is too large reaches the service, which refuses it by name.
    let mut call = client.open(INGEST).await;
    call.send(&message(limit), true).await.unwrap();
    call.answers(1).await;
    assert_eq!(call.end().await.unwrap().code, Code::Ok);
    // A method that is not in the table has the smallest limit.
    let mut call = client.open("/turnpike.none.v1.None/None").await;
    call.send(&claim(64 * 1024 + 1), false).await.unwrap();
    assert_eq!(call.end().await.unwrap().code, Code::OutOfRange);
}

#[tokio::test]
async fn a_compressed_message_is_refused() {
    let server = Server::start(config(), 8 * MIB).await;
    let mut call = Client::connect(server.address).await.open(INGEST).await;
    call.send(&[1, 0, 0, 0, 1, 9], false).await.unwrap();
    assert_eq!(call.end().await.unwrap().code, Code::Unimplemented);
}

#[tokio::test]
async fn w1_a_message_that_never_ends_is_refused_and_a_pause_between_messages_is_not() {
    let mut config = config();
    config.deadlines.message = Duration::from_millis(100);
    let server = Server::start(config, 8 * MIB).await;
    let client = Client::connect(server.address).await;
    let mut patient = client.open(INGEST).await;
    patient.send(&message(5_000), false).await.unwrap();
    patient.answers(1).await;
    for (path, part) in
        [(INGEST, &[0, 0][..]), (INGEST, &claim(9_000)), (SHOW, &claim(10)), (SHOW, &[])]
    {
        let mut call = client.open(path).await;
        call.send(part, false).await.unwrap();
        let end = call.end().await.unwrap();
        assert_eq!(end.code, Code::DeadlineExceeded, "{path} {part:?}: {end:?}");
    }
    // Several deadlines have passed.
    patient.send(&message(5_000), true).await.unwrap();
    patient.answers(1).await;
    assert_eq!(patient.end().await.unwrap().code, Code::Ok);
}

#[tokio::test]
async fn w3_an_answer_that_is_not_taken_ends_the_connection_and_frees_its_room() {
    let mut config = config();
    config.deadlines.reading = Duration::from_millis(100);
    let server = Server::start(config, 16 * MIB).await;
    // A client that takes nothing, and one that takes a single byte.
    for window in [0, 1] {
        let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        let client = Client::on(stream, window).await.unwrap();
        let mut call = client.open(SHOW).await;
        call.send(&message(1), true).await.unwrap();
        assert!(call.unread().await.is_err(), "the connection is cut");
    }
    until("its room is free", || server.budget.used(MemoryPart::Answers) == 0).await;
    until("its request is over", || server.budget.used(MemoryPart::Requests) == 0).await;
    // A client that reads is served.
    let mut call = Client::connect(server.address).await.open(SHOW).await;
    call.send(&message(1), true).await.unwrap();
    assert_eq!(call.end().await.unwrap().code, Code::Ok);
}

#[tokio::test]
async fn w3_answers_that_are_not_taken_have_a_bound_and_further_requests_are_refused() {
    // A quarter of 16 MiB: four answers of a MiB, or the reservations of 256 KiB of some more.
    let server = Server::start(config(), 16 * MIB).await;
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let mut client = Client::on(stream, 0).await.unwrap();
    let mut calls = Vec::new();
    for count in 1..=4 {
        // One client gets half.
        client = client.named(if count <= 2 { "a" } else { "b" });
        let mut call = client.open(SHOW).await;
        call.send(&message(1), true).await.unwrap();
        calls.push(call);
        let used = || server.budget.used(MemoryPart::Answers) == count * ANSWER_BYTES;
        until("the answer waits for its reader", used).await;
    }
    let mut call = client.open(SHOW).await;
    call.send(&message(1), true).await.unwrap();
    let end = call.end().await.unwrap();
    assert_eq!((end.code, end.retry_after.as_deref()), (Code::ResourceExhausted, Some("1000")));
}

#[tokio::test]
async fn a_short_answer_that_is_not_taken_holds_no_room_for_a_long_one() {
    let server = Server::start(config(), 16 * MIB).await;
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let client = Client::on(stream, 0).await.unwrap();
    let mut calls = Vec::new();
    for count in 1..=20 {
        let mut call = client.open(STATUS).await;
        call.send(&message(1), true).await.unwrap();
        calls.push(call);
        until("the request has arrived", || server.echo.peers.lock().unwrap().len() == count).await;
    }
    until("the answers hold what they need", || {
        server.budget.used(MemoryPart::Answers) <= 20 * SHORT_ANSWER_BYTES
    })
    .await;
    let mut call = Client::connect(server.address).await.open(SHOW).await;
    call.send(&message(1), true).await.unwrap();
    assert_eq!(call.end().await.unwrap().code, Code::Ok);
}

#[tokio::test]
async fn w3_requests_that_only_begin_take_no_room_for_answers() {
    let server = Server::start(config(), 16 * MIB).await;
    let client = Client::connect(server.address).await;
    let mut begun = Vec::new();
    for count in 1..=40 {
        begun.push(client.open(SHOW).await);
        until("the request has arrived", || server.echo.peers.lock().unwrap().len() == count).await;
    }
    assert_eq!(server.budget.used(MemoryPart::Answers), 0);
    let mut call = client.open(SHOW).await;
    call.send(&message(1), true).await.unwrap();
    assert_eq!(call.end().await.unwrap().code, Code::Ok);
}
