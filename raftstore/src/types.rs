//! The types that Raft is run with: node ids, terms, entries.
//!
//! Together with `storage`, `transport/network.rs`, `wire.rs` and `store` this is all that names openraft.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::environment::runtime::Runtime;
use crate::machine::Class;
use crate::status::Leader;

openraft::declare_raft_types!(
    /// Raft with our commands. Outcomes do not travel through Raft: each node learns them from its own apply.
    pub(crate) TypeConfig:
        D = Command,
        R = (),
        AsyncRuntime = Runtime,
);

pub(crate) type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
pub(crate) type LogId = openraft::LogId<LeaderId>;
pub(crate) type Entry = <TypeConfig as openraft::RaftTypeConfig>::Entry;
pub(crate) type Vote = <TypeConfig as openraft::RaftTypeConfig>::Vote;
pub(crate) type Node = openraft::BasicNode;
pub(crate) type StoredMembership = openraft::StoredMembership<LeaderId, u64, Node>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, Node>;
pub(crate) type Snapshot<S> = openraft::Snapshot<LeaderId, u64, Node, S>;

impl From<LeaderId> for Leader {
    fn from(leader: LeaderId) -> Self {
        Self { term: leader.term, node_id: leader.node_id }
    }
}

impl From<Leader> for LeaderId {
    fn from(leader: Leader) -> Self {
        Self { term: leader.term, node_id: leader.node_id }
    }
}

/// One proposed command as it stands in the log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Command {
    /// Log time in milliseconds, stamped by the leader.
    pub(crate) time_ms: u64,
    pub(crate) class: Class,
    /// Names the proposal, so that the proposing node recognises its own and a repeated message is not a second command.
    pub(crate) operation: u128,
    pub(crate) data: Blob,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({:?}, {} ms, {:032x}, {} bytes)", self.class, self.time_ms, self.operation, self.data.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Bytes that are cheap to clone and encoded as bytes, not one by one.
#[derive(Clone, PartialEq, Eq, Default)]
pub(crate) struct Blob(pub(crate) Arc<[u8]>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes.into()))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}
