//! A short failover of each kind on a real cluster: nothing lost, no error, no intruder.
#![allow(clippy::unwrap_used, reason = "tests")]

use chaos::client::RetryPolicy;
use chaos::cluster::ClusterOptions;
use chaos::failover::{FailoverOptions, Variant, failover};

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_blocks_survive_every_kind_of_death() {
    let options = FailoverOptions {
        cluster: ClusterOptions { loopback: Some("127.0.101".to_owned()), ..ClusterOptions::default() },
        runs: 1,
        variants: Variant::EVERY.to_vec(),
        seed: 20,
        retry: RetryPolicy::Eager,
        witness: true,
        json: false,
    };
    let reports = failover(&options, |story| println!("{story}")).await.unwrap();
    assert_eq!(reports.len(), 4);
    for report in &reports {
        assert!(report.is_good(), "{}", report.story());
        assert!(report.acknowledged >= 24, "too little was written to prove anything: {}", report.acknowledged);
    }
}
