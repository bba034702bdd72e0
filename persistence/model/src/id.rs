//! Names of records: newtypes over integers, so that one is never taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};
use smb_types::{ClientGuid, LeaseKey};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub u64);
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!(stringify!($name), "({:#x})"), self.0) }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, "{}", self.0) }
        }
    )*};
}

ids! {
    /// A machine of the cluster; chosen by the operator, stable over restarts.
    NodeId;
    /// One life of a node's process; allocated by NodeJoin, never reused.
    Incarnation;
    /// An open; equals FileId.Persistent, unique in the whole cluster and never recycled.
    OpenId;
    /// A share; also the volume id that clients see.
    ShareId;
    /// A session; chosen by its node as `incarnation << 32 | counter`.
    SessionId;
    /// Milliseconds during which the cluster has had a leader; stamped by the leader, monotone.
    LogTime;
}

impl LogTime {
    /// This time and `ms` milliseconds; saturates.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl SessionId {
    /// Builds the id of the `counter`-th session of an incarnation.
    #[must_use]
    pub const fn of(incarnation: Incarnation, counter: u32) -> Self {
        Self(incarnation.0 << 32 | counter as u64)
    }
}

/// A file or one of its streams, independent of its path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct FileKey {
    /// The volume (file system) that holds it.
    pub volume: u64,
    /// Inode number.
    pub inode: u64,
    /// Tells two files apart that had the same inode number one after the other.
    pub generation: u64,
    /// 0 for the unnamed stream, else a number that the backend derives from the stream's name.
    pub stream: u64,
}

impl FileKey {
    /// The unnamed stream of the same file.
    #[must_use]
    pub const fn unnamed(self) -> Self {
        Self { stream: 0, ..self }
    }
}

/// A lease: its client and the client's key for it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct LeaseId {
    /// Namespace of the key.
    pub client_guid: ClientGuid,
    /// The client's name for the lease.
    pub key: LeaseKey,
}

/// The form in which names and paths are compared: upper case, separated by `\`, no leading or trailing separator.
#[must_use]
pub fn fold_path(path: &str) -> String {
    let trimmed = path.trim_matches(['/', '\\']);
    let mut folded = if trimmed.contains('/') { trimmed.replace('/', "\\") } else { trimmed.to_owned() };
    if folded.is_ascii() {
        folded.make_ascii_uppercase();
        return folded;
    }
    folded.to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fold() {
        assert_eq!(fold_path("/Dir/sub\\File.txt"), "DIR\\SUB\\FILE.TXT");
        assert_eq!(fold_path("\\/straße/Ä.txt/"), "STRASSE\\Ä.TXT");
        assert_eq!(SessionId::of(Incarnation(3), 7), SessionId(0x3_0000_0007));
    }
}
