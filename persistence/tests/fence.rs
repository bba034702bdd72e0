//! With a fence, a silent node keeps its handles until the fence has closed.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use std::process::Command;
use std::time::Duration;

use common::*;
use persistence::Fence;
use persistence_model::NodeId;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_dead_only_behind_its_fence() {
    let dir = tempfile::TempDir::new().unwrap();
    let (gate, told) = (dir.path().join("gate"), dir.path().join("told"));
    assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
    // The fence says whom it is to fence, and closes when somebody has opened and closed the gate.
    let script = format!("echo $HOLDFAST_NODE_ID >> {}; cat {} > /dev/null", told.display(), gate.display());
    let fence = Fence::Command { program: "/bin/sh".into(), args: vec!["-c".into(), script], timeout: SOON };
    let cluster = Cluster::new(3, Wish { lease: Duration::from_millis(800), fence }).await;
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
    assert_eq!(std::fs::read_to_string(told).unwrap().trim(), silent.to_string());
}
