//! Association groups and their context handles. A handle lives as long as a connection of its group; when the last one
//! goes, every handle is run down. It knows nothing of what a handle stands for.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use uuid::Uuid;

use crate::budget::Budget;
use crate::fault::Fault;
use crate::few::Few;

/// A context handle as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ContextHandle {
    /// Always zero.
    pub attributes: u32,
    /// Which handle; nil for none.
    pub uuid: Uuid,
}

impl ContextHandle {
    /// No handle.
    pub const NULL: Self = Self { attributes: 0, uuid: Uuid::nil() };

    /// True for 20 zero bytes.
    pub fn is_null(&self) -> bool {
        *self == Self::NULL
    }
}

type Rundown = Box<dyn FnOnce() + Send>;

struct GroupState {
    connections: usize,
    handles: Few<Uuid, Rundown>,
}

/// An association group: the connections of one client process to one server, and their context handles.
pub struct Association {
    id: u32,
    handles_max: usize,
    state: Mutex<GroupState>,
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Association").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Association {
    /// The group's number, never 0.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Makes a fresh handle. `rundown` runs, with no lock held, if the client goes away without closing it.
    pub fn open_handle(&self, rundown: impl FnOnce() + Send + 'static) -> Result<ContextHandle, Fault> {
        let uuid = Uuid::new_v4();
        self.open_handle_as(uuid, rundown)
    }

    /// As [`Self::open_handle`] with a UUID that the caller chose (it must be fresh).
    pub fn open_handle_as(&self, uuid: Uuid, rundown: impl FnOnce() + Send + 'static) -> Result<ContextHandle, Fault> {
        let mut state = self.state.lock();
        if state.connections == 0 {
            return Err(Fault::SERVER_UNAVAILABLE);
        }
        if state.handles.len() >= self.handles_max {
            return Err(Fault::OUT_OF_RESOURCES);
        }
        let before = state.handles.insert(uuid, Box::new(rundown));
        assert!(before.is_none(), "a context handle is made once");
        Ok(ContextHandle { attributes: 0, uuid })
    }

    /// True if the handle was made in this group and is still open.
    pub fn holds(&self, handle: &ContextHandle) -> bool {
        self.state.lock().handles.contains_key(&handle.uuid)
    }

    /// How many handles are open.
    pub fn handles(&self) -> usize {
        self.state.lock().handles.len()
    }

    /// Closes a handle without running it down; false if it is not one of this group.
    pub fn close_handle(&self, handle: &ContextHandle) -> bool {
        let rundown = self.state.lock().handles.remove(&handle.uuid);
        rundown.is_some()
    }
}

/// All association groups of one server (a listener, or a kind of pipe), and the memory that its connections share.
#[derive(Default)]
pub struct AssociationGroups {
    groups: Mutex<Groups>,
    pub(crate) stub_bytes: Arc<Budget>,
}

#[derive(Default)]
struct Groups {
    last_id: u32,
    by_id: BTreeMap<u32, (Option<IpAddr>, Weak<Association>)>,
}

impl AssociationGroups {
    /// No groups yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Makes a group (id 0) or joins one.
    // MS-RPCE 3.3.1.5.7: an unknown group, or one of another client address, is refused.
    pub(crate) fn join(self: &Arc<Self>, id: u32, peer: Option<IpAddr>, limits: &crate::Limits) -> Option<Membership> {
        let mut groups = self.groups.lock();
        if id != 0 {
            let (owner, group) = groups.by_id.get(&id)?;
            let group = group.upgrade()?;
            if *owner != peer {
                return None;
            }
            let mut state = group.state.lock();
            if state.connections == 0 {
                return None;
            }
            state.connections += 1;
            drop(state);
            return Some(Membership { groups: Arc::clone(self), association: group });
        }
        if groups.by_id.len() >= limits.association_groups_max {
            return None;
        }
        let mut id = groups.last_id.wrapping_add(1).max(1);
        while groups.by_id.contains_key(&id) {
            id = id.wrapping_add(1).max(1);
        }
        groups.last_id = id;
        let association = Arc::new(Association {
            id,
            handles_max: limits.context_handles_max,
            state: Mutex::new(GroupState { connections: 1, handles: Few::new() }),
        });
        groups.by_id.insert(id, (peer, Arc::downgrade(&association)));
        Some(Membership { groups: Arc::clone(self), association })
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.lock().by_id.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One connection's part in a group; the last one to drop runs the group's handles down.
pub(crate) struct Membership {
    groups: Arc<AssociationGroups>,
    pub(crate) association: Arc<Association>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let handles = {
            let mut state = self.association.state.lock();
            state.connections -= 1;
            if state.connections > 0 {
                return;
            }
            state.handles.take()
        };
        self.groups.groups.lock().by_id.remove(&self.association.id);
        for (_, rundown) in handles {
            rundown();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::Limits;

    #[test]
    fn handles_run_down_with_the_last_connection() {
        let groups = AssociationGroups::new();
        let peer = Some("127.0.0.1".parse().unwrap());
        let first = groups.join(0, peer, &Limits::default()).unwrap();
        let id = first.association.id();
        assert!(groups.join(id, Some("127.0.0.2".parse().unwrap()), &Limits::default()).is_none());
        assert!(groups.join(id + 1, peer, &Limits::default()).is_none());
        let second = groups.join(id, peer, &Limits::default()).unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ran);
        let kept = first.association.open_handle(move || _ = count.fetch_add(1, Ordering::Relaxed)).unwrap();
        let count = Arc::clone(&ran);
        let closed = second.association.open_handle(move || _ = count.fetch_add(100, Ordering::Relaxed)).unwrap();
        assert!(first.association.close_handle(&closed));
        assert!(!first.association.close_handle(&closed));
        drop(first);
        assert!(second.association.holds(&kept));
        assert_eq!(ran.load(Ordering::Relaxed), 0);
        let association = Arc::clone(&second.association);
        drop(second);
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        assert_eq!(association.open_handle(|| ()), Err(Fault::SERVER_UNAVAILABLE));
        assert!(groups.is_empty());
    }

    #[test]
    fn handles_are_limited() {
        let groups = AssociationGroups::new();
        let limits = Limits { context_handles_max: 1, ..Limits::default() };
        let member = groups.join(0, None, &limits).unwrap();
        member.association.open_handle(|| ()).unwrap();
        assert_eq!(member.association.open_handle(|| ()), Err(Fault::OUT_OF_RESOURCES));
    }
}
