//! Every attack of `chaos garbage` on one node, in its short form: the honest client is refused nothing, and memory stays bounded.
#![allow(clippy::unwrap_used, reason = "tests")]

use chaos::cluster::{Cluster, ClusterOptions};
use chaos::garbage::{Scale, siege};

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_costs_the_honest_client_anything() {
    let options = ClusterOptions { loopback: Some("127.0.106".to_owned()), nodes: 1, ..ClusterOptions::default() };
    let cluster = Cluster::start(&options).await.unwrap();
    let rows = siege(&cluster, 0, &Scale::quick(), 11, |row| println!("{}", row.line())).await.unwrap();
    assert!(rows.len() >= 10, "an attack is missing");
    for row in &rows {
        assert!(row.broken.is_empty(), "{}\n{}", row.line(), cluster.log());
        assert!(row.connections > 0 && row.during.echo.count() > 0 && row.during.logon.count() > 0, "{}", row.line());
    }
    cluster.stop().await.unwrap();
}
