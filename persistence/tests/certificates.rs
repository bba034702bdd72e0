//! Certificates of a running cluster: joining through any node, new certificates, a new authority, nodes of other versions.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::Cluster;
use common::*;
use parking_lot::Mutex;
use persistence::{CertificateReport, ClusterCa, Keeper, NodeIdentity, Store, StoreError, Versions};
use persistence_model::*;
use tokio::time::timeout;

/// Keeps everything in memory, as a data directory would on disk.
#[derive(Default)]
struct Kept {
    identity: Mutex<Option<NodeIdentity>>,
    authority: Mutex<Option<ClusterCa>>,
    next: Mutex<Option<ClusterCa>>,
    broken: AtomicBool,
}

impl Keeper for Kept {
    fn save_identity(&self, identity: &NodeIdentity) -> Result<(), String> {
        if self.broken.load(Ordering::SeqCst) {
            return Err("no space is left".to_owned());
        }
        *self.identity.lock() = Some(identity.clone());
        Ok(())
    }
    fn authority(&self) -> Result<Option<ClusterCa>, String> {
        Ok(self.authority.lock().clone())
    }
    fn next_authority(&self) -> Result<Option<ClusterCa>, String> {
        Ok(self.next.lock().clone())
    }
    fn save_next_authority(&self, next: &ClusterCa) -> Result<(), String> {
        *self.next.lock() = Some(next.clone());
        Ok(())
    }
    fn promote_next_authority(&self) -> Result<(), String> {
        *self.authority.lock() = self.next.lock().take();
        Ok(())
    }
}

async fn until(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let waited = timeout(SOON, async {
        while !is_true().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "in vain: {what}");
}

/// Three nodes with keepers, the authority on node 1, agreed on the newest level.
async fn kept_cluster() -> (Cluster, Vec<Arc<Kept>>) {
    let mut cluster = Cluster::new(1, Wish::default()).await;
    let mut kept = Vec::new();
    // The first node was made without a keeper.
    cluster.kill(1).await;
    for id in 1..=3u64 {
        let keeper = Arc::new(Kept::default());
        if id == 1 {
            *keeper.authority.lock() = Some(cluster.ca.clone());
            cluster.keepers.insert(1, keeper.clone());
            cluster.start(1).await;
            cluster.store(1).wait_serving(SOON).await.unwrap();
        } else {
            cluster.keepers.insert(id, keeper.clone());
            // The third comes in through the second, which does not hold the authority.
            assert_eq!(cluster.join_through(id - 1).await, id);
        }
        kept.push(keeper);
    }
    cluster.wait_voters(3).await;
    until("the newest level", async || cluster.nodes.values().all(|store| store.status().level == Versions::default().newest)).await;
    (cluster, kept)
}

async fn report(store: &Store) -> CertificateReport {
    store.certificate().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_join_through_any_member() {
    let (cluster, kept) = kept_cluster().await;
    assert!(kept[1].authority.lock().is_none() && kept[2].authority.lock().is_none(), "the key stayed where it was");
    // While nobody holds the key, a member says so; the token is not spent by that.
    let token = cluster.store(3).create_token(SOON).await.unwrap();
    let held = kept[0].authority.lock().take();
    let refused = persistence::join(&token, None, "127.0.0.1:9").await.unwrap_err();
    assert!(refused.to_string().contains("authority import"), "{refused}");
    *kept[2].authority.lock() = held;
    let grant = persistence::join(&token, None, "127.0.0.1:9").await.unwrap();
    assert_eq!(grant.identity.node_id, 4);
    assert!(persistence::join(&token, None, "127.0.0.1:9").await.is_err(), "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gets_a_new_certificate_while_it_serves() {
    let (cluster, kept) = kept_cluster().await;
    for id in [2, 1] {
        let store = cluster.store(id);
        let before = report(store).await;
        let life = store.incarnation();
        let after = store.renew_certificate().await.unwrap();
        assert_ne!(before.certificate.fingerprint, after.certificate.fingerprint);
        assert_eq!(before.issuer, after.issuer);
        let saved = kept[id as usize - 1].identity.lock().clone().unwrap();
        assert_eq!(saved.facts().unwrap(), after.certificate, "what is used is what was kept");
        assert_eq!(store.incarnation(), life, "nobody noticed");
    }
    // What cannot be kept is not used.
    kept[2].broken.store(true, Ordering::SeqCst);
    let before = report(cluster.store(3)).await;
    let failed = cluster.store(3).renew_certificate().await;
    assert!(matches!(&failed, Err(StoreError::Refused(because)) if because.contains("no space")), "{failed:?}");
    assert_eq!(report(cluster.store(3)).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_certificate_is_renewed_by_itself() {
    let (mut cluster, kept) = kept_cluster().await;
    cluster.kill(2).await;
    let short = cluster.ca.issue_for(2, Duration::from_secs(3600)).unwrap();
    cluster.identities.insert(2, short);
    cluster.start(2).await;
    cluster.store(2).wait_serving(SOON).await.unwrap();
    let year = 300 * 24 * 3600;
    until("a new certificate", async || report(cluster.store(2)).await.certificate.left_s(std::time::SystemTime::now()) > year).await;
    assert!(kept[1].identity.lock().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_authority_takes_the_old_ones_place_while_clients_are_served() {
    let (mut cluster, kept) = kept_cluster().await;
    let old = cluster.ca.fingerprint().unwrap();
    let elsewhere = cluster.store(2).renew_authority().await;
    assert!(matches!(&elsewhere, Err(StoreError::Refused(because)) if because.contains("ask node 1")), "{elsewhere:?}");

    // While a member is down nothing changes: it could not come back.
    cluster.kill(3).await;
    until("node 3 is down", async || {
        cluster.store(1).with_state(|state| state.node(NodeId(3)).is_some_and(|node| node.state == NodeState::Down))
    })
    .await;
    let refused = cluster.store(1).renew_authority().await;
    assert!(matches!(&refused, Err(StoreError::Refused(because)) if because.contains("node 3 does not know")), "{refused:?}");
    assert_eq!(report(cluster.store(1)).await.issuer, old);
    cluster.start(3).await;
    cluster.store(3).wait_serving(SOON).await.unwrap();

    // Commands run all the time.
    let (stop, store) = (Arc::new(AtomicBool::new(false)), cluster.store(2).clone());
    let stopped = stop.clone();
    let work = tokio::spawn(async move {
        let mut n = 0;
        while !stopped.load(Ordering::SeqCst) {
            let added = store.propose(Command::UserAdd { name: format!("u{n}"), nt_hash: [1; 16], sid: None, unix: None }).await.unwrap();
            assert!(matches!(added, Outcome::UserAdded { .. }), "{added:?}");
            n += 1;
        }
        n
    });
    let renewal = cluster.store(1).renew_authority().await.unwrap();
    assert_eq!((renewal.former, renewal.behind.as_slice()), (old, &[][..]));
    for id in cluster.ids() {
        let report = report(cluster.store(id)).await;
        assert_eq!((report.issuer, report.trusted.len()), (renewal.active, 2), "node {id}");
    }
    assert_eq!(kept[0].authority.lock().as_ref().unwrap().fingerprint().unwrap(), renewal.active);
    assert!(kept[0].next.lock().is_none());

    // A certificate of the old authority is still good ...
    cluster.kill(3).await;
    cluster.identities.insert(3, cluster.ca.issue(3).unwrap());
    cluster.keepers.remove(&3);
    cluster.start(3).await;
    cluster.store(3).wait_serving(SOON).await.unwrap();
    until("node 3 renews", async || report(cluster.store(3)).await.issuer == renewal.active).await;
    // ... until it is retired; a joining node trusts the new one alone then.
    assert_eq!(cluster.store(2).retire_authorities().await.unwrap(), 1);
    until("one authority", async || {
        let mut all = true;
        for id in cluster.ids() {
            all &= report(cluster.store(id)).await.trusted.len() == 1;
        }
        all
    })
    .await;
    stop.store(true, Ordering::SeqCst);
    assert!(work.await.unwrap() > 0);
    let stranger = cluster.ca.issue(3).unwrap();
    cluster.kill(3).await;
    cluster.identities.insert(3, stranger);
    cluster.start(3).await;
    let refused = cluster.store(3).wait_serving(Duration::from_secs(2)).await;
    assert!(refused.is_err(), "a certificate of the retired authority is good for nothing");
    cluster.kill(3).await;
    let token = cluster.store(2).create_token(SOON).await.unwrap();
    let grant = persistence::join(&token, None, "127.0.0.1:9").await.unwrap();
    assert_eq!(grant.identity.authorities_facts().unwrap().len(), 1);
    assert_eq!(grant.identity.issuer_fingerprint().unwrap(), renewal.active);
}
