//! Connections: their number, their windows, their time, and the stop of the server.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::Code;
use turnpike_listen::MemoryPart;

use crate::support::{Call, Client, INGEST, MIB, Server, closed, config, message, until};

/// A client with an open stream on which a message was answered.
async fn busy(server: &Server) -> (Client, Call) {
    let client = Client::connect(server.address).await;
    let mut call = client.open(INGEST).await;
    call.send(&message(1), false).await.unwrap();
    call.answers(1).await;
    (client, call)
}

#[tokio::test]
async fn w7_silent_connections_make_way_for_a_client_that_sends() {
    let mut config = config();
    config.connections_max = 4;
    let server = Server::start(config, 64 * MIB).await;
    // It has sent a request, so it is preferred to silent ones, although it is idle longer.
    let (early, call) = busy(&server).await;
    drop(call);
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    for _ in 0..3 {
        let (_, mut call) = busy(&server).await;
        call.send(&message(1), false).await.unwrap();
        call.answers(1).await;
    }
    for stream in &mut silent[..17] {
        closed(stream).await;
    }
    let mut call = early.open(INGEST).await;
    call.send(&message(1), true).await.unwrap();
    assert_eq!(call.end().await.unwrap().code, Code::Ok);
}

#[tokio::test]
async fn w7_a_connection_beyond_the_maximum_is_refused_and_open_requests_go_on() {
    let mut config = config();
    config.connections_max = 2;
    let server = Server::start(config, 64 * MIB).await;
    let mut open = [busy(&server).await, busy(&server).await];
    closed(&mut TcpStream::connect(server.address).await.unwrap()).await;
    for (_, call) in &mut open {
        call.send(&message(1), false).await.unwrap();
        call.answers(1).await;
    }
    drop(open);
    until("their requests are over", || server.budget.used(MemoryPart::Requests) == 0).await;
    busy(&server).await;
}

#[tokio::test]
async fn one_address_has_a_maximum_of_connections() {
    let mut config = config();
    config.connections_per_address_max = 1;
    let server = Server::start(config, 64 * MIB).await;
    let (_client, mut call) = busy(&server).await;
    closed(&mut TcpStream::connect(server.address).await.unwrap()).await;
    call.send(&message(1), false).await.unwrap();
    call.answers(1).await;
}

#[tokio::test]
async fn windows_shrink_and_end_with_their_part_of_the_budget() {
    // A quarter of 4 MiB is 1 MiB: two windows of 256 KiB up to its half, then smaller ones.
    let server = Server::start(config(), 4 * MIB).await;
    let used = || server.budget.used(MemoryPart::Windows);
    let mut open = Vec::new();
    let mut taken = Vec::new();
    for _ in 0..10 {
        open.push(busy(&server).await);
        taken.push(used() - taken.iter().sum::<usize>());
    }
    let kib = |count: usize| count * 1024;
    assert_eq!(taken[..2], [kib(256), kib(256)]);
    assert!(taken[2..].iter().all(|bytes| *bytes == kib(64)), "{taken:?}");
    assert_eq!(used(), server.budget.max(MemoryPart::Windows));
    closed(&mut TcpStream::connect(server.address).await.unwrap()).await;
    // A connection that ends makes room.
    open.pop();
    until("its window is free", || used() < server.budget.max(MemoryPart::Windows)).await;
    busy(&server).await;
}

#[tokio::test]
async fn w7_a_client_that_stops_within_the_preface_or_headers_is_disconnected() {
    let mut config = config();
    config.deadlines.frame = Duration::from_millis(100);
    let server = Server::start(config, 64 * MIB).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    // Headers without their end, and a frame without its rest.
    let headers = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];
    let part = [0, 0, 100, 1, 4, 0, 0, 0, 1, 0x82];
    let starts: [Vec<u8>; 5] = [
        Vec::new(),
        preface[..10].to_vec(),
        preface.to_vec(),
        [&preface[..], &settings, &headers].concat(),
        [&preface[..], &settings, &part].concat(),
    ];
    for start in starts {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(&start).await.unwrap();
        closed(&mut stream).await;
    }
    // An open stream without messages stays.
    let (_client, mut call) = busy(&server).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    call.send(&message(1), false).await.unwrap();
    call.answers(1).await;
}

#[tokio::test]
async fn at_a_stop_open_requests_finish_and_new_ones_are_not_taken() {
    let mut server = Server::start(config(), 64 * MIB).await;
    let (client, mut call) = busy(&server).await;
    server.stop.take().unwrap().send(()).unwrap();
    call.send(&message(1), true).await.unwrap();
    call.answers(1).await;
    assert_eq!(call.end().await.unwrap().code, Code::Ok);
    assert_eq!(server.done.await.unwrap(), 0);
    assert!(client.try_open(INGEST).await.is_err());
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_stream_that_stays_open_is_cut_after_the_grace() {
    let mut config = config();
    config.deadlines.grace = Duration::from_millis(50);
    let mut server = Server::start(config, 64 * MIB).await;
    let (_client, call) = busy(&server).await;
    server.stop.take().unwrap().send(()).unwrap();
    assert_eq!(server.done.await.unwrap(), 1);
    assert!(call.end().await.is_err());
}
