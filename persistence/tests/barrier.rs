//! A grant that takes rights from others is answered when every live node concerned has applied it; whoever is alone with a file waits for
//! nobody.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use common::Cluster;
use common::*;
use futures::FutureExt;
use persistence::{Flight, Scope, Store, StoreError};
use persistence_model::*;
use smb_types::{Guid, LeaseState, ShareAccess};
use tokio::time::timeout;

type Answer = Pin<Box<dyn Future<Output = Result<Outcome, StoreError>> + Send>>;

/// Leases that no test outlives: nobody is declared dead for its silence.
fn patient() -> Wish {
    Wish { lease: Duration::from_secs(60), ..Wish::default() }
}

fn asked(store: &Store, command: Command) -> Answer {
    let store = store.clone();
    // It goes on while nobody looks, as it does in a server: the connection that it may be making is everybody's.
    let task = tokio::spawn(async move { store.propose(command).await });
    Box::pin(async move { task.await.unwrap() })
}

fn leased(at: At, state: LeaseState) -> OpenRequest {
    let lease = RequestedLease { key: Guid([at.client; 16]), state, parent_key: None, epoch: 0, version: 2 };
    OpenRequest { oplock: RequestedOplock::Lease(lease), ..request(at) }
}

/// Waits until a store has applied something about a file; then the answer to it would be there if nobody else were waited for.
async fn applied(store: &Store, before: persistence::EventPosition, file: FileKey) {
    let mut stream = store.watch(before, Scope::All);
    while *timeout(SOON, stream.next()).await.unwrap().unwrap().event != (Event::FileChanged { file }) {}
    // A node that does not take part answers after a majority: one more round, and whoever does not wait has been answered.
    for _ in 0..3 {
        store.read_barrier().await.unwrap();
    }
}

/// Node A asks for something that takes from a client at `apart`, which cannot hear of it.
async fn withheld(cluster: &Cluster, apart: u64, via: u64, file: FileKey, command: Command) -> Answer {
    cluster.faults.isolate(apart, &cluster.ids());
    let before = cluster.store(via).events_end();
    let mut answer = asked(cluster.store(via), command);
    let is_answered = tokio::select! {
        biased;
        () = applied(cluster.store(via), before, file) => (&mut answer).now_or_never().is_some(),
        early = &mut answer => panic!("answered before it could be known: {early:?}"),
    };
    assert!(!is_answered, "answered although node {apart} has not applied it");
    assert!(cluster.store(apart).lease_valid(), "it would answer its clients");
    answer
}

/// Two followers that both have the file open: one that will not hear, one that asks.
async fn two_followers(cluster: &Cluster) -> (u64, u64) {
    let leader = cluster.authority().await;
    let mut rest = cluster.ids().into_iter().filter(|id| *id != leader);
    (rest.next().unwrap(), rest.next().unwrap())
}

async fn answer(answer: Answer) -> Outcome {
    timeout(SOON, answer).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_grant_waits_for_a_node_that_is_behind() {
    let cluster = Cluster::new(3, patient()).await;
    let (apart, via) = two_followers(&cluster).await;
    let (a, b) = (cluster.session(1, apart).await, cluster.session(2, via).await);
    let one = cluster.opened(request(a)).await;
    let two = cluster.opened(request(b)).await;
    let (file, by) = (one.file, b.incarnation);
    let reading = OpenRequest { share_access: ShareAccess::READ | ShareAccess::WRITE, ..leased(b, LeaseState::RH) };
    let new_path = "b.txt".to_owned();
    let commands = [
        lock(b, two.open, 0),
        Command::OpenFile(Box::new(reading)),
        Command::RenameIntent { open: two.open, new_path, replace: false, target: None, by },
        Command::RenameDone { open: two.open, done: true, by },
        Command::SetDeletePending { open: two.open, on: true, by },
    ];
    for command in commands {
        let name = format!("{command:?}");
        let waiting = withheld(&cluster, apart, via, file, command).await;
        cluster.faults.heal();
        let outcome = answer(waiting).await;
        assert!(matches!(outcome, Outcome::LockGranted | Outcome::Opened(_) | Outcome::Done), "{outcome:?} to {name}");
        let (mine, others) = (cluster.store(via), cluster.store(apart));
        let record = |store: &Store| store.with_state(|state| (state.file(&file).cloned(), state.open(two.open).cloned()));
        assert_eq!(record(mine), record(others), "known on the other node when it was answered: {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_lock_waits_as_the_first_one_did() {
    let cluster = Cluster::new(3, patient()).await;
    let (apart, via) = two_followers(&cluster).await;
    let (a, b) = (cluster.session(1, apart).await, cluster.session(2, via).await);
    let file = cluster.opened(request(a)).await.file;
    let open = cluster.opened(persistent(b, 60_000)).await.open;
    let elements = vec![ByteRangeLock { offset: 0, length: 10, exclusive: true }];
    let sequence = Some(LockSequence { index: 1, number: 5 });
    let lock = Command::Lock { open, elements, fail_immediately: true, sequence, by: b.incarnation };
    // The first request is given up while it waits: its client never hears of it and asks again.
    drop(withheld(&cluster, apart, via, file, lock.clone()).await);
    let mut again = asked(cluster.store(via), lock);
    tokio::select! {
        biased;
        early = &mut again => panic!("answered from memory: {early:?}"),
        () = async { for _ in 0..5 { cluster.store(via).read_barrier().await.unwrap(); } } => {}
    }
    cluster.faults.heal();
    assert_eq!(answer(again).await, Outcome::LockAlreadyDone);
    assert!(cluster.store(apart).with_state(|state| state.lock_conflict(&file, OpenId(0), 0, 1, false)));
}

// The open that was taken is gone from the records, so nothing in them tells that its node has to be waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_from_a_node_is_not_given_on_before_it_knows() {
    let cluster = Cluster::new(3, patient()).await;
    let leader = cluster.authority().await;
    let (apart, via) = two_followers(&cluster).await;
    let alone = |at| OpenRequest { share_access: ShareAccess::NONE, ..request(at) };
    let (a, b) = (cluster.session(1, apart).await, cluster.session(2, leader).await);
    let file = cluster.opened(alone(a)).await.file;
    assert!(matches!(cluster.run(leader, Command::OpenFile(Box::new(alone(b)))).await, Outcome::Refused(_)));
    // The client of the first open comes back through another node: its old session ends, and with it the open.
    let (comes_back, _) = comes_back(&cluster, via, a);
    let back = withheld(&cluster, apart, via, file, comes_back).await;
    // Somebody else, at a third node, which has not asked for any of this.
    let other = withheld(&cluster, apart, leader, file, Command::OpenFile(Box::new(alone(b)))).await;
    cluster.faults.heal();
    assert!(matches!(answer(other).await, Outcome::Opened(_)));
    assert!(matches!(answer(back).await, Outcome::SessionOpened { ended: Some(_) }));
    assert!(cluster.store(apart).with_state(|state| state.session(a.session).is_none()));
}

/// The client of a session logs on at another node, which ends that session.
fn comes_back(cluster: &Cluster, via: u64, from: At) -> (Command, At) {
    let incarnation = cluster.store(via).incarnation().unwrap();
    let session = SessionId::of(incarnation, 77);
    let command = Command::SessionOpen {
        session,
        node: NodeId(via),
        incarnation,
        client_guid: Guid([from.client; 16]),
        user: user(from.client),
        user_name: "u".into(),
        client_address: "c".into(),
        previous_session: Some(from.session),
    };
    (command, At { node: NodeId(via), incarnation, session, ..from })
}

/// Node A asks for something about a file that a client at some node is writing; it is answered when the write has landed.
async fn held_up_by(flight: Flight, cluster: &Cluster, via: u64, file: FileKey, command: Command) -> Outcome {
    let before = cluster.store(via).events_end();
    let name = format!("{command:?}");
    let mut waiting = asked(cluster.store(via), command);
    let is_answered = tokio::select! {
        biased;
        () = applied(cluster.store(via), before, file) => (&mut waiting).now_or_never().is_some(),
        early = &mut waiting => panic!("answered while a write that knows nothing of it may land: {early:?} to {name}"),
    };
    assert!(!is_answered, "answered while a write that knows nothing of it may land: {name}");
    drop(flight);
    answer(waiting).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_waits_for_the_writes_that_were_judged_without_it() {
    let cluster = Cluster::new(3, patient()).await;
    let (there, via) = two_followers(&cluster).await;
    let (a, b) = (cluster.session(1, there).await, cluster.session(2, via).await);
    let (one, two) = (cluster.opened(request(a)).await, cluster.opened(request(b)).await);
    let file = one.file;
    let reading = OpenRequest { share_access: ShareAccess::READ | ShareAccess::WRITE, ..leased(b, LeaseState::RH) };
    // At another node, and at the same one.
    for (node, open) in [(there, one.open), (via, two.open)] {
        let write = cluster.store(node).begin_io(file, open);
        let granted = held_up_by(write, &cluster, via, file, lock(b, two.open, 100 * node)).await;
        assert_eq!(granted, Outcome::LockGranted);
        // Who may cache what a write is about to change would never hear of the change.
        let write = cluster.store(node).begin_io(file, open);
        let granted = held_up_by(write, &cluster, via, file, Command::OpenFile(Box::new(reading.clone()))).await;
        assert!(matches!(granted, Outcome::Opened(_)), "{granted:?}");
    }
    // Other files, and what was judged afterwards, hold up nothing.
    let _elsewhere = cluster.store(there).begin_io(FileKey { inode: file.inode + 16, ..file }, one.open);
    assert_eq!(cluster.run(via, lock(b, two.open, 1000)).await, Outcome::LockGranted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_is_not_handed_over_while_its_old_node_still_writes_through_it() {
    let cluster = Cluster::new(3, patient()).await;
    let (there, via) = two_followers(&cluster).await;
    let a = cluster.session(1, there).await;
    let open = cluster.opened(persistent(a, 60_000)).await;
    let write = cluster.store(there).begin_io(open.file, open.open);
    // The client comes back through another node while the file system hangs at the old one.
    let (command, back) = comes_back(&cluster, via, a);
    let before = cluster.store(via).events_end();
    let mut logon = asked(cluster.store(via), command);
    tokio::select! {
        biased;
        () = applied(cluster.store(via), before, open.file) => {}
        early = &mut logon => panic!("answered while a write may land at the old node: {early:?}"),
    }
    let got = held_up_by(write, &cluster, via, open.file, reclaim(back, open.open)).await;
    assert!(matches!(answer(logon).await, Outcome::SessionOpened { ended: Some(_) }));
    assert!(matches!(got, Outcome::Reclaimed(_)), "{got:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_is_given_up_when_nothing_is_written_through_it_any_more() {
    let cluster = Cluster::new(3, patient()).await;
    let (there, via) = two_followers(&cluster).await;
    let alone = |at| OpenRequest { share_access: ShareAccess::NONE, ..request(at) };
    let (a, b) = (cluster.session(1, there).await, cluster.session(2, via).await);
    let open = cluster.opened(alone(a)).await;
    // What is kept for its client belongs to nobody once the connection is lost, so that nobody would be asked either.
    let (c, back) = (cluster.session(3, there).await, cluster.session(3, via).await);
    let kept = cluster.opened(OpenRequest { file: Some(FileKey { inode: 500, ..open.file }), ..persistent(c, 60_000) }).await;
    // Its node alone knows of a session that is replaced there: nobody else owes anything for it.
    let e = cluster.session(5, there).await;
    let replaced = cluster.opened(OpenRequest { file: Some(FileKey { inode: 600, ..open.file }), ..request(e) }).await;
    let ends = [
        comes_back(&cluster, there, e).0,
        Command::CloseOpen { open: open.open, by: a.incarnation },
        Command::DisconnectOpens { session: a.session, why: DisconnectReason::ConnectionLost },
        Command::DisconnectOpens { session: c.session, why: DisconnectReason::ConnectionLost },
    ];
    let writes = [&open, &kept, &replaced].map(|open| cluster.store(there).begin_io(open.file, open.open));
    let mut ends: Vec<Answer> = ends.into_iter().map(|end| asked(cluster.store(there), end)).collect();
    tokio::select! {
        biased;
        early = futures::future::select_all(&mut ends) => panic!("{:?}", early.0),
        () = async { for _ in 0..3 { cluster.store(there).read_barrier().await.unwrap(); } } => {}
    }
    let early = cluster.run(via, reclaim(back, kept.open)).await;
    assert!(matches!(early, Outcome::OwnerAlive { .. }), "{early:?}");
    assert!(matches!(cluster.run(via, Command::OpenFile(Box::new(alone(b)))).await, Outcome::Refused(_)), "it is in use");
    drop(writes);
    for end in ends {
        timeout(SOON, end).await.unwrap().unwrap();
    }
    assert!(matches!(cluster.run(via, reclaim(back, kept.open)).await, Outcome::Reclaimed(_)));
    assert!(matches!(cluster.run(via, Command::OpenFile(Box::new(alone(b)))).await, Outcome::Opened(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_open_on_one_node_costs_no_message() {
    let cluster = Cluster::new(3, Wish::default()).await;
    let leader = cluster.authority().await;
    for via in cluster.ids() {
        let (a, b) = (cluster.session(1, via).await, cluster.session(2, via).await);
        let file = Some(FileKey { volume: 1, inode: 500 + via, generation: 1, stream: 0 });
        let before = cluster.store(via).barriers_asked();
        for client in [a, b] {
            let open = cluster.opened(OpenRequest { file, ..request(client) }).await.open;
            for n in 0..10u64 {
                assert_eq!(cluster.run(via, lock(client, open, u64::from(client.client) * 1000 + n * 10)).await, Outcome::LockGranted);
            }
        }
        assert_eq!(cluster.store(via).barriers_asked(), before, "node {via}, leader {leader}");
    }
    // And one message to each other node that has it open, for each grant.
    let (a, b) = (cluster.session(3, 1).await, cluster.session(3, 2).await);
    cluster.opened(request(a)).await;
    let open = cluster.opened(request(b)).await.open;
    let before = cluster.store(2).barriers_asked();
    for n in 0..10 {
        assert_eq!(cluster.run(2, lock(b, open, n * 10)).await, Outcome::LockGranted);
    }
    assert_eq!(cluster.store(2).barriers_asked() - before, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_change_holds_everywhere_when_it_is_answered() {
    let cluster = Cluster::new(3, patient()).await;
    let (apart, via) = two_followers(&cluster).await;
    cluster.run(via, Command::UserAdd { name: "ann".into(), nt_hash: [1; 16], sid: None, unix: None }).await;
    let disabled = |id: u64| cluster.store(id).with_state(|state| state.user_by_name("ann").unwrap().disabled);
    cluster.faults.isolate(apart, &cluster.ids());
    let mut waiting = asked(cluster.store(via), Command::UserEnable { name: "ann".into(), enabled: false });
    let mut events = cluster.store(via).subscribe_news();
    tokio::select! {
        biased;
        early = &mut waiting => panic!("answered while a node would let the user in: {early:?}"),
        () = next(&mut events, |event| matches!(event, Event::UserChanged { .. }).then_some(())) => {}
    }
    assert!(disabled(via) && !disabled(apart));
    cluster.faults.heal();
    assert_eq!(answer(waiting).await, Outcome::Done);
    assert!(disabled(apart));
}
