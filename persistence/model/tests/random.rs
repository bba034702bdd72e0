//! Random commands: against a naive reference for share modes and locks, and against the invariants for everything at once.
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use std::collections::BTreeMap;

use common::*;
use persistence_model::*;
use proptest::prelude::*;
use smb_types::{AccessMask, CreateOptions, NtStatus, OplockLevel, ShareAccess};

/// A step; numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Step {
    Open {
        client: u8,
        inode: u64,
        access: u32,
        share: u32,
        lease: u8,
        durability: u8,
        overwrites: bool,
        delete: bool,
        replay: bool,
        key: u8,
    },
    Reserve {
        client: u8,
        inode: u64,
        known: bool,
        lease: u8,
        durability: u8,
        key: u8,
        replay: bool,
    },
    Finish {
        which: usize,
        confirm: bool,
    },
    Close {
        which: usize,
    },
    Lock {
        which: usize,
        offset: u64,
        length: u64,
        exclusive: bool,
    },
    Unlock {
        which: usize,
        lock: usize,
    },
    Io {
        which: usize,
        kind: u8,
    },
    AckAll,
    Undeliverable,
    Lose {
        client: u8,
        logoff: bool,
    },
    Kill {
        node: u64,
    },
    Return {
        client: u8,
        node: u64,
    },
    Reclaim {
        which: usize,
    },
    Delete {
        which: usize,
        on: bool,
    },
    Rename {
        which: usize,
        to: u8,
    },
    SetClass {
        which: usize,
        class: u8,
    },
    List {
        inode: u64,
    },
    Wait {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let open = (
        0..4u8,
        0..4u64,
        0..8u32,
        0..8u32,
        0..7u8,
        0..4u8,
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        0..4u8,
    );
    prop_oneof![
        8 => open.prop_map(|(client, inode, access, share, lease, durability, overwrites, delete, replay, key)| Step::Open {
            client, inode, access, share, lease, durability, overwrites, delete, replay, key
        }),
        2 => (0..4u8, 0..4u64, any::<bool>(), 0..7u8, 0..4u8, 0..4u8, any::<bool>())
            .prop_map(|(client, inode, known, lease, durability, key, replay)| Step::Reserve { client, inode, known, lease, durability, key, replay }),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, confirm)| Step::Finish { which, confirm }),
        3 => any::<usize>().prop_map(|which| Step::Close { which }),
        3 => (any::<usize>(), 0..6u64, 0..4u64, any::<bool>()).prop_map(|(which, offset, length, exclusive)| Step::Lock { which, offset, length, exclusive }),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(which, lock)| Step::Unlock { which, lock }),
        2 => (any::<usize>(), 0..9u8).prop_map(|(which, kind)| Step::Io { which, kind }),
        3 => Just(Step::AckAll),
        1 => Just(Step::Undeliverable),
        1 => (0..4u8, any::<bool>()).prop_map(|(client, logoff)| Step::Lose { client, logoff }),
        1 => (1..4u64).prop_map(|node| Step::Kill { node }),
        3 => (0..4u8, 1..4u64).prop_map(|(client, node)| Step::Return { client, node }),
        2 => any::<usize>().prop_map(|which| Step::Reclaim { which }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, on)| Step::Delete { which, on }),
        1 => (any::<usize>(), 0..4u8).prop_map(|(which, to)| Step::Rename { which, to }),
        1 => (0..200_000u64).prop_map(|ms| Step::Wait { ms }),
        1 => (any::<usize>(), 0..3u8).prop_map(|(which, class)| Step::SetClass { which, class }),
        1 => (0..3u64).prop_map(|inode| Step::List { inode }),
    ]
}

const KINDS: [IoKind; 9] = [
    IoKind::Read,
    IoKind::Write,
    IoKind::SetSize,
    IoKind::ZeroData,
    IoKind::Lock,
    IoKind::Rename,
    IoKind::Link,
    IoKind::Delete,
    IoKind::Security,
];

/// What the clients of persistent opens rely on: where they are, their paths, locks and caches.
fn promises(state: &State) -> BTreeMap<OpenId, String> {
    let persistent = state.opens().filter(|o| o.class == Class::Persistent);
    let lease = |o: &Open| {
        let l = state.lease(&o.file?, o.lease?)?;
        Some((l.state, l.breaking, l.break_to, l.break_wanted, l.epoch, l.path.clone()))
    };
    let facts = |o: &Open| (o.owner, o.path.clone(), o.pending_path.clone(), o.locks.clone(), o.oplock, o.durability, lease(o));
    persistent.map(|o| (o.id, format!("{:?}", facts(o)))).collect()
}

/// The opens whose own client gives them, or something of them, back.
fn given_back(state: &State, c: &Command) -> Vec<OpenId> {
    let of_session = |s: SessionId| state.opens_of_session(s).map(|o| o.id).collect();
    match c {
        Command::CloseOpen { open, .. } | Command::AbortOpen { open, .. } => vec![*open],
        Command::DisconnectOpens { session, .. } | Command::SessionOpen { previous_session: Some(session), .. } => of_session(*session),
        _ => Vec::new(),
    }
}

/// The "inode" of steps that mean a stream of file 1.
const STREAM: u64 = 3;

/// The file that a path of these tests is made for.
fn of_path(path: &str) -> FileKey {
    let (name, stream) = path.split_once(':').unwrap_or((path, ""));
    FileKey { stream: u64::from(!stream.is_empty()), ..file(name[1..].parse().unwrap_or(0)) }
}

fn due(state: &State) -> Vec<FileKey> {
    state.due_deletes().map(|delete| delete.file).collect()
}

/// The files that an outcome or its events want to have removed.
fn told_to_delete(applied: &Applied) -> Vec<FileKey> {
    let by_event = applied.events.iter().filter_map(|event| if let Event::DeleteDue { delete } = event { Some(delete.file) } else { None });
    let by_outcome = match &applied.outcome {
        Outcome::Closed { delete } => delete.iter().map(|delete| delete.file).collect(),
        Outcome::Disconnected { deletes, .. } => deletes.iter().map(|delete| delete.file).collect(),
        _ => Vec::new(),
    };
    by_event.chain(by_outcome).collect()
}

/// Turns steps into commands by looking at the state.
struct Driver {
    w: World,
    at: BTreeMap<u8, At>,
    log: Vec<(u64, Command)>,
}

impl Driver {
    fn new() -> Self {
        let mut w = World::new();
        let at = (0..4u8).map(|c| (c, w.session(c, u64::from(c % 3) + 1))).collect();
        Self { w, at, log: Vec::new() }
    }

    fn run(&mut self, c: Command) -> Outcome {
        self.log.push((self.w.now, c.clone()));
        let (class, before, own) = (c.class(&self.w.state), promises(&self.w.state), given_back(&self.w.state, &c));
        let marked: Vec<FileKey> = self.w.state.files().filter(|f| f.delete_pending).map(|f| f.key).collect();
        let due_before = due(&self.w.state);
        let outcome = self.w.run(c.clone());
        let told = told_to_delete(&self.w.last);
        let untold = due(&self.w.state).into_iter().find(|key| !due_before.contains(key) && !told.contains(key));
        assert_eq!(untold, None, "{c:?} makes a removal due that nobody hears of");
        let early = told.iter().find(|key| self.w.state.named_streams(key).next().is_some() && **key == key.unnamed());
        assert_eq!(early, None, "{c:?} has a file removed whose stream is open");
        if class != Class::Persistent {
            let unmarked = |key: &&FileKey| self.w.state.file(key).is_some_and(|f| !f.delete_pending);
            assert_eq!(marked.iter().find(unmarked), None, "{c:?} saves a file from its deletion and need not be on disk");
            let after = promises(&self.w.state);
            for (id, promise) in before.into_iter().filter(|(id, _)| !own.contains(id)) {
                assert_eq!(after.get(&id), Some(&promise), "{c:?} touches a persistent open and need not be on disk");
            }
        }
        outcome
    }

    fn pick(&self, which: usize, state: OpenState) -> Option<Open> {
        let all: Vec<&Open> = self.w.state.opens().filter(|o| o.state == state).collect();
        (!all.is_empty()).then(|| all[which % all.len()].clone())
    }

    fn request(&self, client: u8, inode: u64, lease: u8, durability: u8, key: u8) -> OpenRequest {
        let mut r = request(self.at[&client]).of(inode, &format!("f{inode}"));
        if inode == STREAM {
            (r.file, r.path) = (Some(of_path("f1:s")), "f1:s".into());
        }
        r = match lease {
            0 => r,
            1 => r.oplock(OplockLevel::LevelII),
            2 => r.oplock(OplockLevel::Batch),
            n => r.leased(100 + (inode as u8), [R, RW, RH, RWH][usize::from(n) - 3]),
        };
        match durability {
            0 | 1 => r,
            2 => r.durable(key),
            _ => r.persistent(key),
        }
    }

    fn ack_all(&mut self) {
        let leases: Vec<Lease> =
            self.w.state.files().flat_map(|f| f.leases.values()).filter(|l| l.breaking && !l.notification_pending).cloned().collect();
        for l in leases {
            self.run(Command::LeaseAck { client_guid: l.id.client_guid, key: l.id.key, state: l.break_to });
        }
        let opens: Vec<Open> = self.w.state.opens().filter(|o| o.oplock.breaking).cloned().collect();
        for o in opens {
            if let Some(owner) = o.owner {
                self.run(Command::OplockAck { open: o.id, level: o.oplock.break_to, by: owner.incarnation });
            }
        }
    }

    /// Whatever a request waits for, it must not wait for ever.
    fn must_end(&mut self, command: Command) {
        for _ in 0..6 {
            if !matches!(self.run(command.clone()), Outcome::MustWait { .. }) {
                return;
            }
            self.ack_all();
            for o in self.w.state.opens().filter(|o| o.state == OpenState::Reserved).cloned().collect::<Vec<_>>() {
                let by = o.request.as_ref().unwrap().incarnation;
                self.run(Command::AbortOpen { open: o.id, by });
            }
            self.w.now += 300_000;
            self.run(Command::Expire);
        }
        panic!("waits for ever: {command:?}");
    }

    fn step(&mut self, s: &Step) {
        match *s {
            Step::Open { client, inode, access, share, lease, durability, overwrites, delete, replay, key } => {
                let access = [0x1, 0x2, 0x3, 0x80, 0x1_0001, 0x1_0000, 0x20, 0x2_0000][access as usize];
                let mut r = self
                    .request(client, inode, lease, durability, key)
                    .access(AccessMask(access), ShareAccess(if share == 0 { 0 } else { 7 & (share | 3) }));
                (r.overwrites, r.replay) = (overwrites, replay);
                if delete {
                    r.create_options = CreateOptions::DELETE_ON_CLOSE;
                }
                let command = Command::OpenFile(Box::new(r));
                if inode == 2 {
                    self.must_end(command)
                } else {
                    self.run(command);
                }
            }
            Step::Reserve { client, inode, known, lease, durability, key, replay } => {
                let mut r = self.request(client, inode, lease, durability, key);
                (r.replay, r.overwrites) = (replay, known);
                if !known {
                    r.file = None;
                }
                self.run(Command::ReserveOpen(Box::new(r)));
            }
            Step::Finish { which, confirm } => {
                let Some(o) = self.pick(which, OpenState::Reserved) else { return };
                let (open, by) = (o.id, o.request.as_ref().unwrap().incarnation);
                let confirm_it = Command::ConfirmOpen {
                    open,
                    file: o.file.unwrap_or(of_path(&o.path)),
                    create_action: CreateAction::Created,
                    is_directory: false,
                    by,
                };
                self.run(if confirm { confirm_it } else { Command::AbortOpen { open, by } });
            }
            Step::Close { which } => {
                let Some((o, by)) = self.pick(which, OpenState::Open).and_then(|o| Some((o.id, o.owner?.incarnation))) else { return };
                if let Outcome::Closed { delete: Some(d) } = self.run(Command::CloseOpen { open: o, by }) {
                    self.run(Command::DeleteDone { file: d.file });
                }
            }
            Step::Lock { which, offset, length, exclusive } => {
                let Some((o, by)) = self.pick(which, OpenState::Open).and_then(|o| Some((o.id, o.owner?.incarnation))) else { return };
                let elements = vec![ByteRangeLock { offset, length, exclusive }];
                self.run(Command::Lock { open: o, elements, fail_immediately: true, sequence: None, by });
            }
            Step::Unlock { which, lock } => {
                let Some(o) = self.pick(which, OpenState::Open) else { return };
                let (Some(owner), false) = (o.owner, o.locks.is_empty()) else { return };
                let l = o.locks[lock % o.locks.len()];
                let unlock = Command::Unlock { open: o.id, ranges: vec![(l.offset, l.length)], sequence: None, by: owner.incarnation };
                assert_eq!(self.run(unlock), Outcome::Done);
            }
            Step::Io { which, kind } => {
                let Some(o) = self.pick(which, OpenState::Open) else { return };
                let (file, kind) = (o.file.unwrap(), KINDS[usize::from(kind)]);
                let needed = self.w.state.must_break_for(&file, o.id, kind);
                let outcome = self.run(Command::BreakForIo { file, by_open: Some(o.id), kind });
                assert!(needed || outcome == Outcome::Done, "the cheap question missed a wait");
                if outcome == Outcome::Done {
                    assert!(!self.w.state.must_break_for(&file, o.id, kind), "nothing is left to break");
                }
            }
            Step::AckAll => self.ack_all(),
            Step::Undeliverable => {
                let lease = self.w.state.files().flat_map(|f| f.leases.values()).find(|l| l.breaking).map(|l| l.id);
                if let Some(id) = lease {
                    self.run(Command::BreakUndeliverable { target: BreakTarget::Lease(id) });
                }
            }
            Step::Lose { client, logoff } => {
                let why = if logoff { DisconnectReason::Logoff } else { DisconnectReason::ConnectionLost };
                self.run(Command::DisconnectOpens { session: self.at[&client].session, why });
            }
            Step::Kill { node } => {
                let incarnation = self.w.state.node(NodeId(node)).unwrap().incarnation;
                self.run(Command::NodeDown { node: NodeId(node), incarnation });
            }
            Step::Return { client, node } => self.come_back(client, node),
            Step::Reclaim { which } => {
                let Some(o) = self.pick(which, OpenState::Open) else { return };
                let at = self.at[&o.client_guid.0[0]];
                let kind =
                    ReclaimKind::V2 { create_guid: o.create_guid.unwrap_or_default(), persistent: o.is_persistent(), by_create_guid: true };
                let lease = o.lease.map(|l| ReclaimLease { key: l.key, version: 2, epoch: 0 });
                let r = ReclaimRequest { kind, lease, path: o.path.to_string(), ..reconnect(at, o.id, 0, None) };
                let outcome = self.run(Command::ReclaimOpen(Box::new(r)));
                if o.is_detached() && o.is_persistent() && self.w.state.session(at.session).is_some() {
                    assert!(matches!(outcome, Outcome::Reclaimed(_)), "a persistent open is always there for its client: {outcome:?}");
                }
            }
            Step::Delete { which, on } => {
                let Some((o, by)) = self.pick(which, OpenState::Open).and_then(|o| Some((o.id, o.owner?.incarnation))) else { return };
                self.run(Command::SetDeletePending { open: o, on, by });
            }
            Step::Rename { which, to } => {
                let Some((o, by)) = self.pick(which, OpenState::Open).and_then(|o| Some((o.id, o.owner?.incarnation))) else { return };
                let path = self.w.state.open(o).map(|o| o.path.to_string()).unwrap_or_default();
                let new_path = path.split_once(':').map_or_else(|| format!("f{to}x"), |(file, _)| format!("{file}:s{to}"));
                self.run(Command::RenameIntent { open: o, new_path, replace: false, target: None, by });
                self.run(Command::RenameDone { open: o, done: to != 0, by });
            }
            Step::SetClass { which, class } => {
                let Some((o, by)) = self.pick(which, OpenState::Open).and_then(|o| Some((o.id, o.owner?.incarnation))) else { return };
                let class = [Class::Volatile, Class::Durable, Class::Persistent][usize::from(class)];
                if self.run(Command::SetOpenClass { open: o, class, by }) == Outcome::Done {
                    assert_eq!(self.w.state.open(o).unwrap().class, class);
                }
            }
            Step::List { inode } => {
                self.run(Command::DirectoryChanged { parent: file(inode), by: None });
            }
            Step::Wait { ms } => {
                self.w.now += ms;
                let due = self.w.state.expiry_due(LogTime(self.w.now));
                let nothing = Outcome::Expired { opens: vec![], breaks: 0 };
                if ms % 2 == 0 {
                    let outcome = self.run(Command::Expire);
                    assert!(due || outcome == nothing, "expiry_due missed something");
                } else {
                    while self.w.state.expiry_due(LogTime(self.w.now)) {
                        assert_ne!(self.run(Command::ExpireSome { at_most: 1 }), nothing, "a round without an end");
                    }
                    assert_eq!(self.run(Command::ExpireSome { at_most: 1 }), nothing);
                }
                assert!(!self.w.state.expiry_due(LogTime(self.w.now)));
            }
        }
    }

    fn come_back(&mut self, client: u8, node: u64) {
        if !self.w.state.node(NodeId(node)).unwrap().is_live() {
            let join = Command::NodeJoin { node: NodeId(node), name: "again".into(), addresses: addresses(), boot_id: "b".into() };
            self.run(join);
        }
        let incarnation = self.w.state.node(NodeId(node)).unwrap().incarnation;
        let session = SessionId::of(incarnation, self.w.next_session);
        self.w.next_session += 1;
        let outcome = self.run(Command::SessionOpen {
            session,
            node: NodeId(node),
            incarnation,
            client_guid: guid(client),
            user: user(u32::from(client)),
            user_name: "u".into(),
            client_address: "c".into(),
            previous_session: Some(self.at[&client].session),
        });
        assert!(matches!(outcome, Outcome::SessionOpened { .. }));
        self.at.insert(client, At { client, node: NodeId(node), incarnation, session });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Invariants hold after every command (`World::run` checks them); two replicas agree to the byte; what is stored is what is there.
    #[test]
    fn anything_goes(steps in prop::collection::vec(step(), 1..80)) {
        let mut d = Driver::new();
        let mut disk: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut replica = d.w.state.clone();
        replica.take_changes();
        for s in &steps {
            d.step(s);
            for (k, v) in d.w.state.take_changes() {
                match v {
                    Some(v) => disk.insert(k, v),
                    None => disk.remove(&k),
                };
            }
        }
        for (now, c) in &d.log {
            replica.apply(LogTime(*now), c);
        }
        let records = d.w.state.all_records();
        prop_assert_eq!(&replica.all_records(), &records);
        prop_assert_eq!(disk.into_iter().collect::<Vec<_>>(), records.clone());
        let loaded = State::load(records).unwrap();
        prop_assert_eq!(&loaded, &d.w.state);
        prop_assert!(loaded.check_invariants().is_ok());
    }

    /// Nobody can tell whether a life ended at once or in parts, unless by when the opens had their turn that nobody asked for.
    #[test]
    fn a_life_ends_in_parts_as_it_ends_at_once(steps in prop::collection::vec(step(), 1..80)) {
        let mut d = Driver::new();
        let mut parts = d.w.state.clone();
        steps.iter().for_each(|s| d.step(s));
        let (mut whole, mut ending) = (parts.clone(), BTreeMap::new());
        let finish = |parts: &mut State, ending: &mut BTreeMap<NodeId, Incarnation>, now: LogTime| {
            while let Some((node, incarnation)) = ending.pop_first() {
                while parts.is_ending(node) {
                    assert_eq!(parts.apply(now, &Command::NodeEnd { node, incarnation, at_most: 2 }).outcome, Outcome::Done);
                    parts.check_invariants().unwrap();
                }
                let again = Command::NodeEnd { node, incarnation, at_most: 2 };
                assert_eq!(parts.apply(now, &again).outcome, Outcome::Rejected(Rejection::StaleIncarnation));
            }
        };
        for (now, c) in &d.log {
            let now = LogTime(*now);
            if matches!(c, Command::Expire | Command::ExpireSome { .. }) {
                finish(&mut parts, &mut ending, now);
            }
            let mut in_parts = c.clone();
            if let Command::NodeDown { node, incarnation } = *c
                && parts.node(node).unwrap().is_live()
            {
                in_parts = Command::NodeEnd { node, incarnation, at_most: 1 };
                ending.insert(node, incarnation);
            }
            if let Command::NodeJoin { node, .. } = c {
                ending.remove(node);
            }
            let (class, before, own) = (in_parts.class(&parts), promises(&parts), given_back(&parts, c));
            prop_assert_eq!(parts.apply(now, &in_parts).outcome, whole.apply(now, c).outcome, "{:?}", c);
            let after = if class == Class::Persistent { before.clone() } else { promises(&parts) };
            for (id, promise) in before.into_iter().filter(|(id, _)| !own.contains(id)) {
                prop_assert_eq!(after.get(&id), Some(&promise), "{:?} touches a persistent open and need not be on disk", c);
            }
            if let Err(broken) = parts.check_invariants() {
                panic!("{broken}\nafter {c:?}");
            }
        }
        finish(&mut parts, &mut ending, LogTime(d.w.now));
        // Which of the living removes a file, and by which of its names, may differ.
        let records = |state: &State| state.all_records().into_iter().filter(|(key, _)| key[0] != codec::Kind::PendingDelete as u8).collect::<Vec<_>>();
        let deletes = |state: &State| state.pending_deletes().map(|d| d.file).collect::<Vec<_>>();
        prop_assert_eq!(records(&parts), records(&whole));
        prop_assert_eq!(deletes(&parts), deletes(&whole));
    }

    /// Share modes and locks of one file, without caches: the same answers as a table written down the long way.
    #[test]
    fn as_the_naive_table(steps in prop::collection::vec((0..3u8, 0..8usize, 0..16u32, 0..8u32, 0..5u64, 0..4u64, any::<bool>()), 1..60)) {
        let mut w = World::new();
        let at = [w.session(1, 1), w.session(2, 2)];
        let mut naive = Naive::default();
        for (what, which, bits, share, offset, length, exclusive) in steps {
            let who = at[which % 2];
            let mine: Vec<OpenId> = naive.opens.iter().filter(|(_, o)| o.session == who.session).map(|(id, _)| *id).collect();
            match what {
                0 => {
                    let access = [(1, 0x1), (2, 0x2), (4, 0x1_0000), (8, 0x20)].iter().filter(|(b, _)| bits & b != 0).map(|(_, a)| a).sum::<u32>() | 0x80;
                    let outcome = w.open(request(who).access(AccessMask(access), ShareAccess(share)));
                    if naive.admits(access, share) {
                        let Outcome::Opened(g) = outcome else { panic!("{outcome:?}") };
                        naive.opens.insert(g.open, NaiveOpen { session: who.session, access, share, locks: vec![] });
                    } else {
                        prop_assert_eq!(outcome, Outcome::Refused(NtStatus::SHARING_VIOLATION));
                    }
                }
                1 if !mine.is_empty() => {
                    let open = mine[which % mine.len()];
                    let outcome = w.lock(who, open, offset, length, exclusive);
                    let granted = naive.locks(open, offset, length, exclusive);
                    prop_assert_eq!(outcome, if granted { Outcome::LockGranted } else { Outcome::Refused(NtStatus::LOCK_NOT_GRANTED) });
                    for (id, write) in naive.opens.keys().flat_map(|id| [(id, false), (id, true)]) {
                        prop_assert_eq!(w.state.lock_conflict(&file(10), *id, offset, 1, write), naive.blocks(*id, offset, write));
                    }
                }
                _ if !mine.is_empty() => {
                    w.close(who, mine[0]);
                    naive.opens.remove(&mine[0]);
                }
                _ => {}
            }
        }
    }
}

#[derive(Default)]
struct Naive {
    opens: BTreeMap<OpenId, NaiveOpen>,
}

struct NaiveOpen {
    session: SessionId,
    access: u32,
    share: u32,
    /// Offset, length, exclusive.
    locks: Vec<(u64, u64, bool)>,
}

impl Naive {
    fn admits(&self, access: u32, share: u32) -> bool {
        let wants = |a: u32| {
            [(a & 0x21 != 0, 1), (a & 0x6 != 0, 2), (a & 0x1_0000 != 0, 4)].iter().filter(|(w, _)| *w).map(|(_, b)| b).sum::<u32>()
        };
        self.opens.values().all(|o| {
            let (new, old) = (wants(access), wants(o.access));
            new == 0 || old == 0 || (new & !o.share == 0 && old & !share == 0)
        })
    }

    /// Byte by byte; an empty range is the gap before its offset, and is inside what has bytes on both sides.
    fn meets(a: (u64, u64), b: (u64, u64)) -> bool {
        match (a.1, b.1) {
            (0, 0) => false,
            (0, _) => a.0 > 0 && (b.0..b.0 + b.1).contains(&(a.0 - 1)) && (b.0..b.0 + b.1).contains(&a.0),
            (_, 0) => Self::meets(b, a),
            _ => (a.0..a.0 + a.1).any(|x| (b.0..b.0 + b.1).contains(&x)),
        }
    }

    fn locks(&mut self, open: OpenId, offset: u64, length: u64, exclusive: bool) -> bool {
        let conflict = self.opens.iter().any(|(id, o)| {
            o.locks.iter().any(|l| Self::meets((l.0, l.1), (offset, length)) && if *id == open { exclusive } else { exclusive || l.2 })
        });
        if !conflict {
            self.opens.get_mut(&open).unwrap().locks.push((offset, length, exclusive));
        }
        !conflict
    }

    fn blocks(&self, open: OpenId, offset: u64, write: bool) -> bool {
        let hit = |l: &(u64, u64, bool)| Self::meets((l.0, l.1), (offset, 1));
        self.opens.iter().any(|(id, o)| o.locks.iter().any(|l| hit(l) && if *id == open { write && !l.2 } else { write || l.2 }))
    }
}
