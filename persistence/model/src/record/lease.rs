//! A lease (MS-SMB2 3.3.1.12): the right of one client to cache one file.

use std::ops::Index;
use std::sync::Arc;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smb_types::{LeaseKey, LeaseState};

use crate::id::{LeaseId, LogTime};
use crate::record::{Few, OpenSet};

/// Part of its file's record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// Client and key.
    pub id: LeaseId,
    /// What the client may cache now. While `breaking` this is the state before the break.
    pub state: LeaseState,
    /// A break was announced (or waits for the client) and is not acknowledged.
    pub breaking: bool,
    /// The state announced by that break.
    pub break_to: LeaseState,
    /// The state that has become necessary since; a second break follows the acknowledgement when it is lower than `break_to`.
    pub break_wanted: LeaseState,
    /// When the break is given up and the lease falls to none.
    pub break_deadline: Option<LogTime>,
    /// The announcement could not be delivered; it is sent when the client is back.
    pub notification_pending: bool,
    /// Counts state changes.
    pub epoch: u16,
    /// 1 or 2: the context the client used.
    pub version: u8,
    /// The lease of the parent directory, if the client named it.
    pub parent_key: Option<LeaseKey>,
    /// The name of the file as the client knows it.
    pub path: Arc<str>,
    /// The opens that share it.
    pub opens: OpenSet,
}

/// The leases of a file, ascending by id: mostly one. Stored as a map from id to lease.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Leases(Few<Lease>);

impl Leases {
    fn find(&self, id: LeaseId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&id, |l| l.id)
    }

    /// The lease of this id.
    #[must_use]
    pub fn get(&self, id: &LeaseId) -> Option<&Lease> {
        self.find(*id).ok().map(|i| &self.0[i])
    }

    pub(crate) fn get_mut(&mut self, id: &LeaseId) -> Option<&mut Lease> {
        self.find(*id).ok().map(|i| &mut self.0.as_mut_slice()[i])
    }

    /// The lease of this id, made by `new` (with that id) when there is none.
    pub(crate) fn get_or_insert_with(&mut self, id: LeaseId, new: impl FnOnce() -> Lease) -> &mut Lease {
        let i = match self.find(id) {
            Ok(i) => i,
            Err(i) => {
                let lease = new();
                assert_eq!(lease.id, id, "a lease is listed under its own id");
                self.0.insert(i, lease);
                i
            }
        };
        &mut self.0.as_mut_slice()[i]
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&Lease) -> bool) {
        self.0.retain(keep);
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Lease> {
        self.0.as_mut_slice().iter_mut()
    }

    /// All, ascending by id.
    pub fn values(&self) -> std::slice::Iter<'_, Lease> {
        self.0.iter()
    }

    /// Their ids, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &LeaseId> {
        self.0.iter().map(|l| &l.id)
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Index<&LeaseId> for Leases {
    type Output = Lease;

    fn index(&self, id: &LeaseId) -> &Lease {
        self.get(id).expect("asked for a lease that is there")
    }
}

impl Serialize for Leases {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|l| (l.id, l)))
    }
}

impl<'de> Deserialize<'de> for Leases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Leases;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("leases by id, ascending")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Leases, A::Error> {
                let mut leases: Vec<Lease> = Vec::new();
                while let Some((id, lease)) = map.next_entry::<LeaseId, Lease>()? {
                    if lease.id != id || leases.last().is_some_and(|last| last.id >= id) {
                        return Err(A::Error::custom("a lease is not in its place"));
                    }
                    leases.push(lease);
                }
                Ok(Leases(leases.into()))
            }
        }
        deserializer.deserialize_map(Map)
    }
}
