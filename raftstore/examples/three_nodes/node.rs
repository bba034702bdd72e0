//! A child: one store on a thread of its own, and the clients of this node beside it. Obeys the parent's lines with one line each.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raftstore::{Class, Config, RaftStore};

use crate::machine::{self, Puts};
use crate::record::{self, Record};

/// A client gives its proposal up after this time.
const PROPOSAL_MAX: Duration = Duration::from_secs(10);
/// Keys that one client puts in turn when they need not be unique.
const RING: u64 = 100;

/// The parent's order to put a load on this node.
#[derive(Debug, Clone, Copy)]
struct Load {
    class: Class,
    clients: u64,
    time: Duration,
    /// Upper bits of every key: no two loads of a run share a key.
    first: u64,
    /// Never the same key twice.
    unique: bool,
}

/// Runs a node until the parent's end of the pipe is closed.
pub(crate) fn run(dir: &Path, id: u64, listen: SocketAddr) {
    let identity = std::fs::read(dir.join(format!("identity-{id}"))).unwrap();
    let (identity, _) = bincode::serde::decode_from_slice(&identity, bincode::config::standard()).unwrap();
    // As the program has it: one thread for the replication, others for those who propose.
    let replication = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let handle = replication.handle().clone();
    std::thread::spawn(move || replication.block_on(std::future::pending::<()>()));
    let clients = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let puts = Arc::new(Puts::default());
    let config = Config::new(identity, dir.join(id.to_string()), listen);
    let store = clients.block_on(handle.spawn(RaftStore::start(config, puts.clone()))).unwrap().unwrap();
    say(&store.local_addr().to_string());
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["bootstrap"] => clients.block_on(store.bootstrap()).unwrap(),
            ["add", id, address] => clients.block_on(add(&store, id.parse().unwrap(), address)),
            ["leader"] => {
                say(&store.leader().map_or(0, |leader| leader.node_id).to_string());
                continue;
            }
            ["applied"] => {
                say(&store.applied().to_string());
                continue;
            }
            ["counts", file] => record::write_words(&dir.join(file), puts.counts().into_iter().flat_map(|(key, count)| [key, count])),
            ["load", class, count, millis, first, unique, file] => {
                let load = Load {
                    class: class_of(class),
                    clients: count.parse().unwrap(),
                    time: Duration::from_millis(millis.parse().unwrap()),
                    first: first.parse().unwrap(),
                    unique: *unique == "unique",
                };
                record::write(&dir.join(file), &clients.block_on(put_load(&store, load)));
            }
            _ => panic!("what is {line}?"),
        }
        say("done");
    }
    std::process::exit(0);
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn class_of(word: &str) -> Class {
    match word {
        "volatile" => Class::Volatile,
        "durable" => Class::Durable,
        _ => Class::Persistent,
    }
}

async fn add(store: &RaftStore, id: u64, address: &str) {
    store.add_learner(id, address.to_owned()).await.unwrap();
    store.promote(id).await.unwrap();
}

async fn put_load(store: &RaftStore, load: Load) -> Vec<Record> {
    let until = Instant::now() + load.time;
    let clients: Vec<_> = (0..load.clients).map(|client| tokio::spawn(client_of(store.clone(), load, client, until))).collect();
    let mut records = Vec::new();
    for client in clients {
        records.extend(client.await.unwrap());
    }
    records
}

async fn client_of(store: RaftStore, load: Load, client: u64, until: Instant) -> Vec<Record> {
    let mut records = Vec::new();
    let mut n = 0;
    while Instant::now() < until {
        let key = load.first | client << 24 | if load.unique { n } else { n % RING };
        let began_ns = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
        let began = Instant::now();
        let acknowledged = store.propose(machine::put(key), load.class, PROPOSAL_MAX).await.is_ok();
        records.push(Record { began_ns, took_ns: u64::try_from(began.elapsed().as_nanos()).unwrap(), key, acknowledged });
        n += 1;
    }
    records
}
