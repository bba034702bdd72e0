//! What a million open handles cost: memory, the next open, a restart, the death of a node. Prints a table, or JSON.
//!
//!     cargo run -p persistence --example scale -- [OPENS] [--json]
//!
//! Looks at the model alone, as the log drives it: commands are decoded, applied, and what has changed is encoded. Disks and networks are measured elsewhere.
//! Restart is measured in a process of its own, which reads the records from a file as it would from the database.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints what it measured")]

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::{Duration, Instant};

use persistence_model::{
    ByteRangeLock, Command, FileKey, Incarnation, LockSequence, LogTime, NodeAddresses, NodeId, OpenId, OpenRequest, Outcome, ReclaimKind,
    ReclaimLease, ReclaimRequest, RequestedDurability, RequestedLease, RequestedOplock, SessionId, ShareId, ShareSettings, State, codec,
};
use smb_types::{AccessMask, CreateOptions, FileAttributes, Guid, LeaseState, ShareAccess, Sid};

/// Sessions of the clients, evenly on the nodes.
const SESSIONS: u64 = 1000;
/// Nodes that hold the many.
const NODES: u64 = 3;
/// The node that dies, and what it has.
const DYING: u64 = NODES + 1;
const DYING_SESSIONS: u64 = 10;
const DYING_OPENS: u64 = 10_000;
/// The small state that the big one is compared with.
const FEW: u64 = 1000;
/// Opens and closes of one round. Rounds are short, so that many of them pass between two interruptions by others on the machine.
const ROUND: u64 = 50;
/// The states take turns of so many rounds; the first ones of a turn only bring the state's upper levels back into the caches.
const TURN: usize = 12;
const TURN_WARM: usize = 4;
const TURNS: usize = 100;

/// The goals, as a person would read them beside the figure.
const MEMORY_MAX_BYTES: f64 = 1024.0;
const RATIO_MAX: f64 = 1.2;
const RESTART_MAX_S: f64 = 10.0;
const FAILOVER_MAX_S: f64 = 3.0;

type Failed = Box<dyn Error>;

/// As the program has it (docs/decisions/0024-jemalloc.md).
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<(), Failed> {
    let (mut opens, mut json, mut load) = (1_000_000, false, None);
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => json = true,
            "--load" => load = args.next(),
            number => opens = number.replace('_', "").parse().map_err(|_| format!("{number:?} is not a number of opens"))?,
        }
    }
    if let Some(file) = load {
        return load_alone(Path::new(&file));
    }
    let rows = measure(opens)?;
    if json {
        let lines: Vec<String> = rows.iter().map(Row::json).collect();
        println!("{{\"opens\": {opens}, \"rows\": [\n  {}\n]}}", lines.join(",\n  "));
    } else {
        println!("{opens} opens: persistent, with lease RWH, a lock, a path of 60 bytes; {SESSIONS} sessions on {NODES} nodes\n");
        rows.iter().for_each(|row| println!("{}", row.text()));
    }
    Ok(())
}

/// One measured figure.
struct Row {
    what: &'static str,
    value: f64,
    unit: &'static str,
    /// Not above this.
    goal: Option<f64>,
}

impl Row {
    fn text(&self) -> String {
        let goal = self.goal.map_or(String::new(), |goal| {
            let met = if self.value <= goal { "met" } else { "MISSED" };
            format!("goal ≤ {goal} {}: {met}", self.unit)
        });
        format!("{:<72} {:>12.3} {:<8} {goal}", self.what, self.value, self.unit)
    }

    fn json(&self) -> String {
        let goal = self.goal.map_or("null".to_owned(), |goal| goal.to_string());
        format!("{{\"what\": \"{}\", \"value\": {:.4}, \"unit\": \"{}\", \"goal\": {goal}}}", self.what, self.value, self.unit)
    }
}

fn measure(opens: u64) -> Result<Vec<Row>, Failed> {
    let mut rows = Vec::new();
    let mut row = |what, value, unit, goal| rows.push(Row { what, value, unit, goal });
    let per_open = |bytes: u64| bytes as f64 / opens as f64;

    let mut world = World::new();
    let (before, started) = (resident_bytes()?, Instant::now());
    world.open_many(opens);
    let took = started.elapsed();
    row("memory of an open (resident, everything included)", per_open(resident_bytes()? - before), "bytes", Some(MEMORY_MAX_BYTES));
    row("open and lock, from log entry to stored bytes, while growing", micros(took, 2 * opens), "us", None);

    let file = env::temp_dir().join(format!("holdfast-scale-{}", std::process::id()));
    let stored = write_records(&world.state, &file);
    let loaded = stored.and_then(|bytes| Ok((bytes, run_load(&file)?)));
    fs::remove_file(&file)?;
    let (stored_bytes, Loaded { wall_s, busy_s, resident }) = loaded?;
    row("records of an open, stored", per_open(stored_bytes), "bytes", None);
    row("restart: decoding the records and building the indexes", wall_s, "s", Some(RESTART_MAX_S));
    row("of it, processor time", busy_s, "s", None);
    row("memory of an open after a restart", per_open(resident), "bytes", Some(MEMORY_MAX_BYTES));

    let mut few = World::new();
    few.open_many(FEW);
    let (at_few, at_many) = compare(&mut few, &mut world);
    row("open and close at 1,000 opens", at_few.whole, "us", None);
    row("open and close at this many opens", at_many.whole, "us", None);
    row("ratio of the two", at_many.whole / at_few.whole, "times", Some(RATIO_MAX));
    row("apply alone, open and close at 1,000 opens", at_few.apply, "us", None);
    row("apply alone, open and close at this many opens", at_many.apply, "us", None);
    row("ratio of the two, apply alone", at_many.apply / at_few.apply, "times", None);

    let dead = world.death();
    row("one Expire that finds one open of these", dead.expire_ms, "ms", None);
    row("NodeDown of a node with 10,000 opens", dead.down_ms, "ms", None);
    row("its 10,000 ReclaimOpen", dead.reclaim_ms, "ms", None);
    row("both", (dead.down_ms + dead.reclaim_ms) / 1000.0, "s", Some(FAILOVER_MAX_S));
    Ok(rows)
}

/// A state, and clients that use it.
struct World {
    state: State,
    now: u64,
    sessions: Vec<At>,
    /// Opens made so far; the next one's number.
    made: u64,
}

/// Where a client's request arrives.
#[derive(Clone, Copy)]
struct At {
    number: u64,
    node: NodeId,
    incarnation: Incarnation,
    session: SessionId,
}

/// Microseconds for an open and a close.
struct Cost {
    /// From the bytes of the log entry to the bytes of the changed records and of the answer.
    whole: f64,
    apply: f64,
}

struct Death {
    expire_ms: f64,
    down_ms: f64,
    reclaim_ms: f64,
}

impl World {
    fn new() -> Self {
        let mut world = Self { state: State::new(), now: 1, sessions: Vec::new(), made: 0 };
        world.run(&Command::ClusterInit { net_name: "HOLDFAST".into(), server_guid: guid(0, 0) });
        let settings = ShareSettings {
            path: "/srv".into(),
            comment: String::new(),
            ca: true,
            scaleout: false,
            encrypt: false,
            ca_timeout_ms: 0,
            ..ShareSettings::default()
        };
        world.run(&Command::ShareAdd { name: "data".into(), settings });
        (1..=NODES).for_each(|node| world.join(node));
        for number in 0..SESSIONS {
            let at = world.session(number, 1 + number % NODES);
            world.sessions.push(at);
        }
        world
    }

    fn run(&mut self, command: &Command) -> Outcome {
        self.now += 1;
        let outcome = self.state.apply(LogTime(self.now / 16), command).outcome;
        assert!(!matches!(outcome, Outcome::Rejected(_) | Outcome::Refused(_)), "{command:?}: {outcome:?}");
        outcome
    }

    /// As the machine does it with an entry of the log; the entry itself was encoded elsewhere.
    fn run_bytes(&mut self, bytes: &[u8]) -> Outcome {
        self.now += 1;
        let command = codec::decode_command(bytes).expect("we have just encoded it");
        let applied = self.state.apply(LogTime(self.now / 16), &command);
        let answer = codec::encode_applied(&applied);
        let changes = self.state.take_changes();
        assert!(!answer.is_empty() && !changes.is_empty());
        applied.outcome
    }

    fn join(&mut self, node: u64) {
        let address = ([127, 0, 0, 1], 445).into();
        let addresses = NodeAddresses { smb: vec![address], witness: address, mapper: address, admin: address, raft: address };
        self.run(&Command::NodeJoin { node: NodeId(node), name: format!("n{node}"), addresses, boot_id: "boot".into() });
    }

    fn session(&mut self, number: u64, node: u64) -> At {
        let node = NodeId(node);
        let incarnation = self.state.node(node).expect("it has joined").incarnation;
        let session = SessionId::of(incarnation, u32::try_from(self.state.sessions().count()).expect("a few thousand"));
        self.run(&Command::SessionOpen {
            session,
            node,
            incarnation,
            client_guid: guid(1, number),
            user: user(number),
            user_name: format!("user{number}"),
            client_address: "192.0.2.1:50000".into(),
            previous_session: None,
        });
        At { number, node, incarnation, session }
    }

    fn open_many(&mut self, opens: u64) {
        for done in 0..opens {
            let at = self.sessions[usize::try_from(done % SESSIONS).expect("a thousand")];
            self.open_and_lock(at);
            if done.is_multiple_of(50_000) && done > 0 {
                eprint!("\r{done} of {opens} opens");
            }
        }
        eprint!("\r{:40}\r", "");
    }

    fn open_and_lock(&mut self, at: At) -> OpenId {
        let request = self.next_request(at);
        let Outcome::Opened(grant) = self.run_bytes(&codec::encode_command(&request)) else { panic!("an open in nobody's way") };
        let lock = Command::Lock {
            open: grant.open,
            elements: vec![ByteRangeLock { offset: 0, length: 1, exclusive: true }],
            fail_immediately: true,
            sequence: Some(LockSequence { index: 1, number: 1 }),
            by: at.incarnation,
        };
        assert_eq!(self.run_bytes(&codec::encode_command(&lock)), Outcome::LockGranted);
        grant.open
    }

    fn next_request(&mut self, at: At) -> Command {
        self.made += 1;
        Command::OpenFile(Box::new(request(at, self.made)))
    }

    /// A node with many opens dies, and its clients come back elsewhere.
    fn death(&mut self) -> Death {
        self.join(DYING);
        let sessions: Vec<At> = (0..DYING_SESSIONS).map(|i| self.session(SESSIONS + i, DYING)).collect();
        let mut opens = Vec::new();
        for i in 0..DYING_OPENS {
            let at = sessions[usize::try_from(i % DYING_SESSIONS).expect("ten")];
            opens.push((at.number, self.made + 1, self.open_and_lock(at)));
        }
        let incarnation = sessions[0].incarnation;
        let down = codec::encode_command(&Command::NodeDown { node: NodeId(DYING), incarnation });
        let started = Instant::now();
        self.run_bytes(&down);
        let down_ms = millis(started.elapsed());
        let again: Vec<At> = (0..DYING_SESSIONS).map(|i| self.session(SESSIONS + i, 1 + i % NODES)).collect();
        let left = opens.split_off(1);
        let reclaims: Vec<Vec<u8>> = left
            .iter()
            .map(|(number, made, open)| {
                let at = again[usize::try_from(number - SESSIONS).expect("ten")];
                codec::encode_command(&Command::ReclaimOpen(Box::new(reclaim(at, *made, *open))))
            })
            .collect();
        let started = Instant::now();
        for bytes in &reclaims {
            assert!(matches!(self.run_bytes(bytes), Outcome::Reclaimed(_)));
        }
        let reclaim_ms = millis(started.elapsed());
        self.now += 16 * 1_000_000;
        let expire = codec::encode_command(&Command::Expire);
        let started = Instant::now();
        assert_eq!(self.run_bytes(&expire), Outcome::Expired { opens: vec![opens[0].2], breaks: 0 });
        Death { expire_ms: millis(started.elapsed()), down_ms, reclaim_ms }
    }
}

/// Opens and closes in both states, in turns; of each the round below which a tenth of all are, for others on the machine disturb the rest.
fn compare(few: &mut World, many: &mut World) -> (Cost, Cost) {
    let (mut at_few, mut at_many) = (Vec::new(), Vec::new());
    let turn = |world: &mut World, rounds: &mut Vec<(Duration, Duration)>| {
        (0..TURN_WARM).for_each(|_| _ = open_and_close(world));
        rounds.extend((TURN_WARM..TURN).map(|_| open_and_close(world)));
    };
    for done in 0..TURNS {
        turn(few, &mut at_few);
        turn(many, &mut at_many);
        eprint!("\rturn {done} of {TURNS}");
    }
    eprint!("\r{:40}\r", "");
    let tenth = |rounds: Vec<(Duration, Duration)>| {
        let (mut whole, mut apply): (Vec<Duration>, Vec<Duration>) = rounds.into_iter().unzip();
        whole.sort_unstable();
        apply.sort_unstable();
        Cost { whole: micros(whole[whole.len() / 10], ROUND), apply: micros(apply[apply.len() / 10], ROUND) }
    };
    (tenth(at_few), tenth(at_many))
}

/// A round of opens, then their closes: once as entries of the log, once as commands only.
fn open_and_close(world: &mut World) -> (Duration, Duration) {
    let sessions: Vec<At> = (0..ROUND).map(|i| world.sessions[usize::try_from((i * 7919) % SESSIONS).expect("a thousand")]).collect();
    let requests: Vec<Command> = sessions.iter().map(|at| world.next_request(*at)).collect();
    let entries: Vec<Vec<u8>> = requests.iter().map(codec::encode_command).collect();
    let closes_of = |opened: &[Outcome]| -> Vec<Command> {
        let close = |(outcome, at): (&Outcome, &At)| {
            let Outcome::Opened(grant) = outcome else { panic!("an open in nobody's way: {outcome:?}") };
            Command::CloseOpen { open: grant.open, by: at.incarnation }
        };
        opened.iter().zip(&sessions).map(close).collect()
    };

    let started = Instant::now();
    let opened: Vec<Outcome> = entries.iter().map(|bytes| world.run_bytes(bytes)).collect();
    let opening = started.elapsed();
    let closes: Vec<Vec<u8>> = closes_of(&opened).iter().map(codec::encode_command).collect();
    let started = Instant::now();
    for bytes in &closes {
        world.run_bytes(bytes);
    }
    let whole = opening + started.elapsed();

    let started = Instant::now();
    let opened: Vec<Outcome> = requests.iter().map(|command| world.run(command)).collect();
    let opening = started.elapsed();
    let closes = closes_of(&opened);
    let started = Instant::now();
    for command in &closes {
        world.run(command);
    }
    let apply = opening + started.elapsed();
    world.state.take_changes();
    (whole, apply)
}

/// The `n`-th open of all: a file of its own, twenty to a directory.
fn request(at: At, n: u64) -> OpenRequest {
    OpenRequest {
        node: at.node,
        incarnation: at.incarnation,
        session: at.session,
        share: ShareId(1),
        client_guid: guid(1, at.number),
        create_guid: Some(guid(2, n)),
        user: user(at.number),
        file: Some(FileKey { volume: 1, inode: scatter(n) >> 24, generation: scatter(n + 1) >> 32, stream: 0 }),
        path: path(n),
        is_directory: false,
        desired_access: AccessMask(0x12_019F),
        granted_access: AccessMask(0x12_019F),
        share_access: ShareAccess::READ,
        create_options: CreateOptions(0x40),
        file_attributes: FileAttributes::NONE,
        overwrites: false,
        oplock: RequestedOplock::Lease(RequestedLease {
            key: guid(3, n),
            state: LeaseState::RWH,
            parent_key: Some(guid(4, n / 20)),
            epoch: 0,
            version: 2,
        }),
        durability: RequestedDurability::Persistent { timeout_ms: 0 },
        app_instance: None,
        replay: false,
        dialect_3x: true,
    }
}

fn reclaim(at: At, n: u64, open: OpenId) -> ReclaimRequest {
    ReclaimRequest {
        node: at.node,
        incarnation: at.incarnation,
        session: at.session,
        share: ShareId(1),
        client_guid: guid(1, at.number),
        user: user(at.number),
        open,
        kind: ReclaimKind::V2 { create_guid: guid(2, n), persistent: true, by_create_guid: true },
        lease: Some(ReclaimLease { key: guid(3, n), version: 2, epoch: 1 }),
        path: path(n),
    }
}

/// 60 bytes.
fn path(n: u64) -> String {
    format!("Projects\\Team-{:03}\\Customer-{:05}\\Report-2026-{n:07}-v2.docx", n / 20 % 100, n / 20)
}

fn user(n: u64) -> Sid {
    Sid::new(5, &[21, 1_004_336_348, 1_177_238_915, 682_003_330, 1000 + u32::try_from(n).unwrap_or(u32::MAX)])
}

/// SplitMix64: the same names in every run, and no order in them.
fn scatter(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn guid(kind: u64, n: u64) -> Guid {
    let (a, b) = (scatter(n.wrapping_mul(8) + kind), scatter(!n ^ kind << 56));
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&a.to_le_bytes());
    bytes[8..].copy_from_slice(&b.to_le_bytes());
    Guid(bytes)
}

/// Length and bytes of key and value, one record after the other; tells the bytes of all.
fn write_records(state: &State, path: &Path) -> Result<u64, Failed> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(path)?);
    let mut total = 0;
    for (key, value) in state.all_records() {
        for bytes in [key, value] {
            out.write_all(&u32::try_from(bytes.len())?.to_le_bytes())?;
            out.write_all(&bytes)?;
            total += bytes.len() as u64;
        }
    }
    out.flush()?;
    Ok(total)
}

/// What loading came to.
struct Loaded {
    wall_s: f64,
    /// Processor time: what is left of it on a machine of one's own.
    busy_s: f64,
    /// Bytes.
    resident: u64,
}

/// Loads the records in a process of its own.
fn run_load(file: &Path) -> Result<Loaded, Failed> {
    let out = Process::new(env::current_exe()?).arg("--load").arg(file).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(out.stdout)?;
    let mut words = text.split_whitespace();
    let mut next = || words.next().ok_or("the loading process came to grief");
    Ok(Loaded { wall_s: next()?.parse()?, busy_s: next()?.parse()?, resident: next()?.parse()? })
}

fn load_alone(path: &Path) -> Result<(), Failed> {
    let before = resident_bytes()?;
    let mut records = BufReader::with_capacity(1 << 20, File::open(path)?);
    let started = Instant::now();
    let mut next = || -> Option<Vec<u8>> {
        let mut length = [0; 4];
        records.read_exact(&mut length).ok()?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        records.read_exact(&mut bytes).ok()?;
        Some(bytes)
    };
    let state = State::load(std::iter::from_fn(|| Some((next()?, next()?))))?;
    let (took, busy) = (started.elapsed(), busy_s()?);
    assert!(state.cluster().is_some(), "nothing was loaded");
    println!("{} {busy} {}", took.as_secs_f64(), resident_bytes()? - before);
    Ok(())
}

/// Processor time that this process has had, in seconds: utime and stime, which count hundredths.
fn busy_s() -> Result<f64, Failed> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no name in stat")?.1.split_whitespace().collect();
    let ticks = |i: usize| -> Result<f64, Failed> { Ok(fields.get(i).ok_or("stat is short")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

/// VmRSS of this process.
fn resident_bytes() -> Result<u64, Failed> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn micros(took: Duration, count: u64) -> f64 {
    took.as_secs_f64() * 1e6 / count as f64
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
