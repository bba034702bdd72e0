//! No command's work grows with opens that it has nothing to do with: counted in records looked at or changed, not in time.

use std::collections::BTreeMap;

use smb_types::{AccessMask, CreateOptions, FileAttributes, Guid, LeaseState, ShareAccess, Sid};

use crate::*;

/// What a command did: records visited by it, and by asking its class; records changed; events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Work {
    visits: usize,
    asked: usize,
    changes: usize,
    events: usize,
}

struct Bench {
    state: State,
    now: u64,
}

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const DYING: NodeId = NodeId(3);
const DYING_OPENS: u64 = 10;

fn guid(n: u64) -> Guid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    Guid(bytes)
}

fn file(n: u64) -> FileKey {
    FileKey { volume: 1, inode: n, generation: 1, stream: 0 }
}

impl Bench {
    /// `others` opens: a third attached on each of two nodes, a third without their client; in a directory of their own, with leases and locks.
    fn new(others: u64) -> Self {
        let mut b = Self { state: State::new(), now: 0 };
        b.run(&Command::ClusterInit { net_name: "N".into(), server_guid: guid(0) });
        for (name, ca) in [("data", true), ("small", true)] {
            let settings = ShareSettings {
                path: "/s".into(),
                comment: String::new(),
                ca,
                scaleout: false,
                encrypt: false,
                ca_timeout_ms: 300_000,
                ..ShareSettings::default()
            };
            b.run(&Command::ShareAdd { name: name.into(), settings });
        }
        [A, B, DYING].iter().for_each(|n| b.join(*n));
        let (at_a, at_b, away) = (b.session(A, 1), b.session(B, 2), b.session(B, 3));
        for n in 0..others {
            let at = [at_a, at_b, away][(n % 3) as usize];
            let name = format!("others\\d{}\\f{n}", n % 7);
            let open = b.open(request(at, 10_000 + n, &name));
            b.run(&lock(at, open));
        }
        b.run(&Command::DisconnectOpens { session: away.2, why: DisconnectReason::ConnectionLost });
        b
    }

    fn run(&mut self, command: &Command) -> Outcome {
        self.now += 1;
        let outcome = self.state.apply(LogTime(self.now), command).outcome;
        assert!(!matches!(outcome, Outcome::Refused(_) | Outcome::Rejected(_)), "{command:?}: {outcome:?}");
        outcome
    }

    fn measure(&mut self, command: &Command) -> (Outcome, Work) {
        self.state.take_changes();
        self.now += 1;
        self.state.visits.set(0);
        _ = command.class(&self.state);
        _ = command.route(&self.state);
        let asked = self.state.visits.replace(0);
        let applied = self.state.apply(LogTime(self.now), command);
        let visits = self.state.visits.get();
        let work = Work { visits, asked, changes: self.state.take_changes().len(), events: applied.events.len() };
        assert!(!matches!(applied.outcome, Outcome::Refused(_) | Outcome::Rejected(_)), "{command:?}: {:?}", applied.outcome);
        (applied.outcome, work)
    }

    fn join(&mut self, node: NodeId) {
        let a = ([127, 0, 0, 1], 1).into();
        let addresses = NodeAddresses { smb: vec![a], witness: a, mapper: a, admin: a, raft: a };
        self.run(&Command::NodeJoin { node, name: "n".into(), addresses, boot_id: String::new() });
    }

    fn session(&mut self, node: NodeId, client: u64) -> At {
        let incarnation = self.state.node(node).unwrap().incarnation;
        let session = SessionId::of(incarnation, client as u32);
        self.run(&session_open((node, incarnation, session, client), None));
        (node, incarnation, session, client)
    }

    fn open(&mut self, r: OpenRequest) -> OpenId {
        match self.run(&Command::OpenFile(Box::new(r))) {
            Outcome::Opened(grant) => grant.open,
            other => panic!("{other:?}"),
        }
    }
}

/// Node, life, session, client.
type At = (NodeId, Incarnation, SessionId, u64);

fn user(client: u64) -> Sid {
    Sid::new(5, &[21, client as u32])
}

fn session_open(at: At, previous_session: Option<SessionId>) -> Command {
    let (node, incarnation, session, client) = at;
    let (user_name, client_address) = (String::new(), String::new());
    Command::SessionOpen {
        session,
        node,
        incarnation,
        client_guid: guid(client),
        user: user(client),
        user_name,
        client_address,
        previous_session,
    }
}

fn request((node, incarnation, session, client): At, n: u64, path: &str) -> OpenRequest {
    let lease = RequestedLease { key: guid(1_000_000 + n), state: LeaseState::RWH, parent_key: None, epoch: 0, version: 2 };
    OpenRequest {
        node,
        incarnation,
        session,
        share: ShareId(1),
        client_guid: guid(client),
        create_guid: Some(guid(2_000_000 + n)),
        user: user(client),
        file: Some(file(n)),
        path: path.into(),
        is_directory: false,
        desired_access: AccessMask(0x3),
        granted_access: AccessMask(0x3),
        share_access: ShareAccess::ALL,
        create_options: CreateOptions::NONE,
        file_attributes: FileAttributes::NONE,
        overwrites: false,
        oplock: RequestedOplock::Lease(lease),
        durability: RequestedDurability::Persistent { timeout_ms: 0 },
        app_instance: None,
        replay: false,
        dialect_3x: true,
    }
}

fn lock(at: At, open: OpenId) -> Command {
    let elements = vec![ByteRangeLock { offset: 0, length: 1, exclusive: true }];
    Command::Lock { open, elements, fail_immediately: true, sequence: None, by: at.1 }
}

fn reclaim((node, incarnation, session, client): At, n: u64, open: OpenId, path: &str) -> Command {
    let kind = ReclaimKind::V2 { create_guid: guid(2_000_000 + n), persistent: true, by_create_guid: true };
    let lease = Some(ReclaimLease { key: guid(1_000_000 + n), version: 2, epoch: 1 });
    let (share, path) = (ShareId(1), path.to_owned());
    Command::ReclaimOpen(Box::new(ReclaimRequest {
        node,
        incarnation,
        session,
        share,
        client_guid: guid(client),
        user: user(client),
        open,
        kind,
        lease,
        path,
    }))
}

/// A small story, each command of it with its work.
fn story(others: u64) -> BTreeMap<&'static str, Work> {
    let mut b = Bench::new(others);
    let mut work = BTreeMap::new();
    let mut add = |what, w| assert!(work.insert(what, w).is_none());
    let (a, dying) = (b.session(A, 4), b.session(DYING, 5));
    let by = a.1;

    let (outcome, w) = b.measure(&Command::OpenFile(Box::new(request(a, 1, "mine\\one"))));
    add("open", w);
    let Outcome::Opened(one) = outcome else { panic!("{outcome:?}") };
    add("lock", b.measure(&lock(a, one.open)).1);
    let set = |class| Command::SetOpenClass { open: one.open, class, by };
    add("weaken", b.measure(&set(Class::Volatile)).1);
    add("upgrade", b.measure(&set(Class::Persistent)).1);
    add("end replay", b.measure(&Command::EndReplay { open: one.open, by }).1);
    let io = Command::BreakForIo { file: file(1), by_open: Some(one.open), kind: IoKind::Write };
    add("break for I/O", b.measure(&io).1);
    add("rename", b.measure(&Command::RenameIntent { open: one.open, new_path: "mine\\two".into(), replace: false, target: None, by }).1);
    add("renamed", b.measure(&Command::RenameDone { open: one.open, done: true, by }).1);
    add("listing", b.measure(&Command::DirectoryChanged { parent: file(77), by: None }).1);
    let directory = OpenRequest { is_directory: true, ..request(a, 2, "mine") };
    let directory = b.open(OpenRequest { granted_access: AccessMask::READ_ATTRIBUTES, ..directory });
    add("close", b.measure(&Command::CloseOpen { open: one.open, by }).1);
    let moved = Command::RenameIntent { open: directory, new_path: "yours".into(), replace: false, target: None, by };
    add("rename of a directory", b.measure(&moved).1);
    add("renamed directory", b.measure(&Command::RenameDone { open: directory, done: true, by }).1);

    let opens: Vec<OpenId> = (0..DYING_OPENS).map(|n| b.open(request(dying, 100 + n, &format!("dying\\{n}")))).collect();
    let (_, w) = b.measure(&Command::NodeDown { node: DYING, incarnation: dying.1 });
    assert_eq!(w.changes as u64, DYING_OPENS + 2, "the opens, their session, the node");
    add("node down", w);
    let again = (B, b.state.node(B).unwrap().incarnation, SessionId(0x99), 5);
    add("session", b.measure(&session_open(again, None)).1);
    add("reclaim", b.measure(&reclaim(again, 100, opens[0], "dying\\0")).1);
    let away = b.open(request(a, 3, "mine\\away"));
    assert!(b.state.open(away).is_some());
    add("disconnect", b.measure(&Command::DisconnectOpens { session: a.2, why: DisconnectReason::ConnectionLost }).1);

    // Two more handles, with the shortest of all timeouts, are past their time before the many are.
    let short = b.session(A, 6);
    let brief = |n, path| OpenRequest { durability: RequestedDurability::Persistent { timeout_ms: 1 }, ..request(short, n, path) };
    let late = [b.open(brief(4, "mine\\short")), b.open(brief(5, "mine\\shorter"))];
    b.run(&Command::DisconnectOpens { session: short.2, why: DisconnectReason::ConnectionLost });
    b.now += 10;
    b.state.visits.set(0);
    assert!(b.state.expiry_due(LogTime(b.now)));
    add("asking for what is due", Work { visits: b.state.visits.get(), asked: 0, changes: 0, events: 0 });
    let (outcome, w) = b.measure(&Command::ExpireSome { at_most: 1 });
    assert_eq!(outcome, Outcome::Expired { opens: vec![late[0]], breaks: 0 });
    add("expire some", w);
    let (outcome, w) = b.measure(&Command::Expire);
    assert_eq!(outcome, Outcome::Expired { opens: vec![late[1]], breaks: 0 });
    add("expire", w);
    add("nothing to expire", b.measure(&Command::Expire).1);

    // A death in parts looks at what has its turn, and so does who comes for something of it.
    b.join(DYING);
    let dying = b.session(DYING, 5);
    let opens: Vec<OpenId> = (0..DYING_OPENS).map(|n| b.open(request(dying, 200 + n, &format!("ending\\{n}")))).collect();
    let part = |at_most| Command::NodeEnd { node: DYING, incarnation: dying.1, at_most };
    let (_, w) = b.measure(&part(2));
    assert_eq!(w.changes, 3, "two opens, the node");
    add("first part of a death", w);
    let anew = b.session(B, 5);
    let last = DYING_OPENS - 1;
    let back = reclaim(anew, 200 + last, opens[last as usize], &format!("ending\\{last}"));
    add("reclaim before its turn", b.measure(&back).1);
    add("rest of a death", b.measure(&part(u32::MAX)).1);

    // Who is shut out has a session with a handle, and one that waits; so do others.
    let (here, gone) = (b.session(A, 8), b.session(B, 8));
    b.open(request(here, 300, "hers"));
    b.open(request(gone, 301, "away"));
    b.run(&Command::DisconnectOpens { session: gone.2, why: DisconnectReason::ConnectionLost });
    b.run(&Command::UserAdd { name: "eight".into(), nt_hash: [1; 16], sid: Some(user(8)), unix: None });
    add("user disabled", b.measure(&Command::UserEnable { name: "eight".into(), enabled: false }).1);
    assert!(b.state.opens().all(|open| *open.user != user(8)) && b.state.sessions_of_user(&user(8)).next().is_none());
    add("share removed", b.measure(&Command::ShareRemove { share: ShareId(2) }).1);
    b.state.check_invariants().unwrap();
    work
}

#[test]
fn work_does_not_grow_with_unrelated_opens() {
    let (few, many) = (story(30), story(3000));
    assert_eq!(few, many);
    assert!(few["open"].visits > 5 && few["node down"].visits as u64 > DYING_OPENS, "the counter counts");
    assert!(few.values().all(|w| w.visits < 400), "{few:?}");
}

/// The indexes give what a look at every record would give.
#[test]
fn names_are_found_as_by_looking_at_all() {
    let mut b = Bench::new(0);
    let a = b.session(A, 9);
    let paths = ["", "a", "A\\b", "a\\B:s", "a\\b\\c", "ab", "ab\\c", "a\\b", "x:y", "x", "Ä\\ß", "ä"];
    for (n, path) in (0..).zip(paths) {
        let stream = u64::from(path.contains(':'));
        b.open(OpenRequest { file: Some(FileKey { stream, ..file(n) }), ..request(a, n, path) });
    }
    let moved = b.state.opens().find(|o| *o.path == *"ab").unwrap().id;
    b.run(&Command::RenameIntent { open: moved, new_path: "a\\b\\new".into(), replace: false, target: None, by: a.1 });
    let names: Vec<(String, OpenId)> =
        (b.state.opens()).flat_map(|o| std::iter::once(&o.path).chain(&o.pending_path).map(|p| (fold_path(p), o.id))).collect();
    let naive = |fits: &dyn Fn(&str) -> bool| {
        let mut found: Vec<(String, OpenId)> = names.iter().filter(|(n, _)| fits(n)).cloned().collect();
        found.sort();
        found.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
    };
    for path in paths {
        let folded = fold_path(path);
        let prefix = if folded.is_empty() { String::new() } else { format!("{folded}\\") };
        assert_eq!(b.state.opens_beneath(ShareId(1), path), naive(&|n| !n.is_empty() && n.starts_with(&prefix)), "beneath {path:?}");
        assert_eq!(b.state.opens_of_streams(ShareId(1), path), naive(&|n| n.starts_with(&format!("{folded}:"))), "streams of {path:?}");
        let mut same = naive(&|n| n == folded);
        same.sort();
        assert_eq!(b.state.opens_of_path(ShareId(1), path).map(|o| o.id).collect::<Vec<_>>(), same, "{path:?}");
        assert!(b.state.opens_beneath(ShareId(2), path).is_empty());
    }
    assert_eq!(b.state.opens_of_share(ShareId(1)), b.state.opens().map(|o| o.id).collect::<Vec<_>>());
    assert!(b.state.opens_of_share(ShareId(2)).is_empty());
    let streams: Vec<u64> = b.state.named_streams(&file(3)).map(|f| f.key.inode).collect();
    assert_eq!(streams, [3]);
    assert!(b.state.named_streams(&file(1)).next().is_none());
}
