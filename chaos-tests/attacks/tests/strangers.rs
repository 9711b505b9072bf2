//! Requests without credentials while access control is on.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use attacks::flood::WINDOW;
use attacks::raw::{RawClient, message};
use attacks::site::Site;
use tonic::Code;
use turnpike_listen::METHODS;

/// The service that is open to everyone.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// Calls every method of other services with an empty message. Returns the methods by the code of their answers.
async fn call_all(to: &str, token: Option<&str>) -> Result<BTreeMap<String, Vec<&'static str>>> {
    let mut by_code: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let of_services = METHODS.iter().filter(|method| !method.path.starts_with(HEALTH));
    for method in of_services {
        let client = RawClient::connect(to, WINDOW).await?;
        let mut call = client.open_as(method.path, token).await?;
        // The front may refuse the request before the message.
        drop(call.finish(message(&[])?).await);
        by_code.entry(format!("{:?}", call.code().await)).or_default().push(method.path);
    }
    Ok(by_code)
}

/// Switches access control on. The administrator's token is in the file that is returned.
fn guard(site: &Site) -> Result<String> {
    let key = site.cluster.file("empty", "")?.replace("empty", "signing.key");
    site.cluster.run(&["access", "key", "new", "--key-file", &key])?;
    let issued = site.cluster.run(&["access", "token", "issue", "root", "--key-file", &key])?;
    let token = site.cluster.file("root.token", &issued)?;
    site.cluster.run(&["access", "grant", "token:root", "admin"])?;
    Ok(token)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_no_method_but_those_of_health_answers() -> Result<()> {
    let _alone = crate::alone().await;
    let mut site = Site::start().await?;
    // The other client has no credentials either.
    site.settle().await?;
    let (front, owners) = (site.front(), site.owners().await?);
    let before = site.db.catalogue_since(0, 100).await?.len();
    guard(&site)?;
    for token in [None, Some("tpt1.forged"), Some("eyJhbGciOiJub25lIn0.e30.")] {
        let by_code = call_all(&front, token).await?;
        let refused = by_code.get(&format!("{:?}", Code::Unauthenticated));
        let refused = refused.map_or(0, Vec::len);
        let others = by_code.iter().filter(|(code, _)| *code != "Unauthenticated");
        for path in others.flat_map(|(_, paths)| paths) {
            let is_elsewhere = path.contains("turnpike.node.v1");
            ensure!(is_elsewhere, "{token:?}: {path} was not refused: {by_code:?}");
        }
        ensure!(refused > 30, "{refused} methods refused the request: {by_code:?}");
        println!("no credentials ({token:?}): {refused} methods refused the request");
    }
    ensure!(site.db.catalogue_since(0, 100).await?.len() == before, "the catalogue has changed");
    ensure!(site.owners().await? == owners, "a partition has another owner");
    site.check_processes("no credentials")
}
