//! What everybody in a simulation sees: machines and their processes, the history of the clients, the faults, the trace.
//!
//! One thread runs everything, so the order in which things are written down here is their order in simulated time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use raftstore::environment::{Clock, SimulatedDisk};
use raftstore::{Class, Faults, Status};
use tokio::sync::mpsc;

use super::ledger::{self, Ledger};
use super::order::Order;
use crate::checker::classes::{self, Fate, Happened, Issued};
use crate::checker::linear::record::{Input, Record};
use crate::checker::linear::{History, Open};

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The process alone: its port refuses from now on, what it wrote is in the page cache.
    Killed,
    /// With its machine: nobody is told anything, what was not synced is lost.
    PowerLost,
}

/// One run of a node's process.
#[derive(Debug, Default)]
pub(super) struct Life {
    ended: AtomicBool,
}

impl Life {
    /// Says whether the process has ended. Its tasks may go on for the rest of the tick, and must not be seen doing anything.
    pub(super) fn is_over(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

/// One machine.
#[derive(Debug)]
pub(super) struct Host {
    /// Its disk.
    pub(super) disk: SimulatedDisk,
    /// Counts its boots: the boot id.
    pub(super) boots: u64,
    /// Counts its processes, for seeds.
    pub(super) lives: u64,
    /// The process that runs, if one does.
    pub(super) life: Option<Arc<Life>>,
    /// How the last one ended.
    pub(super) end: Option<End>,
    /// What the running process was last seen to be.
    pub(super) status: Option<Status>,
    /// The clock of the running process.
    pub(super) clock: Option<Clock>,
    /// Where the running process takes orders.
    pub(super) orders: Option<mpsc::UnboundedSender<(u64, Order)>>,
    /// The replica of the running process.
    pub(super) ledger: Option<Arc<Ledger>>,
}

/// What an entry of the log was when the first node applied it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AppliedFirst {
    node: u64,
    digest: u64,
}

/// What came of a run so far.
#[derive(Debug)]
pub(super) struct World {
    /// Simulated time.
    pub(super) now: Duration,
    /// The machines.
    pub(super) hosts: BTreeMap<u64, Host>,
    /// Links that are cut, one way.
    pub(super) cut: BTreeSet<(u64, u64)>,
    /// What clients saw.
    pub(super) history: History<u8, Input, Record>,
    /// The operations that change something.
    pub(super) issued: BTreeMap<u64, Issued>,
    /// Operations acknowledged so far.
    pub(super) acknowledged: u64,
    /// What happened to the cluster, for the class table.
    pub(super) happened: classes::Faults,
    /// Processes that ended and have to be cleared away.
    pub(super) ends: Vec<(u64, End)>,
    /// Clients go on as long as this is set.
    pub(super) clients_go_on: bool,
    /// Answers to orders.
    pub(super) answers: BTreeMap<u64, Result<(), String>>,
    /// Broken promises that were noticed on the way.
    pub(super) broken: Vec<String>,
    applied: BTreeMap<u64, AppliedFirst>,
    next_operation: u64,
    next_order: u64,
    /// What happened, line by line.
    pub(super) trace: Trace,
}

/// The trace of a run: a digest of every line, and the lines if somebody wants to read them.
#[derive(Debug)]
pub(super) struct Trace {
    digest: u64,
    count: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Begins a trace.
    pub(super) fn new(keep_lines: bool) -> Self {
        Self { digest: 0xcbf2_9ce4_8422_2325, count: 0, lines: keep_lines.then(Vec::new) }
    }

    /// Adds a line.
    pub(super) fn line(&mut self, now: Duration, text: String) {
        self.count += 1;
        self.digest = digest(self.digest ^ u64::try_from(now.as_micros()).unwrap_or(u64::MAX), text.as_bytes());
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>9.3}  {text}", now.as_secs_f64()));
        }
    }

    /// The same for two runs in which the same happened.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// The lines, if they were kept.
    pub(super) fn take_lines(&mut self) -> Vec<String> {
        self.lines.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// FNV-1a: enough to see whether two runs differ.
pub fn digest(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

impl World {
    /// Machines 1 to `nodes`, switched on, with empty disks.
    pub(super) fn new(nodes: u64, seed: u64, keep_lines: bool) -> Self {
        let host = |id| {
            let disk = SimulatedDisk::new(digest(seed, &[b'd', id]));
            (u64::from(id), Host { disk, boots: 1, lives: 0, life: None, end: None, status: None, clock: None, orders: None, ledger: None })
        };
        Self {
            now: Duration::ZERO,
            hosts: (1..=u8::try_from(nodes).unwrap_or(u8::MAX)).map(host).collect(),
            cut: BTreeSet::new(),
            history: History::default(),
            issued: BTreeMap::new(),
            acknowledged: 0,
            happened: classes::Faults::default(),
            ends: Vec::new(),
            clients_go_on: true,
            answers: BTreeMap::new(),
            broken: Vec::new(),
            applied: BTreeMap::new(),
            next_operation: 0,
            next_order: 0,
            trace: Trace::new(keep_lines),
        }
    }

    /// Adds a line to the trace.
    pub(super) fn say(&mut self, text: String) {
        let now = self.now;
        self.trace.line(now, text);
    }

    /// Writes a broken promise down.
    pub(super) fn broke(&mut self, text: String) {
        self.say(format!("BROKEN {text}"));
        self.broken.push(text);
    }

    /// A machine.
    pub(super) fn host(&mut self, node: u64) -> &mut Host {
        self.hosts.get_mut(&node).expect("every node of a simulation has its machine from the start")
    }

    /// Ends the processes of some machines at once, at this very moment.
    pub(super) fn end(&mut self, nodes: &BTreeSet<u64>, end: End) {
        let mut ended = BTreeSet::new();
        for &node in nodes {
            let host = self.host(node);
            // A machine whose process is dead can still lose what that left in the page cache.
            let runs = host.life.take().inspect(|life| life.ended.store(true, Ordering::SeqCst)).is_some();
            (host.status, host.clock, host.orders, host.ledger) = (None, None, None, None);
            match end {
                End::Killed => host.disk.kill(),
                End::PowerLost => {
                    host.disk.power_loss();
                    host.boots += 1;
                }
            }
            host.end = Some(end);
            ended.insert(node);
            if runs {
                self.ends.push((node, end));
            }
        }
        self.say(format!("{end:?} {ended:?}"));
        let at = self.history.now();
        match end {
            End::Killed => ended.into_iter().for_each(|node| self.happened.note(at, Happened::Killed(node))),
            End::PowerLost => self.happened.note(at, Happened::LostPower(ended)),
        }
    }

    /// How a connection from one node to another would fare: `None`, it is not refused at once.
    pub(super) fn refusal(&self, from: u64, to: u64) -> Option<End> {
        let host = self.hosts.get(&to)?;
        let cut = self.cut.contains(&(from, to)) || self.cut.contains(&(to, from));
        match (&host.life, host.end) {
            (Some(_), _) | (None, None) => None,
            // Nobody hears the refusal behind a cut.
            (None, Some(_)) if cut => Some(End::PowerLost),
            (None, Some(end)) => Some(end),
        }
    }

    /// Takes an order for a node's process. The answer will be in `answers`; none comes when the process ends before.
    pub(super) fn order(&mut self, node: u64, order: Order) -> Option<u64> {
        self.next_order += 1;
        let number = self.next_order;
        let sent = self.host(node).orders.as_ref()?.send((number, order)).is_ok();
        sent.then_some(number)
    }

    /// Writes down that a client asks for something.
    pub(super) fn call(&mut self, client: u64, key: u8, class: Class, input: Input) -> (u64, Open<u8>) {
        self.next_operation += 1;
        let operation = self.next_operation;
        let open = self.history.call(client, key, input);
        if !matches!(input, Input::Read | Input::Nothing) {
            self.issued.insert(operation, Issued { class, called: self.history.now(), fate: Fate::Unknown });
        }
        self.say(format!("client {client} #{operation} asks {key} {input:?}"));
        (operation, open)
    }

    /// Writes down what the client heard.
    pub(super) fn heard(&mut self, client: u64, operation: u64, open: &Open<u8>, answer: Result<Record, Doubt>) {
        self.say(format!("client {client} #{operation} hears {answer:?}"));
        match answer {
            Ok(record) => {
                self.history.returned(open, record);
                self.acknowledged += 1;
                let at = self.history.now();
                self.fate(operation, Fate::Acknowledged(at));
            }
            Err(Doubt::Refused) => {
                self.history.failed(open);
                self.fate(operation, Fate::Refused);
            }
            Err(Doubt::Unknown) => {}
        }
    }

    fn fate(&mut self, operation: u64, fate: Fate) {
        if let Some(issued) = self.issued.get_mut(&operation) {
            issued.fate = fate;
        }
    }

    /// A new number for an operation's value, so that no two write the same.
    pub(super) fn next_value(&self) -> u64 {
        (self.next_operation + 1) << 20
    }

    /// A node has applied an entry: everybody must have applied the same there.
    pub(super) fn applied(&mut self, node: u64, index: u64, entry: &[u8]) {
        let digest = digest(index, entry);
        self.say(format!("node {node} applies {index} {digest:016x}"));
        let first = self.applied.entry(index).or_insert(AppliedFirst { node, digest });
        if first.digest == digest {
            return;
        }
        // Entries that a majority lost are replaced by others; whoever still had them starts over.
        let other = std::mem::replace(first, AppliedFirst { node, digest });
        if self.happened.losses().is_empty() {
            self.broke(format!("node {node} applies another entry at {index} than node {} did", other.node));
        }
    }

    /// Everything that all replicas together know of operations that were done.
    pub(super) fn survived(&self) -> BTreeSet<u64> {
        let replicas = self.hosts.values().filter_map(|host| host.ledger.as_ref());
        replicas.flat_map(|ledger| ledger.operations()).collect()
    }

    /// The class of the operations on a record.
    pub(super) fn class_of(key: u8) -> Class {
        [Class::Volatile, Class::Durable, Class::Persistent][usize::from(key) % ledger::CLASSES]
    }
}

/// What a client knows of an operation without an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It was not done, nor will be.
    Refused,
    /// Nothing.
    Unknown,
}

/// The world, shared by everything in the simulation, with the faults of the nodes.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    world: Arc<parking_lot::Mutex<World>>,
    /// The handle through which points and cut links reach the nodes.
    pub(super) faults: Faults,
    /// The seed of the run.
    pub(super) seed: u64,
}

impl Shared {
    /// Shares a world.
    pub(super) fn new(world: World, seed: u64) -> Self {
        Self { world: Arc::new(parking_lot::Mutex::new(world)), faults: Faults::default(), seed }
    }

    /// Looks at the world, or changes it. Nothing may wait inside.
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut World) -> R) -> R {
        look(&mut self.world.lock())
    }
}
