//! Every format as it was released: commands of a small story and the records they leave. The bytes in `golden/` are never changed; a new format gets new ones.
//! (`HOLDFAST_BLESS=1` writes them, for the first time of a new version.)
#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

mod common;
use common::*;
use persistence_model::*;
use smb_types::{AccessMask, CreateOptions, OplockLevel, ShareAccess};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// One record of every kind, most variants of commands.
fn story() -> Vec<Command> {
    let (node, incarnation, by) = (NodeId(1), Incarnation(1), Incarnation(1));
    let session = SessionId::of(incarnation, 1);
    let at = At { client: 1, node, incarnation, session };
    let join = |n: u64| Command::NodeJoin { node: NodeId(n), name: format!("n{n}"), addresses: addresses(), boot_id: "boot".into() };
    let open = |n: u64| OpenId(0x2_0000_0000 + n);
    let mut gone = request(at).of(13, "gone").access(AccessMask::DELETE, ShareAccess::ALL);
    gone.create_options = CreateOptions::DELETE_ON_CLOSE;
    let app = OpenRequest {
        app_instance: Some(AppInstance { id: guid(9), version: Some((1, 2)) }),
        ..request(at).of(12, "c").oplock(OplockLevel::Batch).durable(3)
    };
    vec![
        Command::ClusterInit { net_name: "HOLDFAST".into(), server_guid: guid(0xC1) },
        join(1),
        join(2),
        Command::NodeDrain { node: NodeId(2), on: true },
        Command::ShareAdd { name: "ca".into(), settings: settings(true, false) },
        Command::UserAdd { name: "anna".into(), nt_hash: [7; 16], sid: None, unix: None },
        Command::UserMap { name: "anna".into(), unix: Some(UnixUser { uid: 1001, gid: Some(100) }) },
        Command::GroupAdd { name: "staff".into(), comment: "all".into(), gid: Some(50) },
        Command::GroupChange { name: "staff".into(), comment: Some("most".into()), gid: Some(None) },
        Command::GroupMember { group: "staff".into(), member: user(1), on: true },
        Command::GroupAdd { name: "gone".into(), comment: String::new(), gid: None },
        Command::GroupRemove { name: "gone".into() },
        Command::TokenAdd { hash: [8; 32], ttl_ms: 60_000 },
        Command::SessionOpen {
            session,
            node,
            incarnation,
            client_guid: guid(1),
            user: user(1),
            user_name: "anna".into(),
            client_address: "127.0.0.1:50000".into(),
            previous_session: Some(SessionId(9)),
        },
        Command::OpenFile(Box::new(request(at).leased(1, RWH).persistent(1))),
        Command::ReserveOpen(Box::new(OpenRequest { file: None, ..request(at).of(11, "new").persistent(2) })),
        Command::OpenFile(Box::new(app)),
        Command::OpenFile(Box::new(gone)),
        Command::Lock {
            open: open(1),
            elements: vec![ByteRangeLock { offset: 0, length: 10, exclusive: true }],
            fail_immediately: true,
            sequence: Some(LockSequence { index: 1, number: 2 }),
            by,
        },
        Command::RenameIntent { open: open(1), new_path: "b.txt".into(), replace: false, target: None, by },
        Command::CloseOpen { open: open(4), by },
        Command::BreakForIo { file: file(10), by_open: None, kind: IoKind::Security },
        Command::EndReplay { open: open(3), by },
        Command::OpenClose { open: open(3) },
        Command::ClientBlock { network: "192.0.2.0/24".parse().unwrap(), reason: "broken".into() },
        Command::ClientBlock { network: "2001:db8::7".parse().unwrap(), reason: String::new() },
        Command::ClientUnblock { network: "2001:db8::7".parse().unwrap() },
        Command::Expire,
    ]
}

/// Settings of the cluster, and logons that fail.
fn story_of_logons() -> Vec<Command> {
    let name = || "anna".to_owned();
    let strict = ClusterSettings { encryption_required: true, lockout_threshold: 2, list_anonymously: true, ..ClusterSettings::default() };
    vec![
        Command::UserAdd { name: name(), nt_hash: [7; 16], sid: None, unix: None },
        Command::ClusterSet { settings: strict, instead_of: Box::default() },
        Command::LogonFailed { name: name() },
        Command::LogonSucceeded { name: name() },
        Command::LogonFailed { name: name() },
        Command::LogonFailed { name: name() },
        Command::UserUnlock { name: name() },
        Command::UserSetPassword { name: name(), nt_hash: [8; 16] },
        Command::LogonFailed { name: name() },
        Command::LogonFailed { name: name() },
    ]
}

/// What format 2 has in addition.
fn story_of_owners() -> Vec<Command> {
    let address = |text: &str| text.parse().unwrap();
    vec![
        Command::AsymmetricShareAdd { name: "vm".into(), settings: settings(true, true), owner: Some(NodeId(1)) },
        Command::AsymmetricShareAdd { name: "db".into(), settings: settings(true, false), owner: None },
        Command::ShareMove { share: ShareId(2), to: None, instead_of: Some(NodeId(1)) },
        Command::ShareMove { share: ShareId(2), to: Some(NodeId(1)), instead_of: None },
        Command::NodeListen {
            node: NodeId(2),
            by: Incarnation(2),
            add: vec![address("192.0.2.12:445"), address("[2001:db8::12]:445")],
            remove: vec![address("127.0.0.1:445")],
        },
    ]
}

fn compare(name: &str, text: &str) -> String {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    std::fs::read_to_string(&path).unwrap()
}

#[test]
fn version_1_is_read_and_written() {
    let mut w = World {
        state: State::new(),
        now: 0,
        last: Applied { outcome: Outcome::Done, events: vec![], interested: vec![] },
        next_session: 1,
    };
    let mut lines = String::new();
    for command in story() {
        w.now += 10;
        let outcome = w.run(command.clone());
        assert!(!matches!(outcome, Outcome::Rejected(_) | Outcome::Refused(_)), "{command:?}: {outcome:?}");
        lines += &format!("{} {}\n", hex(&codec::encode_command(&command)), hex(&codec::encode_applied(&w.last)));
    }
    let records: String = w.state.all_records().iter().map(|(k, v)| format!("{} {}\n", hex(k), hex(v))).collect();
    assert_eq!(compare("commands-v1.hex", &lines), lines);
    assert_eq!(compare("records-v1.hex", &records), records);
    let read = |name| compare(name, "").lines().map(|l| l.split_once(' ').map(|(k, v)| (unhex(k), unhex(v))).unwrap()).collect::<Vec<_>>();
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        compare("commands-v1.hex", &lines);
        compare("records-v1.hex", &records);
        return;
    }
    assert_eq!(State::load(read("records-v1.hex")).unwrap(), w.state);
    let mut again = State::new();
    for (i, (command, applied)) in read("commands-v1.hex").into_iter().enumerate() {
        let command = codec::decode_command(&command).unwrap();
        let now = LogTime(10 * (i as u64 + 1));
        assert_eq!(again.apply(now, &command), codec::decode_applied(&applied).unwrap());
    }
    assert_eq!(again, w.state);
    let kinds: std::collections::BTreeSet<u8> = w.state.all_records().iter().map(|(k, _)| k[0]).collect();
    assert_eq!(kinds, (1..=10).chain([17]).collect(), "the story leaves a record of every kind");
}

/// A level below the third writes nothing of this; what it wrote stays as it was.
#[test]
fn version_2_is_read_and_written() {
    let mut w = World {
        state: State::new(),
        now: 0,
        last: Applied { outcome: Outcome::Done, events: vec![], interested: vec![] },
        next_session: 1,
    };
    let join = |n: u64| Command::NodeJoin { node: NodeId(n), name: format!("n{n}"), addresses: addresses(), boot_id: "boot".into() };
    for command in [Command::ClusterInit { net_name: "HOLDFAST".into(), server_guid: guid(0xC1) }, join(1), join(2)] {
        w.run(command);
    }
    w.run(Command::ShareAdd { name: "plain".into(), settings: settings(true, false) });
    let mut again = w.state.clone();
    let mut lines = String::new();
    for command in story_of_owners() {
        let outcome = w.run(command.clone());
        assert!(matches!(outcome, Outcome::Done | Outcome::ShareAdded { .. }), "{command:?}: {outcome:?}");
        lines += &format!("{} {}\n", hex(&codec::encode_command(&command)), hex(&codec::encode_applied(&w.last)));
    }
    let own = |k: &[u8]| k[0] == codec::Kind::Share as u8 || k[0] == codec::Kind::Node as u8;
    let records: String = w.state.all_records().iter().filter(|(k, _)| own(k)).map(|(k, v)| format!("{} {}\n", hex(k), hex(v))).collect();
    assert_eq!(compare("commands-v2.hex", &lines), lines);
    assert_eq!(compare("records-v2.hex", &records), records);
    let read = |name| compare(name, "").lines().map(|l| l.split_once(' ').map(|(k, v)| (unhex(k), unhex(v))).unwrap()).collect::<Vec<_>>();
    if std::env::var_os("HOLDFAST_BLESS").is_some() {
        compare("commands-v2.hex", &lines);
        compare("records-v2.hex", &records);
        return;
    }
    let loaded = State::load(read("records-v2.hex")).unwrap();
    assert!(loaded.shares().eq(w.state.shares()) && loaded.nodes().eq(w.state.nodes()));
    let owners: Vec<_> = loaded.shares().map(|share| share.owner).collect();
    assert_eq!(owners, [None, Some(NodeId(1)), Some(NodeId(2))]);
    let versions: Vec<u8> = read("records-v2.hex").iter().filter(|(k, _)| k[0] == 6).map(|(_, v)| v[6]).collect();
    assert_eq!(versions, [1, 2, 2], "a share without owner stays in format 1");
    for (command, applied) in read("commands-v2.hex") {
        assert_eq!(command[6], 2);
        let command = codec::decode_command(&command).unwrap();
        assert_eq!(again.apply(LogTime(0), &command), codec::decode_applied(&applied).unwrap());
    }
    assert_eq!(again, w.state);
}

/// A level below the fifth writes nothing of this. No record has this format.
#[test]
fn version_3_is_read_and_written() {
    let mut w = World::new();
    let at = w.session(1, 2);
    w.opened(request(at).of(10, "a").persistent(1));
    w.opened(request(at).of(11, "b").persistent(2));
    let mut again = w.state.clone();
    let part = |at_most| Command::NodeEnd { node: at.node, incarnation: at.incarnation, at_most };
    let (mut lines, mut now) = (String::new(), w.now);
    for command in [part(1), part(70_000), Command::ExpireSome { at_most: 1 }] {
        // Beyond the time of both handles.
        w.now += 100_000;
        assert!(!matches!(w.run(command.clone()), Outcome::Rejected(_)));
        lines += &format!("{} {}\n", hex(&codec::encode_command(&command)), hex(&codec::encode_applied(&w.last)));
    }
    assert_eq!(compare("commands-v3.hex", &lines), lines);
    for (command, applied) in lines.lines().map(|l| l.split_once(' ').unwrap()) {
        let command = unhex(command);
        assert_eq!(command[6], 3);
        let command = codec::decode_command(&command).unwrap();
        now += 100_000;
        assert_eq!(again.apply(LogTime(now), &command), codec::decode_applied(&unhex(applied)).unwrap());
    }
    assert_eq!(again, w.state);
}

#[test]
fn settings_and_lockouts_are_read_and_written() {
    let mut w = World::new();
    let (mut again, mut lines, mut now) = (w.state.clone(), String::new(), w.now);
    for command in story_of_logons() {
        w.now += 10;
        assert!(!matches!(w.run(command.clone()), Outcome::Rejected(_)), "{command:?}");
        lines += &format!("{} {}\n", hex(&codec::encode_command(&command)), hex(&codec::encode_applied(&w.last)));
    }
    let own = |k: &[u8]| k[0] == codec::Kind::User as u8 || k[0] == codec::Kind::Cluster as u8;
    let records: String = w.state.all_records().iter().filter(|(k, _)| own(k)).map(|(k, v)| format!("{} {}\n", hex(k), hex(v))).collect();
    assert_eq!(compare("commands-logons.hex", &lines), lines);
    assert_eq!(compare("records-logons.hex", &records), records);
    for (command, applied) in lines.lines().map(|l| l.split_once(' ').unwrap()) {
        now += 10;
        let command = codec::decode_command(&unhex(command)).unwrap();
        assert_eq!(again.apply(LogTime(now), &command), codec::decode_applied(&unhex(applied)).unwrap());
    }
    assert_eq!(again, w.state);
    assert!(again.user_by_name("anna").unwrap().is_locked_out() && again.settings().encryption_required);
}
