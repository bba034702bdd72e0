//! Clusters in one process: replication, loss of the leader, restart, snapshots, partitions, joining.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Cluster, Map, Node, SOON, start_patiently};
use futures::future::{BoxFuture, join_all};
use raftstore::pki::{ClusterCa, JoinToken};
use raftstore::{
    Admission, Admitted, Applied, CallError, Class, JoinError, JoinRequest, Leader, Limits, Probe, ProposeError, RaftStore, ReadError,
    Role, StartError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_commits_and_survives_a_restart() {
    let mut cluster = Cluster::new(1).await;
    assert_eq!(cluster.set(1, "a", "1").await.unwrap().outcome, b"1");
    let second = cluster.set(1, "a", "2").await.unwrap();
    assert_eq!(second.outcome, b"2");
    let time = cluster.store(1).time_ms();
    let address = cluster.stop(1).await;
    cluster.start(1, Some(address)).await;
    cluster.leader(&[]).await;
    assert!(cluster.store(1).read_barrier(SOON).await.unwrap() > second.index);
    assert_eq!(cluster.nodes[&1].map.get("a").unwrap(), (2, "2".to_owned()));
    cluster.set(1, "a", "3").await.unwrap();
    assert!(cluster.store(1).time_ms() >= time, "log time went back over a restart");
    let too_long = cluster.store(1).propose(vec![0; 1 << 20], Class::Volatile, SOON).await;
    assert!(matches!(too_long, Err(ProposeError::TooLarge { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_confirms_the_entry_that_it_applied_and_no_other_at_its_place() {
    let cluster = Cluster::new(2).await;
    let applied = cluster.set(1, "a", "1").await.unwrap();
    cluster.store(1).wait_applied_on(2, &applied, SOON).await.unwrap();
    // An entry that another leader had written there, as before a loss of power.
    let lost = Applied { leader: Leader { term: applied.leader.term - 1, ..applied.leader }, ..applied.clone() };
    let start = Instant::now();
    let confirmed = cluster.store(1).wait_applied_on(2, &lost, SOON).await;
    assert!(matches!(confirmed, Err(CallError::Timeout { node: 2 })), "{confirmed:?}");
    assert!(start.elapsed() < SOON, "it says so at once");
    // And when it has not got there, it does not confirm either.
    let ahead = Applied { index: applied.index + 1000, ..applied };
    assert!(cluster.store(1).wait_applied_on(2, &ahead, Duration::from_millis(20)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_an_older_program_confirms_by_the_index() {
    let mut cluster = Cluster::new(1).await;
    let mut old = cluster.config(2, None);
    old.versions.newest = 3;
    let map = Arc::new(Map::default());
    let store = start_patiently(old, map.clone()).await;
    let address = store.local_addr();
    cluster.store(1).add_learner(2, address.to_string()).await.unwrap();
    cluster.nodes.insert(2, Node { store, map, address });
    let applied = cluster.set(1, "a", "1").await.unwrap();
    cluster.store(1).wait_applied_on(2, &applied, SOON).await.unwrap();
    assert_eq!(cluster.nodes[&2].map.get("a").unwrap(), (1, "1".to_owned()));
    let applied = cluster.set(2, "a", "2").await.unwrap();
    cluster.store(2).wait_applied_on(1, &applied, SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_lose_their_leader_and_nothing_else() {
    let mut cluster = Cluster::new(3).await;
    for id in 1..=3 {
        cluster.set(id, "who", &id.to_string()).await.unwrap();
        assert_eq!(cluster.nodes[&id].map.get("who").unwrap().1, id.to_string(), "applied on the proposing node");
    }
    let leader = cluster.leader(&[]).await;
    let others: Vec<u64> = (1..=3).filter(|&id| id != leader).collect();
    // Proposals run on both followers while the leader goes away: each is applied once.
    let runs = others.iter().map(|&id| {
        let store = cluster.store(id).clone();
        tokio::spawn(async move {
            for n in 0..300 {
                let applied = store.propose(format!("run{id}={n}").into_bytes(), Class::Persistent, SOON).await.unwrap();
                assert_eq!(applied.outcome, (n + 1).to_string().into_bytes(), "applied once, in order");
            }
        })
    });
    let runs: Vec<_> = runs.collect();
    cluster.store(others[0]).wait_applied(cluster.store(others[0]).applied() + 50, SOON).await.unwrap();
    let address = cluster.stop(leader).await;
    assert_eq!(cluster.store(others[0]).probe(leader).await, Probe::Refused);
    let mut call = cluster.store(others[0]).call(leader, b"?".to_vec(), SOON).await;
    if matches!(call, Err(CallError::Lost { .. })) {
        // The old connection had not ended yet.
        call = cluster.store(others[0]).call(leader, b"?".to_vec(), SOON).await;
    }
    assert!(matches!(call, Err(CallError::Refused { .. })), "{call:?}");
    for run in runs {
        run.await.unwrap();
    }
    assert_ne!(cluster.leader(&[]).await, leader);
    cluster.start(leader, Some(address)).await;
    cluster.settle().await;
    assert_eq!(cluster.nodes[&leader].map.get(&format!("run{}", others[1])).unwrap(), (300, "299".to_owned()));
    let answer = cluster.store(others[0]).call(leader, b"hello".to_vec(), SOON).await.unwrap();
    assert_eq!(answer, format!("{leader} heard {}: hello", others[0]).into_bytes());
    let store = cluster.store(others[0]);
    let applied = store.propose(b"last=1".to_vec(), Class::Volatile, SOON).await.unwrap();
    store.wait_applied_on(leader, &applied, SOON).await.unwrap();
    assert_eq!(cluster.nodes[&leader].map.get("last").unwrap(), (1, "1".to_owned()));
}

// A request that nobody goes on with, because its task waits for something else, must not keep a connection from all others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_nobody_goes_on_with_holds_up_no_other() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.leader(&[]).await;
    let mut others = (1..=3).filter(|&id| id != leader);
    let (asks, asked) = (others.next().unwrap(), others.next().unwrap());
    // The connection is gone; the next request makes a new one.
    let address = cluster.stop(asked).await;
    cluster.start(asked, Some(address)).await;
    cluster.settle().await;
    let store = cluster.store(asks).clone();
    let ask = || store.call(asked, b"hello".to_vec(), SOON);
    let mut left = Box::pin(ask());
    assert!(futures::poll!(&mut left).is_pending(), "it has begun, and is left there");
    // The first of them may still find the old connection's end.
    let answers = [ask().await, ask().await];
    assert!(answers[1].is_ok(), "{answers:?}");
    drop(left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_neither_reads_nor_writes() {
    let cluster = Cluster::new(3).await;
    cluster.set(1, "x", "old").await.unwrap();
    let old = cluster.leader(&[]).await;
    cluster.faults.isolate(old, &[1, 2, 3]);
    let new = cluster.leader(&[old]).await;
    cluster.set(new, "x", "new").await.unwrap();
    assert_eq!(cluster.store(old).status().role, Role::Leader, "it still believes that it leads: this is the trap");
    let moment = Duration::from_millis(600);
    let read = cluster.store(old).read_barrier(moment).await;
    assert!(matches!(read, Err(ReadError::NoLeader | ReadError::Timeout)), "{read:?}");
    let write = cluster.store(old).propose(b"x=stale".to_vec(), Class::Persistent, moment).await;
    assert!(matches!(write, Err(ProposeError::Unknown | ProposeError::NotApplied(_))), "{write:?}");
    assert_eq!(cluster.store(old).probe(new).await, Probe::Silent, "silence is no death certificate");
    cluster.faults.heal();
    cluster.settle().await;
    assert_eq!(cluster.nodes[&old].map.get("x").unwrap(), (2, "new".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_does_not_say_who_belongs_to_the_cluster() {
    let cluster = Cluster::new(3).await;
    let old = cluster.leader(&[]).await;
    cluster.faults.isolate(old, &[1, 2, 3]);
    let new = cluster.leader(&[old]).await;
    cluster.store(new).remove(old).await.unwrap();
    // By what it knows it is a voter, and the only thing to say is that all is well.
    let store = cluster.store(old).clone();
    let asked = tokio::spawn(async move { store.promote(old).await });
    assert!(cluster.store(old).read_barrier(Duration::from_millis(600)).await.is_err());
    assert!(!asked.is_finished(), "{:?}", asked.await);
    cluster.store(new).add_learner(old, cluster.nodes[&old].address.to_string()).await.unwrap();
    cluster.faults.heal();
    asked.await.unwrap().unwrap();
    assert!(cluster.store(new).status().members[&old].voter);
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_learner_gets_a_snapshot() {
    let limits = Limits { snapshot_entries: 200, log_entries_kept: 10, ..Limits::default() };
    let mut cluster = Cluster::with_limits(1, limits).await;
    let writes = (0..600).map(|n| {
        let store = cluster.store(1).clone();
        async move { store.propose(format!("key{n}={}", "v".repeat(2000)).into_bytes(), Class::Durable, SOON).await.unwrap() }
    });
    join_all(writes).await;
    let deadline = tokio::time::Instant::now() + SOON;
    while cluster.store(1).status().purged == 0 {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", cluster.store(1).status());
        cluster.set(1, "more", "x").await.unwrap();
    }
    cluster.start(2, None).await;
    let address = cluster.nodes[&2].address.to_string();
    cluster.store(1).add_learner(2, address).await.unwrap();
    cluster.settle().await;
    // The status is told a little later than the apply.
    let deadline = tokio::time::Instant::now() + SOON;
    while cluster.store(2).status().snapshot == 0 {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", cluster.store(2).status());
        cluster.set(1, "more", "y").await.unwrap();
    }
    cluster.settle().await;
    assert_eq!(cluster.store(2).status().role, Role::Learner);
    // What was installed is still there after a restart, and the learner can become a voter and be removed again.
    let address = cluster.stop(2).await;
    cluster.start(2, Some(address)).await;
    cluster.store(1).promote(2).await.unwrap();
    cluster.settle().await;
    assert!(cluster.store(2).status().members[&2].voter);
    cluster.store(2).transfer_leader(2).await.unwrap();
    assert_eq!(cluster.leader(&[]).await, 2);
    cluster.store(2).remove(1).await.unwrap();
    assert_eq!(cluster.store(2).status().members.len(), 1);
    cluster.set(2, "alone", "yes").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_comes_back_at_another_address() {
    let mut cluster = Cluster::new(3).await;
    let follower = (1..=3).find(|&id| id != cluster.store(1).leader().unwrap().node_id).unwrap();
    cluster.stop(follower).await;
    cluster.start(follower, None).await;
    let address = cluster.nodes[&follower].address.to_string();
    let other = (1..=3).find(|&id| id != follower).unwrap();
    let deadline = tokio::time::Instant::now() + SOON;
    while cluster.store(other).status().members[&follower].address != address {
        assert!(tokio::time::Instant::now() < deadline);
        cluster.set(other, "tick", "").await.unwrap();
    }
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_directories_clusters_and_ports_are_refused_by_name() {
    let mut cluster = Cluster::new(1).await;
    cluster.set(1, "a", "1").await.unwrap();
    let map = || Arc::new(Map::default());
    let in_use = RaftStore::start(cluster.config(1, None), map()).await.err().unwrap();
    assert!(matches!(in_use, StartError::DataDirInUse { .. }), "{in_use}");
    let address = cluster.nodes[&1].address;
    let port = RaftStore::start(cluster.config(2, Some(address)), map()).await.err().unwrap();
    assert!(matches!(port, StartError::AddressInUse { .. }), "{port}");

    // A node of another cluster cannot talk to this one, in either direction.
    let mut stranger = Cluster::new(1).await;
    stranger.store(1).add_learner(9, address.to_string()).await.unwrap();
    let refused = stranger.store(1).call(9, b"hello".to_vec(), Duration::from_secs(2)).await;
    let Err(CallError::Unreachable { because, .. }) = refused else { panic!("{refused:?}") };
    assert!(because.contains(&stranger.ca.cluster.to_string()), "{because}");

    cluster.stop(1).await;
    let mut config = cluster.config(1, None);
    config.identity = stranger.ca.issue(1).unwrap();
    let wrong = loop {
        match RaftStore::start(config.clone(), map()).await.err().unwrap() {
            StartError::DataDirInUse { .. } => tokio::time::sleep(Duration::from_millis(5)).await,
            other => break other,
        }
    };
    assert!(matches!(wrong, StartError::WrongCluster { .. }), "{wrong}");
    config.identity = cluster.ca.issue(2).unwrap();
    let wrong = RaftStore::start(config.clone(), map()).await.err().unwrap();
    assert!(matches!(wrong, StartError::WrongNode { expected: 2, found: 1, .. }), "{wrong}");
    config.data_dir = "/proc/nowhere".into();
    let wrong = RaftStore::start(config, map()).await.err().unwrap();
    assert!(matches!(wrong, StartError::DataDir { .. }), "{wrong}");
    stranger.stop(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_port_hurts_nobody() {
    let mut cluster = Cluster::new(1).await;
    let address = cluster.nodes[&1].address;
    let mut idle = Vec::new();
    for n in 0..200u32 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        if n % 4 == 0 {
            idle.push(stream);
            continue;
        }
        let nonsense: Vec<u8> = (0..500u32).map(|i| (i.wrapping_mul(n * 7919 + 13) >> 3) as u8).collect();
        stream.write_all(&nonsense).await.unwrap();
        // The node ends the connection; a reset is as good as an end.
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap();
    }
    // A thousand that say nothing at all do not keep a member out.
    for _ in 0..1000 {
        idle.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    cluster.start(2, None).await;
    let own = cluster.nodes[&2].address.to_string();
    cluster.store(1).add_learner(2, own).await.unwrap();
    cluster.set(2, "still", "here").await.unwrap();
}

/// Breaks at a command, as a machine with a bug would.
struct Fragile(Map);

impl raftstore::Machine for Fragile {
    fn apply(&self, index: u64, time_ms: u64, command: &[u8]) -> Vec<u8> {
        assert_ne!(command, b"break", "an invariant is broken");
        self.0.apply(index, time_ms, command)
    }
    fn take_changes(&self) -> Vec<raftstore::Change> {
        self.0.take_changes()
    }
    fn load(&self, entries: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<(), String> {
        self.0.load(entries)
    }
    fn applied(&self, index: u64) {
        self.0.applied(index);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_machine_stops_its_node_with_a_reason() {
    let cluster = Cluster::new(0).await;
    let config = cluster.config(7, None);
    let store = RaftStore::start(config, Arc::new(Fragile(Map::default()))).await.unwrap();
    store.bootstrap().await.unwrap();
    store.propose(b"a=1".to_vec(), Class::Persistent, SOON).await.unwrap();
    let broken = store.propose(b"break".to_vec(), Class::Persistent, SOON).await;
    assert_eq!(broken, Err(ProposeError::Unknown));
    let because = tokio::time::timeout(SOON, store.stopped()).await.unwrap();
    assert!(because.contains("an invariant is broken"), "{because}");
    let refused = store.propose(b"b=1".to_vec(), Class::Persistent, SOON).await;
    assert_eq!(refused, Err(ProposeError::ShuttingDown));
    tokio::net::TcpStream::connect(store.local_addr()).await.expect("the process lives, so its port must not say that it is dead");
}

struct OneToken(parking_lot::Mutex<Option<[u8; 32]>>, ClusterCa);

impl Admission for OneToken {
    fn admit(&self, request: JoinRequest) -> BoxFuture<'static, Result<Admitted, String>> {
        let good = self.0.lock().take_if(|secret| *secret == request.secret).is_some();
        let node_id = request.node_id.unwrap_or(2);
        let certificate_pem = self.1.certify(node_id, &request.public_key).unwrap();
        let admitted = Admitted { node_id, certificate_pem, authorities_pem: self.1.certificate_pem.clone() };
        Box::pin(async move { if good { Ok(admitted) } else { Err("the token was used, or never given".to_owned()) } })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_joins_with_a_token_once() {
    let mut cluster = Cluster::new(1).await;
    let address = cluster.stop(1).await;
    let token = JoinToken::create(address.to_string(), cluster.ca.fingerprint().unwrap()).unwrap();
    let mut config = cluster.config(1, Some(address));
    config.admission = Some(Arc::new(OneToken(parking_lot::Mutex::new(Some(token.secret)), cluster.ca.clone())));
    let first = start_patiently(config, Arc::new(Map::default())).await;

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap();
    let forged = JoinToken { fingerprint: ClusterCa::create().unwrap().fingerprint().unwrap(), ..token.clone() };
    let err = raftstore::join(&forged, None, &own.to_string()).await.unwrap_err();
    assert!(matches!(err, JoinError::Unreachable { .. }), "{err}");
    let grant = raftstore::join(&JoinToken::parse(&token.to_string()).unwrap(), None, &own.to_string()).await.unwrap();
    assert_eq!((grant.identity.node_id, grant.identity.cluster), (2, cluster.ca.cluster));
    assert_eq!(grant.members[&1], address.to_string());
    let again = raftstore::join(&token, Some(3), "127.0.0.1:1").await.unwrap_err();
    assert!(matches!(again, JoinError::Refused(_)), "{again}");

    drop(listener);
    let map = Arc::new(Map::default());
    let mut config = cluster.config(2, Some(own));
    config.identity = grant.identity;
    let second = start_patiently(config, map.clone()).await;
    second.propose(b"joined=yes".to_vec(), Class::Persistent, SOON).await.unwrap();
    let deadline = tokio::time::Instant::now() + SOON;
    while !second.status().members.get(&2).is_some_and(|member| member.voter) {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", second.status());
        second.propose(b"tick=".to_vec(), Class::Volatile, SOON).await.unwrap();
    }
    first.shutdown().await;
    second.shutdown().await;
}
