//! The parent: starts the nodes, spreads the load, kills, and compares what was acknowledged with what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use raftstore::pki::ClusterCa;

use crate::record::{self, Record};

/// Load before the leader dies, and altogether.
const BEFORE_KILL: Duration = Duration::from_millis(1000);
const KILL_ROUND: Duration = Duration::from_millis(4000);
/// Longest wait for a leader, and for a node that catches up.
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// Three nodes.
pub(crate) struct Trio {
    dir: tempfile::TempDir,
    nodes: Vec<Node>,
    loads: u64,
}

struct Node {
    id: u64,
    address: String,
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What a load came to.
pub(crate) struct LoadReport {
    pub(crate) commits: usize,
    pub(crate) failed: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// What the death of the leader came to.
pub(crate) struct KillReport {
    /// Commits per second before it.
    pub(crate) before: f64,
    /// Longest time without an acknowledged commit.
    pub(crate) gap_ms: f64,
    /// When that began, from the death on: one that began long after it had another cause.
    pub(crate) gap_at_ms: f64,
    /// Longest time that one proposal took.
    pub(crate) hang_ms: f64,
    pub(crate) acknowledged: usize,
    /// Proposals without an outcome.
    pub(crate) unknown: usize,
    /// Acknowledged commits that a node does not have.
    pub(crate) lost: usize,
    /// Keys that a node applied twice.
    pub(crate) doubled: usize,
}

impl Node {
    fn start(dir: &Path, id: u64, listen: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["node", dir.to_str().unwrap(), &id.to_string(), listen])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut node = Self { id, address: String::new(), child, orders, answers };
        node.address = node.answer();
        node
    }

    fn order(&mut self, line: &str) {
        writeln!(self.orders, "{line}").unwrap();
    }

    fn answer(&mut self) -> String {
        self.answers.next().expect("a node of ours ended").unwrap()
    }

    fn ask(&mut self, line: &str) -> String {
        self.order(line);
        self.answer()
    }

    fn number(&mut self, line: &str) -> u64 {
        self.ask(line).parse().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have been killed already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Trio {
    /// Starts three nodes with their data in a folder of their own below `dir`.
    pub(crate) fn start(dir: &Path) -> Self {
        let dir = tempfile::tempdir_in(dir).unwrap();
        let ca = ClusterCa::create().unwrap();
        let mut nodes = Vec::new();
        for id in 1..=3 {
            let identity = bincode::serde::encode_to_vec(ca.issue(id).unwrap(), bincode::config::standard()).unwrap();
            std::fs::write(dir.path().join(format!("identity-{id}")), identity).unwrap();
            nodes.push(Node::start(dir.path(), id, "127.0.0.1:0"));
        }
        let addresses: Vec<_> = nodes.iter().map(|node| (node.id, node.address.clone())).collect();
        nodes[0].ask("bootstrap");
        for (id, address) in &addresses[1..] {
            nodes[0].ask(&format!("add {id} {address}"));
        }
        let mut trio = Self { dir, nodes, loads: 0 };
        trio.leader();
        trio
    }

    /// Waits until all nodes know the same leader, and gives its place.
    fn leader(&mut self) -> usize {
        let until = Instant::now() + SETTLE_MAX;
        loop {
            let leaders: BTreeSet<u64> = self.nodes.iter_mut().map(|node| node.number("leader")).collect();
            if let (1, Some(&leader @ 1..)) = (leaders.len(), leaders.first()) {
                return self.nodes.iter().position(|node| node.id == leader).unwrap();
            }
            assert!(Instant::now() < until, "no leader that all know");
            std::thread::sleep(LOOK_PAUSE);
        }
    }

    fn begin(&mut self, class: &str, shares: &[(usize, usize)], time: Duration, unique: &str) {
        self.loads += 1;
        for &(node, clients) in shares {
            let node = &mut self.nodes[node];
            let first = self.loads << 48 | node.id << 40;
            node.order(&format!("load {class} {clients} {} {first} {unique} load-{}", time.as_millis(), node.id));
        }
    }

    fn finish(&mut self, shares: &[(usize, usize)]) -> Vec<Record> {
        let mut records = Vec::new();
        for &(node, _) in shares {
            let node = &mut self.nodes[node];
            node.answer();
            records.extend(record::read(&self.dir.path().join(format!("load-{}", node.id))));
        }
        records
    }

    /// Puts a load on the leader, or on all nodes alike.
    pub(crate) fn load(&mut self, class: &str, clients: usize, at_leader: bool, seconds: f64) -> LoadReport {
        let leader = self.leader();
        // A lone client that is not at the leader is at a follower.
        let order = [leader + 1, leader + 2, leader].map(|place| place % 3);
        let shares: Vec<_> = match at_leader {
            true => vec![(leader, clients)],
            false => order.iter().enumerate().map(|(n, &node)| (node, (clients + 2 - n) / 3)).filter(|(_, count)| *count > 0).collect(),
        };
        let time = Duration::from_secs_f64(seconds);
        self.begin(class, &shares, time, "again");
        let records = self.finish(&shares);
        let mut took: Vec<u64> = records.iter().filter(|record| record.acknowledged).map(|record| record.took_ns).collect();
        took.sort_unstable();
        let at = |percent: usize| ms(took.get((took.len() * percent).div_ceil(100).max(1) - 1).copied().unwrap_or(0));
        LoadReport {
            commits: took.len(),
            failed: records.len() - took.len(),
            per_second: took.len() as f64 / seconds,
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }

    /// Kills the leader under clients on the other two, starts it again, and compares.
    pub(crate) fn kill(&mut self, clients: usize) -> KillReport {
        let leader = self.leader();
        let shares = [((leader + 1) % 3, clients - clients / 2), ((leader + 2) % 3, clients / 2)];
        self.begin("persistent", &shares, KILL_ROUND, "unique");
        std::thread::sleep(BEFORE_KILL);
        self.nodes[leader].child.kill().unwrap();
        self.nodes[leader].child.wait().unwrap();
        let records = self.finish(&shares);
        let (id, address) = (self.nodes[leader].id, self.nodes[leader].address.clone());
        self.nodes[leader] = Node::start(self.dir.path(), id, &address);
        self.wait_level();
        let counts: Vec<_> = (0..self.nodes.len()).map(|node| self.counts(node)).collect();
        report(&records, &counts)
    }

    /// Waits until all nodes have applied the same.
    fn wait_level(&mut self) {
        self.leader();
        let until = Instant::now() + SETTLE_MAX;
        loop {
            let applied: BTreeSet<u64> = self.nodes.iter_mut().map(|node| node.number("applied")).collect();
            if applied.len() == 1 {
                return;
            }
            assert!(Instant::now() < until, "a node does not catch up");
            std::thread::sleep(LOOK_PAUSE);
        }
    }

    fn counts(&mut self, node: usize) -> BTreeMap<u64, u64> {
        self.nodes[node].ask("counts counts");
        record::read_words(&self.dir.path().join("counts")).as_chunks().0.iter().map(|&[key, count]| (key, count)).collect()
    }
}

fn report(records: &[Record], counts: &[BTreeMap<u64, u64>]) -> KillReport {
    let begin = records.iter().map(|r| r.began_ns).min().unwrap_or(0);
    let end = begin + u64::try_from(KILL_ROUND.as_nanos()).unwrap();
    let mut acknowledged: Vec<_> = records.iter().filter(|r| r.acknowledged).collect();
    acknowledged.sort_unstable_by_key(|r| r.began_ns + r.took_ns);
    let times = acknowledged.iter().map(|r| r.began_ns + r.took_ns);
    let mut moments: Vec<u64> = std::iter::once(begin).chain(times).collect();
    if moments.last().is_some_and(|last| *last < end) {
        moments.push(end);
    }
    let kill = begin + u64::try_from(BEFORE_KILL.as_nanos()).unwrap();
    let gap = moments.windows(2).max_by_key(|pair| pair[1] - pair[0]).map_or((begin, begin), |pair| (pair[0], pair[1]));
    let have = |key: u64, of: &BTreeMap<u64, u64>| of.get(&key).copied().unwrap_or(0);
    KillReport {
        before: moments.iter().filter(|moment| **moment < kill).count() as f64 / BEFORE_KILL.as_secs_f64(),
        gap_ms: ms(gap.1 - gap.0),
        gap_at_ms: if gap.0 < kill { -ms(kill - gap.0) } else { ms(gap.0 - kill) },
        hang_ms: ms(records.iter().map(|r| r.took_ns).max().unwrap_or(0)),
        acknowledged: acknowledged.len(),
        unknown: records.len() - acknowledged.len(),
        lost: acknowledged.iter().filter(|r| counts.iter().any(|of| have(r.key, of) == 0)).count(),
        doubled: records.iter().filter(|r| counts.iter().any(|of| have(r.key, of) > 1)).count(),
    }
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

impl LoadReport {
    pub(crate) fn json(&self) -> String {
        format!(
            "{{\"commits\":{},\"failed\":{},\"per_second\":{:.1},\"p50_ms\":{:.4},\"p99_ms\":{:.4},\"max_ms\":{:.3}}}",
            self.commits, self.failed, self.per_second, self.p50_ms, self.p99_ms, self.max_ms
        )
    }
}

impl KillReport {
    pub(crate) fn json(&self) -> String {
        format!(
            "{{\"before_per_second\":{:.0},\"gap_ms\":{:.1},\"gap_at_ms\":{:.1},\"hang_ms\":{:.1},\"acknowledged\":{},\"unknown\":{},\"lost\":{},\"doubled\":{}}}",
            self.before, self.gap_ms, self.gap_at_ms, self.hang_ms, self.acknowledged, self.unknown, self.lost, self.doubled
        )
    }
}
