//! Tests the proxy between a client and an echo server.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use turnpike_harness::proxy::{Direction, Flow, Proxy, QUEUED_BYTES_MAX};

const A_WHILE: Duration = Duration::from_millis(100);

/// An echo server, and a proxy in front of it.
async fn echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    Proxy::start(address.to_string()).await.unwrap()
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

async fn says(stream: &mut TcpStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    timeout(Duration::from_secs(10), stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(bytes, text.as_bytes());
}

async fn is_silent(stream: &mut TcpStream) {
    assert!(timeout(A_WHILE, stream.read_u8()).await.is_err());
}

async fn is_reset(stream: &mut TcpStream) {
    let read = timeout(Duration::from_secs(10), stream.read_u8()).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn forwarded_bytes_arrive_and_so_does_the_end() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    stream.write_all(b"there and back").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).await.unwrap();
    assert_eq!(back, "there and back");
}

#[tokio::test]
async fn a_dropped_proxy_closes_its_connections() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    drop(proxy);
    assert!(timeout(Duration::from_secs(10), stream.read_u8()).await.unwrap().is_err());
}

#[tokio::test]
async fn delayed_bytes_arrive_later_and_delays_of_two_messages_do_not_add_up() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    proxy.set(Direction::ToServer, Flow::Delay(Duration::from_millis(200)));
    let began = Instant::now();
    stream.write_all(b"one").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stream.write_all(b"two").await.unwrap();
    says(&mut stream, "onetwo").await;
    assert!(began.elapsed() >= Duration::from_millis(240));
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
}

#[tokio::test]
async fn held_bytes_wait_each_way_and_none_is_lost() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    for direction in Direction::BOTH {
        proxy.set(direction, Flow::Hold);
        stream.write_all(b"held").await.unwrap();
        is_silent(&mut stream).await;
        proxy.set(direction, Flow::Pass);
        says(&mut stream, "held").await;
    }
}

#[tokio::test]
async fn a_held_direction_stops_reading_at_its_bound() {
    let proxy = echo().await;
    let mut stream = connect(&proxy).await;
    stream.write_all(b"x").await.unwrap();
    says(&mut stream, "x").await;
    proxy.set(Direction::ToServer, Flow::Hold);
    let (mut sent, block) = (0, vec![7; 64 * 1024]);
    while let Ok(written) = timeout(A_WHILE, stream.write(&block)).await {
        sent += written.unwrap();
        // The kernel's buffers hold some megabytes as well.
        assert!(sent < QUEUED_BYTES_MAX + (32 << 20), "the proxy reads without a bound");
    }
    proxy.set(Direction::ToServer, Flow::Pass);
    let (mut read, mut write) = stream.split();
    let (mut back, mut buffer) = (0, vec![0; 64 * 1024]);
    while back < sent {
        back += read.read(&mut buffer).await.unwrap();
    }
    assert_eq!(back, sent);
    write.write_all(b"y").await.unwrap();
}

#[tokio::test]
async fn a_connection_that_lost_bytes_lives_until_bytes_pass_again_and_is_reset_then() {
    for direction in Direction::BOTH {
        let proxy = echo().await;
        let (mut loses, mut idles) = (connect(&proxy).await, connect(&proxy).await);
        for stream in [&mut loses, &mut idles] {
            stream.write_all(b"x").await.unwrap();
            says(stream, "x").await;
        }
        proxy.set(direction, Flow::Vanish);
        loses.write_all(b"lost").await.unwrap();
        is_silent(&mut loses).await;
        proxy.set(direction, Flow::Pass);
        is_reset(&mut loses).await;
        // A connection that lost no bytes still works.
        idles.write_all(b"more").await.unwrap();
        says(&mut idles, "more").await;
    }
}

#[tokio::test]
async fn a_new_connection_gets_no_answer_while_the_server_is_cut_off() {
    let proxy = echo().await;
    proxy.set_both(Flow::Vanish);
    // The proxy accepts the connection although the server can't be reached, like a middlebox that
    // answers for a server.
    let mut stream = connect(&proxy).await;
    stream.write_all(b"anybody?").await.unwrap();
    is_silent(&mut stream).await;
    proxy.set_both(Flow::Pass);
    says(&mut stream, "anybody?").await;
}

#[tokio::test]
async fn a_reset_breaks_open_connections_and_no_later_one() {
    let proxy = echo().await;
    let mut old = connect(&proxy).await;
    old.write_all(b"x").await.unwrap();
    says(&mut old, "x").await;
    proxy.reset_all();
    is_reset(&mut old).await;
    let mut new = connect(&proxy).await;
    new.write_all(b"new").await.unwrap();
    says(&mut new, "new").await;
}

#[tokio::test]
async fn refused_connections_are_refused_at_once_and_the_old_ones_stay() {
    let proxy = echo().await;
    let mut old = connect(&proxy).await;
    old.write_all(b"x").await.unwrap();
    says(&mut old, "x").await;
    proxy.refuse().await.unwrap();
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    old.write_all(b"y").await.unwrap();
    says(&mut old, "y").await;
    proxy.accept().await.unwrap();
    let mut new = connect(&proxy).await;
    new.write_all(b"z").await.unwrap();
    says(&mut new, "z").await;
}

#[tokio::test]
async fn a_missing_server_is_a_reset_and_the_proxy_can_be_pointed_at_another() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (there, proxy) = (echo().await, Proxy::start(nobody.to_string()).await.unwrap());
    is_reset(&mut connect(&proxy).await).await;
    proxy.set_upstream(there.address().to_string());
    let mut stream = connect(&proxy).await;
    stream.write_all(b"found").await.unwrap();
    says(&mut stream, "found").await;
}
