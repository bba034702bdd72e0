//! With a fence, a silent node keeps its handles until the fence has closed; a dead process needs none.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::*;
use persistence::Fence;
use persistence_model::NodeId;
use tokio::time::timeout;

const LEASE: Duration = Duration::from_millis(800);

fn shell(script: String) -> Fence {
    Fence::Command { program: "/bin/sh".into(), args: vec!["-c".into(), script], timeout: SOON }
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_dead_only_behind_its_fence() {
    let dir = tempfile::TempDir::new().unwrap();
    let (gate, told) = (dir.path().join("gate"), dir.path().join("told"));
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    // The fence says whom it is to fence, and closes when somebody has opened and closed the gate.
    let fence = shell(format!("echo $HOLDFAST_NODE_ID >> {}; cat {} > /dev/null", told.display(), gate.display()));
    let cluster = Cluster::new(3, Wish { lease: LEASE, fence, ..Wish::default() }).await;
    let leader = cluster.authority().await;
    let silent = *cluster.ids().iter().find(|id| **id != leader).unwrap();
    let incarnation = cluster.store(silent).incarnation().unwrap();
    let mut events = cluster.store(leader).subscribe();
    cluster.faults.isolate(silent, &cluster.ids());
    // Opening succeeds when the fence runs.
    let open = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(gate).unwrap()).await.unwrap();
    assert!(!cluster.store(silent).lease_valid());
    let live = cluster.store(leader).with_state(|state| state.node(NodeId(silent)).unwrap().is_live());
    assert!(live, "not dead while the fence is open");
    drop(open);
    assert_eq!(death(&mut events, NodeId(silent)).await, incarnation);
    assert_eq!(lines(&told), [silent.to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_that_fails_is_tried_again_and_nobody_is_dead_before_it_succeeds() {
    let dir = tempfile::TempDir::new().unwrap();
    let tried = dir.path().join("tried");
    // It fails the first time.
    let fence = shell(format!("echo try >> {0}; test $(wc -l < {0}) -ge 2", tried.display()));
    let mut cluster = Cluster::new(3, Wish { lease: LEASE, fence, ..Wish::default() }).await;
    let leader = cluster.authority().await;
    let mut others = cluster.ids().into_iter().filter(|id| *id != leader);
    let (silent, crashed) = (others.next().unwrap(), others.next().unwrap());
    let seen = tried.clone();
    let early = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = early.clone();
    cluster.store(leader).observe(move |event| {
        if matches!(event, persistence_model::Event::NodeDown { node, .. } if node.0 == silent) && lines(&seen).len() < 2 {
            told.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let mut events = cluster.store(leader).subscribe();
    // A process that is gone touches nothing any more: no fence is run for it.
    cluster.kill(crashed).await;
    death(&mut events, NodeId(crashed)).await;
    assert_eq!(lines(&tried), [""; 0]);
    cluster.start(crashed).await;
    cluster.store(crashed).wait_serving(SOON).await.unwrap();
    cluster.faults.isolate(silent, &cluster.ids());
    death(&mut events, NodeId(silent)).await;
    assert_eq!(lines(&tried).len(), 2);
    assert!(!early.load(std::sync::atomic::Ordering::SeqCst), "declared dead although the fence had failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watchdog_is_fed_while_the_lease_holds_and_not_after() {
    let dir = tempfile::TempDir::new().unwrap();
    // All nodes of this process share the one device: what counts is who stops feeding it.
    let device = dir.path().join("watchdog");
    std::fs::write(&device, "").unwrap();
    let fence = Fence::Watchdog { device: device.clone(), timeout: Duration::from_millis(300) };
    let cluster = Cluster::new(3, Wish { lease: LEASE, fence, ..Wish::default() }).await;
    let fed = || std::fs::metadata(&device).unwrap().len();
    let grows = async {
        let before = fed();
        while fed() < before + 12 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, grows).await.unwrap();
    // Everybody is cut off from everybody: no lease is renewed, nobody feeds.
    for id in cluster.ids() {
        cluster.faults.isolate(id, &cluster.ids());
    }
    let silent = async {
        while cluster.ids().iter().any(|id| cluster.store(*id).lease_valid()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, silent).await.unwrap();
    let last = fed();
    tokio::time::sleep(LEASE).await;
    assert_eq!(fed(), last, "fed after the lease was over");
    cluster.faults.heal();
    for id in cluster.ids() {
        cluster.store(id).wait_serving(SOON).await.unwrap();
    }
    timeout(SOON, async {
        while fed() == last {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}
