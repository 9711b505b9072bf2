//! What a message takes when it is decoded has a bound, and is counted before it is decoded.

use tonic::Code;
use turnpike_listen::MemoryPart;

use crate::support::{Client, MIB, Server, claim, config};

const APPLY: &str = "/turnpike.account.v1.AccountService/Apply";
const CHECK: &str = "/turnpike.account.v1.AccountService/Check";
const NODE_APPLY: &str = "/turnpike.node.v1.NodeService/Apply";
const PULL: &str = "/turnpike.feed.v1.FeedService/Pull";

/// A message of `count` empty elements of the repeated field `field`.
fn empty_elements(field: u8, count: usize) -> Vec<u8> {
    [claim(2 * count), [field << 3 | 2, 0].repeat(count)].concat()
}

#[tokio::test]
async fn more_elements_than_a_method_takes_are_refused_before_they_are_decoded() {
    let server = Server::start(config(), 256 * MIB).await;
    let client = Client::connect(server.address).await;
    let attacks = [
        (APPLY, empty_elements(1, 300_000)),
        (CHECK, empty_elements(1, 300_000)),
        (NODE_APPLY, empty_elements(2, 300_000)),
        (PULL, empty_elements(2, 20_000)),
    ];
    for (path, attack) in attacks {
        let mut call = client.open(path).await;
        call.send(&attack, true).await.unwrap();
        let end = call.end().await.unwrap();
        assert_eq!(end.code, Code::OutOfRange, "{path}: {end:?}");
        assert!(end.message.contains("elements"), "{end:?}");
    }
    assert_eq!(server.budget.used(MemoryPart::Messages), 0);
}
