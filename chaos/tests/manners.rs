//! A cluster between foreign clients and garbage: smbclient gets its files through every node, and no garbage stops one.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Stdio;

use chaos::cluster::{CA_SHARE, Cluster, ClusterOptions, PASSWORD, PLAIN_SHARE, USER};
use chaos::garbage::{RESIDENT_KIB_MAX, garbage};
use chaos::rng::Rng;
use tokio::process::Command;

async fn run(command: &mut Command) -> (bool, String) {
    let output = command.stdin(Stdio::null()).output().await.expect("smbclient and samba-testsuite are installed");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

fn account() -> String {
    format!("{USER}%{PASSWORD}")
}

async fn smbclient(cluster: &Cluster, node: usize, share: &str, extra: &[&str], commands: &str) -> (bool, String) {
    let at = cluster.nodes[node].smb;
    let mut command = Command::new("smbclient");
    command.arg(format!("//{}/{share}", at.ip())).args(["-p", &at.port().to_string(), "-U", &account()]).args(extra).args(["-c", commands]);
    run(&mut command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_rpc_clients_find_the_witness_and_register_with_it() {
    // Where no share is scale-out, the witness takes any name of a share (MS-SWN 3.1.4.5); smbtorture wants wrong ones refused.
    let shares = vec!["out,ca,scaleout".to_owned()];
    let options = ClusterOptions { loopback: Some("127.0.103".to_owned()), shares, ..ClusterOptions::default() };
    let cluster = Cluster::start(&options).await.unwrap();
    for node in &cluster.nodes {
        let witness = format!("ncacn_ip_tcp:{}[{}", node.witness.ip(), node.witness.port());
        // The mapper has a pipe beside its port; rpcclient knows no other port than 135.
        let at = [node.smb.ip().to_string(), "-p".to_owned(), node.smb.port().to_string()];
        for (question, answers) in [
            ("epmlookup", &[witness.as_str(), r"[\pipe\srvsvc", r"[\pipe\wkssvc"][..]),
            ("epmmap witness ncacn_ip_tcp", &[&witness]),
            ("epmmap srvsvc", &[r"[\pipe\srvsvc"]),
        ] {
            let (good, text) = run(Command::new("rpcclient").args(&at).args(["-U", &account(), "-c", question])).await;
            assert!(good && answers.iter().all(|answer| text.contains(answer)), "node {} {question}: {text}", node.id);
        }
        let ports = format!("--option=smb ports={}", node.smb.port());
        for case in ["GetInterfaceList", "Register", "UnRegister", "RegisterEx"] {
            for level in ["sign", "seal"] {
                let mut command = Command::new("smbtorture");
                command.arg(format!("{witness},{level}]")).args(["-U", &account(), "--option=torture:net_name=HOLDFAST", &ports]);
                let (good, text) = run(command.arg(format!("rpc.witness.witness.{case}"))).await;
                assert!(good && text.contains("success:"), "node {} {case} {level}: {text}", node.id);
            }
        }
    }
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_demo_and_its_nodes_end_with_whoever_started_it() {
    let options = ClusterOptions { loopback: Some("127.0.104".to_owned()), nodes: 2, ..ClusterOptions::default() };
    Cluster::start(&options).await.unwrap().abandon().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_clients_work_through_every_node_and_garbage_stops_none() {
    let options = ClusterOptions { loopback: Some("127.0.102".to_owned()), ..ClusterOptions::default() };
    let cluster = Cluster::start(&options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (up, down) = (folder.path().join("up"), folder.path().join("down"));
    let mut data = vec![0; 3_000_001];
    Rng::new(5).fill(&mut data);
    std::fs::write(&up, &data).unwrap();
    for node in 0..cluster.nodes.len() {
        for (share, extra) in [(CA_SHARE, &["-m", "SMB3_11"][..]), (PLAIN_SHARE, &["-m", "SMB3_11", "--client-protection=encrypt"][..])] {
            let commands = format!(
                "mkdir folder; cd folder; put {} one; rename one two; ls; get two {}; del two; cd ..; rmdir folder",
                up.display(),
                down.display()
            );
            let (good, text) = smbclient(&cluster, node, share, extra, &commands).await;
            assert!(good, "node {node} share {share}: {text}");
            assert!(text.contains("two"), "node {node} share {share}: the listing lacks the file: {text}");
            assert!(std::fs::read(&down).unwrap() == data, "node {node} share {share}: the file came back changed");
            std::fs::remove_file(&down).unwrap();
        }
        let (good, text) = smbclient(&cluster, node, CA_SHARE, &["--password", "wrong"], "ls").await;
        assert!(!good && text.contains("LOGON_FAILURE"), "node {node}: {text}");
    }
    let seen = garbage(&cluster, 0, 1000, 7).await.unwrap();
    assert!(seen.ports >= 5, "SMB, mapper, witness, admin and raft listen: {seen:?}");
    assert!(seen.after_kib <= RESIDENT_KIB_MAX);
    cluster.stop().await.unwrap();
}
