//! What nodes say to each other. One request, one response; application payloads are opaque.
//!
//! ```text
//! frame:  length u32le (of what follows) | request id u64le | envelope of Hello, HelloReply, Request or Response
//! ```
//! The first frame of a connection is a [`Hello`] (or a [`Join`] from a node that has no certificate yet), answered by its reply.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

use crate::types::{Blob, Command, LeaderId, LogId, SnapshotMeta, TypeConfig, Vote};

/// The version of the conversation; both sides use the lower one of the two newest. 2: entries about the cluster's own agreements. 3: the
/// machine above may write what programs of level 2 do not read. 4: who waits for an entry names it by its leader too. 5: as 3,
/// for level 4.
pub(crate) const PROTOCOL_NEWEST: u16 = 5;
/// The oldest version that is still understood.
pub(crate) const PROTOCOL_OLDEST: u16 = 1;

/// The first word on a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Opening {
    Hello {
        oldest: u16,
        newest: u16,
        cluster: u128,
        from: u64,
        to: u64,
    },
    /// As version 1 asked: the member made the key. Only refused nowadays.
    Join(Join),
    AskToJoin(AskToJoin),
}

/// A node without certificate asks to join.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Join {
    pub(crate) secret: [u8; 32],
    pub(crate) node_id: Option<u64>,
    pub(crate) address: String,
}

/// A node without certificate asks to join, and shows the public half of the key that it made.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AskToJoin {
    pub(crate) secret: [u8; 32],
    pub(crate) node_id: Option<u64>,
    pub(crate) address: String,
    pub(crate) public_key: Vec<u8>,
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join").field("node_id", &self.node_id).field("address", &self.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for AskToJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskToJoin").field("node_id", &self.node_id).field("address", &self.address).finish_non_exhaustive()
    }
}

/// The answer to an opening.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum OpeningReply {
    Welcome { version: u16 },
    Joined { node_id: u64, identity: crate::pki::NodeIdentity, members: BTreeMap<u64, String> },
    Refused(String),
    Admitted { node_id: u64, cluster: u128, certificate_pem: String, authorities_pem: String, members: BTreeMap<u64, String> },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    SnapshotBegin {
        id: u64,
    },
    SnapshotChunk {
        id: u64,
        offset: u64,
        chunk: Blob,
    },
    SnapshotEnd {
        id: u64,
        bytes: u64,
        vote: Vote,
        meta: SnapshotMeta,
    },
    Propose {
        leader: LeaderId,
        command: Command,
    },
    ReadIndex,
    /// Until version 3; from then on only for nodes that speak no newer one.
    WaitApplied {
        index: u64,
        timeout: Duration,
    },
    Membership(MembershipChange),
    Call(Blob),
    /// Since version 2: is the node in doubt, and how long is its log?
    Standing,
    /// Since version 2: where does the leader's log end?
    LogEnd,
    /// Since version 4: wait until this very entry is applied. Another one at its index does not do.
    WaitEntry {
        entry: LogId,
        timeout: Duration,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Response {
    Append(AppendEntriesResponse<TypeConfig>),
    Vote(VoteResponse<TypeConfig>),
    TransferLeader(TransferLeaderResponse<TypeConfig>),
    Snapshot(SnapshotResponse<TypeConfig>),
    Done,
    Proposed(Proposed),
    Index(u64),
    Call(Blob),
    /// It was not done, for this reason.
    Refused(String),
    /// It was not done because this node does not lead.
    NotLeader,
    /// Since version 2.
    Standing {
        in_doubt: bool,
        last: Option<LogId>,
    },
    /// Since version 2.
    LogEnd(Option<LogId>),
}

/// What became of a proposal at the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Proposed {
    /// Committed and applied at the leader.
    Committed { index: u64 },
    /// Certainly not in the log of that leadership.
    NotAppended,
    /// It may come to be committed, or not.
    Unknown,
}

impl Request {
    /// The first version of the conversation that has this request.
    pub(crate) const fn since(&self) -> u16 {
        match self {
            Self::Standing | Self::LogEnd => 2,
            Self::WaitEntry { .. } => 4,
            _ => 1,
        }
    }

    /// The request as a node of this version understands it, as well as its version can say it; none if it cannot.
    pub(crate) fn for_version(&self, version: u16) -> Option<Cow<'_, Self>> {
        match self {
            _ if version >= self.since() => Some(Cow::Borrowed(self)),
            Self::WaitEntry { entry, timeout } => Some(Cow::Owned(Self::WaitApplied { index: entry.index, timeout: *timeout })),
            _ => None,
        }
    }
}

/// A change of the membership, executed by the leader.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MembershipChange {
    AddLearner { node_id: u64, address: String },
    Promote { node_id: u64 },
    Remove { node_id: u64 },
    ChangeAddress { node_id: u64, address: String },
    TransferLeader { node_id: u64 },
}
