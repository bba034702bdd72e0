//! A cluster in the hand: short words for long commands; all invariants are checked after every one of them.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::new_without_default,
    clippy::unwrap_used,
    reason = "every test binary uses its part of this, and a failing test may panic"
)]

use persistence_model::*;
use smb_types::{AccessMask, CreateOptions, FileAttributes, Guid, LeaseState, NtStatus, OplockLevel, ShareAccess, Sid};

pub const RW_ACCESS: AccessMask = AccessMask(0x3);
pub const READ: AccessMask = AccessMask::READ_DATA;
pub const NONE: LeaseState = LeaseState::NONE;
pub const R: LeaseState = LeaseState::READ;
pub const RW: LeaseState = LeaseState::RW;
pub const RH: LeaseState = LeaseState::RH;
pub const RWH: LeaseState = LeaseState::RWH;

/// Three nodes (incarnations 1 to 3), share 1 "ca" (CA), 2 "plain", 3 "scale" (CA and SCALEOUT); client n has session n on node 1 unless it opened others.
pub struct World {
    pub state: State,
    pub now: u64,
    pub last: Applied,
    pub next_session: u32,
}

pub fn guid(n: u8) -> Guid {
    Guid([n; 16])
}

pub fn file(inode: u64) -> FileKey {
    FileKey { volume: 1, inode, generation: 1, stream: 0 }
}

pub fn user(n: u32) -> Sid {
    Sid::new(5, &[21, 1, 2, 3, n])
}

pub fn addresses() -> NodeAddresses {
    let a = "127.0.0.1:445".parse().unwrap();
    NodeAddresses { smb: vec![a], witness: a, mapper: a, admin: a, raft: a }
}

pub fn settings(ca: bool, scaleout: bool) -> ShareSettings {
    ShareSettings {
        path: "/srv".into(),
        comment: String::new(),
        ca,
        scaleout,
        encrypt: false,
        ca_timeout_ms: 0,
        ..ShareSettings::default()
    }
}

/// Where a client's request arrives.
#[derive(Clone, Copy)]
pub struct At {
    pub client: u8,
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub session: SessionId,
}

impl World {
    pub fn new() -> Self {
        let last = Applied { outcome: Outcome::Done, events: vec![], interested: vec![] };
        let mut w = Self { state: State::new(), now: 1000, last, next_session: 1 };
        w.run(Command::ClusterInit { net_name: "HOLDFAST".into(), server_guid: guid(0xC1) });
        for n in 1..=3 {
            let joined = w.join(n);
            assert_eq!(joined, Incarnation(n));
        }
        for (name, ca, scaleout) in [("ca", true, false), ("plain", false, false), ("scale", true, true)] {
            w.run(Command::ShareAdd { name: name.into(), settings: settings(ca, scaleout) });
        }
        w
    }

    pub fn run(&mut self, command: Command) -> Outcome {
        let bytes = codec::encode_command(&command);
        assert_eq!(codec::decode_command(&bytes).unwrap(), command);
        self.last = self.state.apply(LogTime(self.now), &command);
        assert_eq!(codec::decode_applied(&codec::encode_applied(&self.last)).unwrap(), self.last);
        if let Err(e) = self.state.check_invariants() {
            panic!("{e}\nafter {command:?}");
        }
        self.last.outcome.clone()
    }

    pub fn join(&mut self, n: u64) -> Incarnation {
        match self.run(Command::NodeJoin { node: NodeId(n), name: format!("n{n}"), addresses: addresses(), boot_id: "b".into() }) {
            Outcome::Joined { incarnation } => incarnation,
            other => panic!("{other:?}"),
        }
    }

    pub fn kill(&mut self, n: u64) {
        let incarnation = self.state.node(NodeId(n)).unwrap().incarnation;
        assert_eq!(self.run(Command::NodeDown { node: NodeId(n), incarnation }), Outcome::Done);
    }

    /// Client and user have the same number.
    pub fn session(&mut self, client: u8, node: u64) -> At {
        self.session_after(client, node, None)
    }

    pub fn session_after(&mut self, client: u8, node: u64, previous_session: Option<SessionId>) -> At {
        let incarnation = self.state.node(NodeId(node)).unwrap().incarnation;
        let session = SessionId::of(incarnation, self.next_session);
        self.next_session += 1;
        let outcome = self.run(Command::SessionOpen {
            session,
            node: NodeId(node),
            incarnation,
            client_guid: guid(client),
            user: user(u32::from(client)),
            user_name: "u".into(),
            client_address: "c".into(),
            previous_session,
        });
        assert!(matches!(outcome, Outcome::SessionOpened { .. }), "{outcome:?}");
        At { client, node: NodeId(node), incarnation, session }
    }

    pub fn open(&mut self, r: OpenRequest) -> Outcome {
        self.run(Command::OpenFile(Box::new(r)))
    }

    /// An open that must succeed.
    pub fn opened(&mut self, r: OpenRequest) -> Grant {
        match self.open(r) {
            Outcome::Opened(g) => g,
            other => panic!("{other:?}"),
        }
    }

    pub fn refused(&mut self, r: OpenRequest) -> NtStatus {
        match self.open(r) {
            Outcome::Refused(s) => s,
            other => panic!("{other:?}"),
        }
    }

    pub fn waits(&mut self, r: OpenRequest) {
        let outcome = self.open(r);
        assert!(matches!(outcome, Outcome::MustWait { .. }), "{outcome:?}");
    }

    pub fn lose(&mut self, at: At) -> Outcome {
        self.run(Command::DisconnectOpens { session: at.session, why: DisconnectReason::ConnectionLost })
    }

    pub fn ack(&mut self, client: u8, key: u8, state: LeaseState) -> Outcome {
        self.run(Command::LeaseAck { client_guid: guid(client), key: guid(key), state })
    }

    pub fn lease(&self, client: u8, key: u8) -> Lease {
        let id = LeaseId { client_guid: guid(client), key: guid(key) };
        self.state.files_of_lease(id).next().unwrap().leases[&id].clone()
    }

    /// The lease breaks of the last command: new state, acknowledgement required.
    pub fn breaks(&self) -> Vec<(LeaseState, bool)> {
        let one = |e: &Event| match e {
            Event::LeaseBreak { new, ack_required, .. } => Some((*new, *ack_required)),
            _ => None,
        };
        self.last.events.iter().filter_map(one).collect()
    }

    pub fn close(&mut self, at: At, open: OpenId) -> Option<PendingDelete> {
        match self.run(Command::CloseOpen { open, by: at.incarnation }) {
            Outcome::Closed { delete } => delete,
            other => panic!("{other:?}"),
        }
    }

    pub fn lock(&mut self, at: At, open: OpenId, offset: u64, length: u64, exclusive: bool) -> Outcome {
        let elements = vec![ByteRangeLock { offset, length, exclusive }];
        self.run(Command::Lock { open, elements, fail_immediately: true, sequence: None, by: at.incarnation })
    }

    pub fn reclaim(&mut self, r: ReclaimRequest) -> Outcome {
        self.run(Command::ReclaimOpen(Box::new(r)))
    }
}

/// A plain request: file 10 "a.txt" on the CA share, read and write, shared with all.
pub fn request(at: At) -> OpenRequest {
    OpenRequest {
        node: at.node,
        incarnation: at.incarnation,
        session: at.session,
        share: ShareId(1),
        client_guid: guid(at.client),
        create_guid: None,
        user: user(u32::from(at.client)),
        file: Some(file(10)),
        path: "a.txt".into(),
        is_directory: false,
        desired_access: RW_ACCESS,
        granted_access: RW_ACCESS,
        share_access: ShareAccess::ALL,
        create_options: CreateOptions::NONE,
        file_attributes: FileAttributes::NONE,
        overwrites: false,
        oplock: RequestedOplock::None,
        durability: RequestedDurability::None,
        app_instance: None,
        replay: false,
        dialect_3x: true,
    }
}

pub trait With: Sized {
    fn leased(self, key: u8, state: LeaseState) -> Self;
    fn persistent(self, create_guid: u8) -> Self;
    fn durable(self, create_guid: u8) -> Self;
    fn oplock(self, level: OplockLevel) -> Self;
    fn access(self, access: AccessMask, share: ShareAccess) -> Self;
    fn overwriting(self) -> Self;
    fn of(self, inode: u64, path: &str) -> Self;
    fn directory(self) -> Self;
    fn on(self, share: u64) -> Self;
    fn replayed(self) -> Self;
}

impl With for OpenRequest {
    fn leased(mut self, key: u8, state: LeaseState) -> Self {
        self.oplock = RequestedOplock::Lease(RequestedLease { key: guid(key), state, parent_key: None, epoch: 0, version: 2 });
        self
    }
    fn persistent(mut self, create_guid: u8) -> Self {
        (self.create_guid, self.durability) = (Some(guid(create_guid)), RequestedDurability::Persistent { timeout_ms: 0 });
        self
    }
    fn durable(mut self, create_guid: u8) -> Self {
        (self.create_guid, self.durability) = (Some(guid(create_guid)), RequestedDurability::V2 { timeout_ms: 0 });
        self
    }
    fn oplock(mut self, level: OplockLevel) -> Self {
        self.oplock = RequestedOplock::Level(level);
        self
    }
    fn access(mut self, access: AccessMask, share: ShareAccess) -> Self {
        (self.desired_access, self.granted_access, self.share_access) = (access, access, share);
        self
    }
    fn overwriting(mut self) -> Self {
        self.overwrites = true;
        self
    }
    fn of(mut self, inode: u64, path: &str) -> Self {
        (self.file, self.path) = (Some(file(inode)), path.into());
        self
    }
    fn directory(mut self) -> Self {
        self.is_directory = true;
        self
    }
    fn on(mut self, share: u64) -> Self {
        self.share = ShareId(share);
        self
    }
    fn replayed(mut self) -> Self {
        self.replay = true;
        self
    }
}

/// DH2C for a persistent open.
pub fn reconnect(at: At, open: OpenId, create_guid: u8, lease: Option<u8>) -> ReclaimRequest {
    ReclaimRequest {
        node: at.node,
        incarnation: at.incarnation,
        session: at.session,
        share: ShareId(1),
        client_guid: guid(at.client),
        user: user(u32::from(at.client)),
        open,
        kind: ReclaimKind::V2 { create_guid: guid(create_guid), persistent: true, by_create_guid: true },
        lease: lease.map(|k| ReclaimLease { key: guid(k), version: 2, epoch: 0 }),
        path: "a.txt".into(),
    }
}
