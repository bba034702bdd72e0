//! What witness clients are told on real clusters: the exact messages of each cause, in their order, each once, and nothing else.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chaos::client::{Listener, Listens, Session, Tree};
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

/// Everything that was told, once the witness has made the client register anew: five seconds after it was told to move.
async fn told_until_the_end(listener: &Listener, count: usize) -> Vec<Notification> {
    assert!(listener.wait(count, SOON).await, "told {:?}, ended {:?}", listener.told(), listener.end());
    assert!(listener.wait_end(SOON).await, "nobody made it register anew");
    assert_eq!(listener.end().unwrap(), "witness answered not found (0x490)");
    listener.told()
}

/// The owner of a share, as every node tells it.
async fn owners(cluster: &Cluster, share: &str, nodes: &[usize]) -> Vec<Option<u64>> {
    let mut owners = Vec::new();
    for &node in nodes {
        let shares = cluster.look(node, "/api/v1/shares").await.unwrap();
        let share = shares.as_array().unwrap().iter().find(|s| s["name"] == share).unwrap().clone();
        assert_eq!(share["asymmetric"], share["owner"].is_u64(), "{share}");
        owners.push(share["owner"].as_u64());
    }
    owners
}

/// What the cluster agrees on after all nodes have been heard: owners of shares, and addresses that change.
async fn wait_level(cluster: &Cluster) {
    let deadline = tokio::time::Instant::now() + SOON;
    while cluster.look(0, "/api/v1/status").await.unwrap()["level"].as_u64() < Some(3) {
        assert!(tokio::time::Instant::now() < deadline, "the format level does not rise");
    }
}

/// A share that one node owns: moved by the operator, by its owner's death, and by draining. Whoever has registered for it by name, wherever,
/// is told once where it is, unless it is there; nobody else hears anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_moves_with_its_owner_and_is_told_once() {
    let cluster = start("127.0.119").await;
    wait_level(&cluster).await;
    let [leader, second, third] = roles(&cluster).await;
    let ids = [leader, second, third].map(|index| cluster.nodes[index].id);
    let moved = |to: usize| Notification::ShareMove(addresses(&[(ip(&cluster, to), true)]));
    let directory = cluster.directory().join("shares").join("own");
    std::fs::create_dir_all(&directory).unwrap();
    let word = format!("own={}", directory.display());
    let owner = ids[1].to_string();
    let (code, said) = cluster.command(leader, &["share", "add", &word, "--asymmetric", "--owner", &owner]).await.unwrap();
    assert_eq!((code, said.trim()), (Some(0), "added own"));
    assert_eq!(owners(&cluster, "own", &[leader, second, third]).await, [Some(ids[1]); 3]);
    assert_eq!(owners(&cluster, "out", &[third]).await, [None]);

    let of_own = |at: usize, about: usize, client: &str| Listens {
        share: Some("OWN".to_owned()),
        ..listens(&cluster, at, ip(&cluster, about), client)
    };
    let at_leader = Listener::register(&of_own(leader, second, "AT-LEADER")).await.unwrap();
    let at_third = Listener::register(&of_own(third, second, "AT-THIRD")).await.unwrap();
    let of_third = Listener::register(&of_own(leader, third, "OF-THIRD")).await.unwrap();
    // It asks about another node than the owner's, and so is told at once.
    assert_eq!(told_until_the_end(&of_third, 1).await, [moved(second)]);
    let of_third = Listener::register(&of_own(leader, third, "OF-THIRD")).await.unwrap();
    assert!(of_third.wait(1, SOON).await);
    let of_out = listener(&cluster, leader, ip(&cluster, second), "OF-OUT").await;
    let version = Listens { is_first_version: true, ..of_own(third, second, "FIRST-VERSION") };
    let first_version = Listener::register(&version).await.unwrap();

    // The operator moves it, through a node that has nothing to do with it.
    let to = ids[2].to_string();
    let (code, said) = cluster.command(leader, &["witness", "move-share", "Own", "--to", &to, "--json"]).await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &answer["owner"]), (Some(0), &json!(ids[2])), "{said}");
    assert_eq!(owners(&cluster, "own", &[leader, second, third]).await, [Some(ids[2]); 3], "every node knows it when the answer comes");
    assert_eq!(told_until_the_end(&at_leader, 1).await, [moved(third)]);
    assert_eq!(told_until_the_end(&at_third, 1).await, [moved(third)]);
    assert!(of_third.wait_end(SOON).await);
    assert_eq!(of_third.told(), [moved(second)], "the share has come to where it is");
    expect(&cluster, second, &of_out, ("OF-OUT", leader), &[]).await;
    expect(&cluster, second, &first_version, ("FIRST-VERSION", third), &[]).await;
    for (arguments, word) in [
        (&["witness", "move-share", "own", "--to", &to, "--client", "X"][..], "leave out the client"),
        (&["witness", "move-share", "own", "--to", "9"], "there is no node 9"),
        (&["share", "add", &word, "--asymmetric", "--owner", "9"], "there is no node 9"),
    ] {
        let (code, said) = cluster.command(second, arguments).await.unwrap();
        assert!(code == Some(65) && said.contains(word), "{arguments:?}: {code:?} {said}");
    }

    // The owner dies: its shares go to the node with the fewest, of which the first.
    let heir = if ids[0] < ids[1] { leader } else { second };
    let last = if heir == leader { second } else { leader };
    let at_heir = Listener::register(&of_own(heir, third, "AT-HEIR")).await.unwrap();
    let at_last = Listener::register(&of_own(last, third, "AT-LAST")).await.unwrap();
    expect(&cluster, second, &at_heir, ("AT-HEIR", heir), &[]).await;
    cluster.kill(third).unwrap();
    assert_eq!(told_until_the_end(&at_heir, 2).await, [gone(ip(&cluster, third)), moved(heir)]);
    assert_eq!(told_until_the_end(&at_last, 2).await, [gone(ip(&cluster, third)), moved(heir)]);
    assert_eq!(owners(&cluster, "own", &[leader, second]).await, [Some(cluster.nodes[heir].id); 2]);

    // The next owner is drained. Its clients are asked to go to whoever serves, and that is where the share is.
    let of_heir = Listener::register(&of_own(last, heir, "OF-HEIR")).await.unwrap();
    expect(&cluster, second, &of_heir, ("OF-HEIR", last), &[]).await;
    let id = cluster.nodes[heir].id.to_string();
    let (code, said) = cluster.command(last, &["node", "drain", &id]).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    let elsewhere = Notification::ClientMove(addresses(&[(ip(&cluster, last), true)]));
    assert_eq!(told_until_the_end(&of_heir, 2).await, [elsewhere, moved(last)]);
    assert_eq!(owners(&cluster, "own", &[leader, second]).await, [Some(cluster.nodes[last].id); 2]);
    cluster.stop().await.unwrap();
}

/// A node that serves gains an address and loses it again, by the operator's word to another node. Everybody who asked for addresses hears of
/// each change once, by name and flag; who asks about the lost one also hears that it is unavailable; the node's process goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_leaves_a_running_node() {
    let cluster = start("127.0.120").await;
    wait_level(&cluster).await;
    let [leader, second, third] = roles(&cluster).await;
    let first = cluster.nodes[second].smb;
    let gained = SocketAddr::new([127, 0, 120, 99].into(), first.port());
    let id = cluster.nodes[second].id.to_string();
    let of_first = listener(&cluster, leader, first.ip(), "OF-FIRST").await;
    let of_other = listener(&cluster, second, ip(&cluster, leader), "OF-OTHER").await;
    let version = |about, client| Listens { is_first_version: true, ..listens(&cluster, third, about, client) };
    let version_of_first = Listener::register(&version(first.ip(), "VERSION-FIRST")).await.unwrap();

    let there = gained.to_string();
    let (code, said) = cluster.command(third, &["node", "addresses", &id, "--add", &there, "--json"]).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&said).unwrap(),
        json!({"node": cluster.nodes[second].id, "smb": [first, gained]})
    );
    let online = Notification::IpChange(addresses(&[(gained.ip(), true)]));
    expect(&cluster, third, &of_first, ("OF-FIRST", leader), std::slice::from_ref(&online)).await;
    expect(&cluster, third, &of_other, ("OF-OTHER", second), std::slice::from_ref(&online)).await;
    let identity = cluster.identity();
    let (session, _breaks) = Session::connect(gained, &identity, 0).await.unwrap();
    let tree = Tree::connect(&session, &gained.ip().to_string(), "share").await.unwrap();
    let of_gained = listener(&cluster, third, gained.ip(), "OF-GAINED").await;
    let version_of_gained = Listener::register(&version(gained.ip(), "VERSION-GAINED")).await.unwrap();

    let (code, said) = cluster.command(leader, &["node", "addresses", &id, "--remove", &there]).await.unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("clients reach node {id} at {first} now")) && said.contains("listen.smb"), "{said}");
    let offline = Notification::IpChange(addresses(&[(gained.ip(), false)]));
    expect(&cluster, third, &of_gained, ("OF-GAINED", third), &[gone(gained.ip()), offline.clone()]).await;
    expect(&cluster, third, &of_first, ("OF-FIRST", leader), &[online.clone(), offline.clone()]).await;
    expect(&cluster, third, &of_other, ("OF-OTHER", second), &[online, offline]).await;
    // Version 1 knows no addresses, and the first one serves as ever.
    expect(&cluster, third, &version_of_gained, ("VERSION-GAINED", third), &[gone(gained.ip())]).await;
    expect(&cluster, third, &version_of_first, ("VERSION-FIRST", third), &[]).await;
    // It is closed: whoever was there is cut off, and nobody comes in.
    assert!(Tree::connect(&session, &gained.ip().to_string(), "share").await.is_err());
    drop(tree);
    let refused = tokio::net::TcpStream::connect(gained).await;
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    let (kept, _breaks) = Session::connect(first, &identity, 0).await.unwrap();
    assert!(Tree::connect(&kept, &first.ip().to_string(), "share").await.is_ok());
    for node in [leader, second, third] {
        let status = cluster.look(node, "/api/v1/status").await.unwrap();
        let own = status["nodes"].as_array().unwrap().iter().find(|n| n["id"] == cluster.nodes[second].id).unwrap();
        assert_eq!((&own["smb"], &own["state"]), (&json!([first]), &json!("up")));
    }

    let other = cluster.nodes[leader].smb.to_string();
    for (arguments, code, word) in [
        (&["node", "addresses", &id, "--remove", &first.to_string()][..], 65, "no address left"),
        (&["node", "addresses", &id, "--add", "192.0.2.77:445"], 65, "not an address of this machine"),
        (&["node", "addresses", &id, "--add", &other], 65, "cannot listen"),
        (&["node", "addresses", &id, "--add", "0.0.0.0:445"], 65, "no address that clients can connect to"),
        (&["node", "addresses", "9", "--add", &there], 65, "there is no node 9"),
        (&["node", "addresses", &id], 64, "required"),
    ] {
        let (got, said) = cluster.command(third, arguments).await.unwrap();
        assert!(got == Some(code) && said.contains(word), "{arguments:?}: {got:?} {said}");
    }
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
