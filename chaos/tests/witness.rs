//! What witness clients are told on real clusters: the exact messages of each cause, in their order, each once, and nothing else.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chaos::client::{Listener, Listens};
use chaos::cluster::{Cluster, ClusterOptions};
use chaos::failover::drain::drain;
use rustix::process::Signal;
use serde_json::json;
use witness::{Address, Notification, ResourceChange, ResourceState};

/// Longer than any lease, election and restart takes here.
const SOON: Duration = Duration::from_secs(60);

async fn start(loopback: &str) -> Cluster {
    let options =
        ClusterOptions { loopback: Some(loopback.to_owned()), shares: vec!["out,ca,scaleout".to_owned()], ..ClusterOptions::default() };
    Cluster::start(&options).await.unwrap()
}

/// A client registered at one node about the address of another.
async fn listener(cluster: &Cluster, at: usize, about: IpAddr, client: &str) -> Listener {
    Listener::register(&listens(cluster, at, about, client)).await.unwrap()
}

fn listens(cluster: &Cluster, at: usize, about: IpAddr, client: &str) -> Listens {
    Listens {
        from: None,
        witness: cluster.nodes[at].witness,
        net_name: cluster.net_name.clone(),
        client: client.to_owned(),
        about,
        share: Some("OUT".to_owned()),
        is_first_version: false,
        identity: cluster.identity(),
        pause: Duration::ZERO,
    }
}

fn ip(cluster: &Cluster, index: usize) -> IpAddr {
    cluster.nodes[index].smb.ip()
}

fn state(address: IpAddr, state: ResourceState) -> Notification {
    Notification::ResourceChange(vec![ResourceChange { state, name: address.to_string() }])
}

fn gone(address: IpAddr) -> Notification {
    state(address, ResourceState::Unavailable)
}

fn back(address: IpAddr) -> Notification {
    state(address, ResourceState::Available)
}

fn addresses(list: &[(IpAddr, bool)]) -> Vec<Address> {
    list.iter().map(|(ip, is_online)| Address { ip: *ip, is_online: *is_online }).collect()
}

/// The leader and the two others.
async fn roles(cluster: &Cluster) -> [usize; 3] {
    let leader = cluster.leader().await.unwrap();
    [leader, (leader + 1) % 3, (leader + 2) % 3]
}

/// What the cluster says of a client's registrations: (node, state, sent, kept).
async fn registered(cluster: &Cluster, ask: usize, client: &str) -> Vec<(u64, String, u64, u64)> {
    let mut found = cluster.look(ask, "/api/v1/witness").await.unwrap();
    // The node that is asked may learn of a death a moment later than who told us.
    while found["unanswered"] != json!([]) {
        found = cluster.look(ask, "/api/v1/witness").await.unwrap();
    }
    let all = found["registrations"].as_array().unwrap().iter().filter(|r| r["client"] == client);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    all.map(|r| (r["node"].as_u64().unwrap(), text(&r["state"]), r["sent"].as_u64().unwrap(), r["queued"].as_u64().unwrap())).collect()
}

/// Waits for so many messages, then asks the cluster whether it has sent more.
async fn expect(cluster: &Cluster, ask: usize, listener: &Listener, (client, at): (&str, usize), expected: &[Notification]) {
    assert!(listener.wait(expected.len(), SOON).await, "{client} was told {:?}, ended {:?}", listener.told(), listener.end());
    let waiting = (cluster.nodes[at].id, "waiting".to_owned(), expected.len() as u64, 0);
    // The client asks again at once, but it has to get there.
    while registered(cluster, ask, client).await != [waiting.clone()] {
        assert!(listener.end().is_none(), "{client} ended: {:?}", listener.end());
        assert!(listener.told().len() <= expected.len(), "{client} was told {:?}", listener.told());
    }
    assert_eq!(listener.told(), expected, "{client}");
}

/// Kill -9 of a node that leads: who watches it at either other node hears it from the next leader's log, once, and hears its return.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_told_by_both_others() {
    let mut cluster = start("127.0.110").await;
    let [leader, second, third] = roles(&cluster).await;
    let (dead, alive) = (ip(&cluster, leader), ip(&cluster, third));
    let at_second = listener(&cluster, second, dead, "AT-SECOND").await;
    let at_third = listener(&cluster, third, dead, "AT-THIRD").await;
    let first_version = Listens { is_first_version: true, ..listens(&cluster, third, dead, "FIRST-VERSION") };
    let first_version = Listener::register(&first_version).await.unwrap();
    let of_third = listener(&cluster, second, alive, "OF-THIRD").await;
    cluster.kill(leader).unwrap();
    expect(&cluster, second, &at_second, ("AT-SECOND", second), &[gone(dead)]).await;
    expect(&cluster, second, &at_third, ("AT-THIRD", third), &[gone(dead)]).await;
    expect(&cluster, third, &first_version, ("FIRST-VERSION", third), &[gone(dead)]).await;
    // Who registers too late for the event is told at once.
    let late = listener(&cluster, second, dead, "LATE").await;
    expect(&cluster, second, &late, ("LATE", second), &[gone(dead)]).await;
    cluster.restart(leader).await.unwrap();
    cluster.wait_ready().await.unwrap();
    for (listener, client, at) in [
        (&at_second, "AT-SECOND", second),
        (&at_third, "AT-THIRD", third),
        (&first_version, "FIRST-VERSION", third),
        (&late, "LATE", second),
    ] {
        expect(&cluster, leader, listener, (client, at), &[gone(dead), back(dead)]).await;
    }
    expect(&cluster, leader, &of_third, ("OF-THIRD", second), &[]).await;
    cluster.stop().await.unwrap();
}

/// The watched node and the leader die in the same moment: the client hears of both from the next leader's log, each once.
#[tokio::test(flavor = "multi_thread")]
async fn the_watched_node_and_the_leader_die_together() {
    let options = ClusterOptions { loopback: Some("127.0.118".to_owned()), nodes: 5, ..ClusterOptions::default() };
    let cluster = Cluster::start(&options).await.unwrap();
    let leader = cluster.leader().await.unwrap();
    let [watched, at, ask] = [1, 2, 3].map(|step| (leader + step) % 5);
    let of_watched = listener(&cluster, at, ip(&cluster, watched), "OF-WATCHED").await;
    let of_leader = listener(&cluster, at, ip(&cluster, leader), "OF-LEADER").await;
    let of_alive = listener(&cluster, at, ip(&cluster, ask), "OF-ALIVE").await;
    cluster.kill(leader).unwrap();
    cluster.kill(watched).unwrap();
    expect(&cluster, ask, &of_watched, ("OF-WATCHED", at), &[gone(ip(&cluster, watched))]).await;
    expect(&cluster, ask, &of_leader, ("OF-LEADER", at), &[gone(ip(&cluster, leader))]).await;
    expect(&cluster, ask, &of_alive, ("OF-ALIVE", at), &[]).await;
    cluster.stop().await.unwrap();
}

/// A stopped process keeps its connections and its port: its death is declared when its lease is over. It comes back with a new life.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_is_told_when_its_lease_is_over() {
    let cluster = start("127.0.111").await;
    let [leader, second, third] = roles(&cluster).await;
    let silent = ip(&cluster, third);
    let at_leader = listener(&cluster, leader, silent, "AT-LEADER").await;
    let at_second = listener(&cluster, second, silent, "AT-SECOND").await;
    let of_second = listener(&cluster, leader, ip(&cluster, second), "OF-SECOND").await;
    cluster.signal(third, Signal::STOP).unwrap();
    expect(&cluster, leader, &at_leader, ("AT-LEADER", leader), &[gone(silent)]).await;
    expect(&cluster, second, &at_second, ("AT-SECOND", second), &[gone(silent)]).await;
    cluster.signal(third, Signal::CONT).unwrap();
    cluster.wait_ready().await.unwrap();
    expect(&cluster, third, &at_leader, ("AT-LEADER", leader), &[gone(silent), back(silent)]).await;
    expect(&cluster, third, &at_second, ("AT-SECOND", second), &[gone(silent), back(silent)]).await;
    expect(&cluster, third, &of_second, ("OF-SECOND", leader), &[]).await;
    cluster.stop().await.unwrap();
}

/// A node that the others cannot reach: clients at the others hear that it is gone. A client at the node that is cut off hears nothing while
/// it is, and afterwards everything in its order.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_link_is_told_by_the_majority() {
    let cluster = start("127.0.112").await;
    let [leader, second, third] = roles(&cluster).await;
    let cut_off = ip(&cluster, leader);
    let at_second = listener(&cluster, second, cut_off, "AT-SECOND").await;
    let inside = listener(&cluster, leader, ip(&cluster, third), "INSIDE").await;
    cluster.cut_off(leader).await.unwrap();
    expect(&cluster, second, &at_second, ("AT-SECOND", second), &[gone(cut_off)]).await;
    // Whoever asks for the whole list meanwhile gets what can be had; the dead are not waited for.
    assert_eq!(registered(&cluster, third, "INSIDE").await, []);
    assert_eq!(inside.told(), []);
    cluster.mend().await.unwrap();
    cluster.wait_ready().await.unwrap();
    expect(&cluster, third, &at_second, ("AT-SECOND", second), &[gone(cut_off), back(cut_off)]).await;
    expect(&cluster, third, &inside, ("INSIDE", leader), &[]).await;
    cluster.stop().await.unwrap();
}

/// Draining: the clients of the node are asked to go to the two others, by address and online; the clients of others are left alone. One that
/// does not go is dropped after five seconds, and asked again when it registers anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_moves_its_clients_and_only_them() {
    let cluster = start("127.0.113").await;
    let [leader, second, third] = roles(&cluster).await;
    let drained = ip(&cluster, second);
    let mut others = [ip(&cluster, leader), ip(&cluster, third)];
    others.sort();
    let elsewhere = Notification::ClientMove(addresses(&[(others[0], true), (others[1], true)]));
    let stubborn = listener(&cluster, leader, drained, "STUBBORN").await;
    let of_leader = listener(&cluster, third, ip(&cluster, leader), "OF-LEADER").await;
    let id = cluster.nodes[second].id.to_string();
    let (code, said) = cluster.command(third, &["node", "drain", &id]).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("it is safe to stop node {id}")), "{said}");
    assert!(stubborn.wait_end(SOON).await, "nobody made it register anew");
    assert_eq!((stubborn.told(), stubborn.end().unwrap()), (vec![elsewhere.clone()], "witness answered not found (0x490)".to_owned()));
    let again = listener(&cluster, third, drained, "STUBBORN").await;
    assert!(again.wait(1, SOON).await);
    assert_eq!(again.told(), [elsewhere]);
    expect(&cluster, second, &of_leader, ("OF-LEADER", third), &[]).await;
    let (code, said) = cluster.command(third, &["node", "undrain", &id]).await.unwrap();
    assert_eq!((code, said.trim()), (Some(0), format!("node {id} serves again").as_str()));
    // Once it is not drained any more nobody is asked to leave.
    assert!(again.wait_end(SOON).await);
    let returned = listener(&cluster, third, drained, "RETURNED").await;
    expect(&cluster, leader, &returned, ("RETURNED", third), &[]).await;
    cluster.stop().await.unwrap();
}

/// The client that writes is gone before the node is stopped: it hears no error, and every block is there. Both the leader and a follower.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_drained_under_a_writer_without_an_error() {
    let mut cluster = start("127.0.116").await;
    let [leader, second, _] = roles(&cluster).await;
    for (index, seed) in [(leader, 41), (second, 42)] {
        let report = drain(&mut cluster, index, seed).await.unwrap();
        println!("node {}: {}", cluster.nodes[index].id, report.line());
        assert!(report.is_good(), "{report:?}");
        assert!(report.acknowledged >= 96, "too little was written to prove anything: {}", report.acknowledged);
    }
    cluster.stop().await.unwrap();
}

/// A node that gains an address, and comes back without it: IP_CHANGE names the address with its flags, once; the lost one stays unavailable.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_address_is_told_by_name_and_stays_unavailable() {
    let mut cluster = start("127.0.114").await;
    let [leader, second, third] = roles(&cluster).await;
    let (first, gained) = (cluster.nodes[second].smb, IpAddr::from([127, 0, 114, 99]));
    let of_first = listener(&cluster, leader, first.ip(), "OF-FIRST").await;
    let of_other = listener(&cluster, third, ip(&cluster, leader), "OF-OTHER").await;
    let version = Listens { is_first_version: true, ..listens(&cluster, third, first.ip(), "FIRST-VERSION") };
    let first_version = Listener::register(&version).await.unwrap();
    let file = cluster.config_file(second).unwrap();
    let before = std::fs::read_to_string(&file).unwrap();
    let one = format!("smb = [\"{first}\"]");
    assert!(before.contains(&one), "{before}");
    let both = format!("smb = [\"{first}\", \"{}\"]", SocketAddr::new(gained, first.port()));
    restart_with(&mut cluster, second, &before.replace(&one, &both)).await;
    let online = Notification::IpChange(addresses(&[(gained, true)]));
    expect(&cluster, leader, &of_other, ("OF-OTHER", third), std::slice::from_ref(&online)).await;
    expect(&cluster, leader, &of_first, ("OF-FIRST", leader), &[gone(first.ip()), back(first.ip()), online.clone()]).await;
    let of_gained = listener(&cluster, third, gained, "OF-GAINED").await;
    restart_with(&mut cluster, second, &before).await;
    let offline = Notification::IpChange(addresses(&[(gained, false)]));
    expect(&cluster, leader, &of_gained, ("OF-GAINED", third), &[gone(gained), offline.clone()]).await;
    expect(&cluster, leader, &of_other, ("OF-OTHER", third), &[online.clone(), offline.clone()]).await;
    let both_lives = [gone(first.ip()), back(first.ip()), online, gone(first.ip()), back(first.ip()), offline];
    expect(&cluster, leader, &of_first, ("OF-FIRST", leader), &both_lives).await;
    // Version 1 knows no addresses.
    let states = [gone(first.ip()), back(first.ip()), gone(first.ip()), back(first.ip())];
    expect(&cluster, leader, &first_version, ("FIRST-VERSION", third), &states).await;
    cluster.stop().await.unwrap();
}

async fn restart_with(cluster: &mut Cluster, index: usize, config: &str) {
    cluster.signal(index, Signal::TERM).unwrap();
    cluster.wait_gone(index).await.unwrap();
    std::fs::write(cluster.config_file(index).unwrap(), config).unwrap();
    cluster.restart(index).await.unwrap();
    cluster.wait_ready().await.unwrap();
}

/// What an operator asks for at one node reaches clients wherever they are registered, also while nobody leads.
#[tokio::test(flavor = "multi_thread")]
async fn an_operators_wish_reaches_clients_at_every_node() {
    let mut cluster = start("127.0.115").await;
    let [leader, second, third] = roles(&cluster).await;
    let (first, to) = (ip(&cluster, leader), cluster.nodes[third].id.to_string());
    let at_second = listener(&cluster, second, first, "Mover").await;
    let at_third = listener(&cluster, third, first, "MOVER").await;
    let other = listener(&cluster, third, first, "OTHER").await;
    let (code, said) = cluster.command(leader, &["witness", "list", "--json"]).await.unwrap();
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, found["registrations"].as_array().unwrap().len()), (Some(0), 3), "{said}");
    let expected = json!({"node": cluster.nodes[second].id, "client": "Mover", "net_name": cluster.net_name, "address": first, "share": "OUT",
        "version": 2, "ip_notification": true, "sent": 0, "queued": 0});
    let mine = found["registrations"].as_array().unwrap().iter().find(|r| r["client"] == "Mover").unwrap();
    assert!(expected.as_object().unwrap().iter().all(|(key, value)| mine[key] == *value), "{mine}");

    let offline = addresses(&[(IpAddr::from([192, 0, 2, 9]), false)]);
    let (code, said) = cluster.command(second, &["witness", "notify", "--offline", "192.0.2.9", "--client", "other"]).await.unwrap();
    assert_eq!((code, said.trim()), (Some(0), format!("1 registrations told: 1 at node {to}").as_str()));
    expect(&cluster, leader, &other, ("OTHER", third), &[Notification::IpChange(offline.clone())]).await;
    let (code, said) = cluster
        .command(second, &["witness", "notify", "--address", &first.to_string(), "--unavailable", "--client", "OTHER", "--json"])
        .await
        .unwrap();
    assert_eq!(code, Some(0), "{said}");
    expect(&cluster, leader, &other, ("OTHER", third), &[Notification::IpChange(offline.clone()), gone(first)]).await;
    let (code, said) = cluster.command(leader, &["witness", "move-share", "out", "--to", &to, "--client", "OTHER"]).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    let moved = addresses(&[(ip(&cluster, third), true)]);
    let told = [Notification::IpChange(offline), gone(first), Notification::ShareMove(moved.clone())];
    assert!(other.wait(3, SOON).await);
    assert_eq!(other.told(), told);

    // The leader dies, and with the next breath somebody wants a client to move: no log is asked.
    cluster.kill(leader).unwrap();
    let (code, said) = cluster.command(second, &["witness", "move", "--client", "mover", "--to", &to]).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    for listener in [&at_second, &at_third] {
        assert!(listener.wait(2, SOON).await, "told {:?}, ended {:?}", listener.told(), listener.end());
        let told = listener.told();
        let places = [gone(first), Notification::ClientMove(moved.clone())].map(|wanted| told.iter().filter(|t| **t == wanted).count());
        assert_eq!((told.len(), places), (2, [1, 1]), "{told:?}");
    }
    cluster.restart(leader).await.unwrap();
    cluster.wait_ready().await.unwrap();

    // Between two registrations it is told as soon as it is there; once it has moved nobody sends it on.
    let (code, said) = cluster.command(third, &["witness", "move", "--client", "Traveller", "--to", &to]).await.unwrap();
    assert!(code == Some(65) && said.contains("Traveller"), "{said}");
    let traveller = listener(&cluster, second, first, "TRAVELLER").await;
    assert!(traveller.wait(1, SOON).await);
    assert_eq!(traveller.told(), [Notification::ClientMove(moved)]);
    let arrived = listener(&cluster, second, ip(&cluster, third), "TRAVELLER").await;
    drop(traveller);
    let (code, said) = cluster.command(leader, &["witness", "unregister", "--client", "traveller"]).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(arrived.wait_end(SOON).await);
    assert_eq!((arrived.told(), arrived.end().unwrap()), (Vec::new(), "witness answered not found (0x490)".to_owned()));

    for (arguments, code, word) in [
        (&["witness", "move", "--client", "X", "--to", "9"][..], 65, "there is no node 9"),
        (&["witness", "unregister", "--id", "nonsense"], 65, "no number of a registration"),
        (&["witness", "move-share", "nowhere", "--to", &to], 65, "there is no share"),
        (&["witness", "notify", "--client", "X"], 64, "required"),
        (&["witness", "notify", "--address", "10.0.0.1"], 64, "available"),
    ] {
        let (got, said) = cluster.command(second, arguments).await.unwrap();
        assert!(got == Some(code) && said.contains(word), "{arguments:?}: {got:?} {said}");
    }
    cluster.stop().await.unwrap();
}
