//! Which Raft group a command goes to. There is one group; every command is routed by its file from the first day, so that there can be more.
//! When that would pay, and what it would break: `docs/decisions/0006-several-raft-groups.md`.

use crate::command::{BreakTarget, Command};
use crate::id::{FileKey, OpenId};
use crate::state::State;

/// Every file belongs to one of so many slots, for ever; groups own slots.
pub const SLOTS: u16 = 4096;

/// A Raft group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RaftGroup(u32);

impl RaftGroup {
    /// The group that has what belongs to no file: nodes, sessions, shares, users, tokens. At present it has everything.
    pub const HOME: Self = Self(0);

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// The slot of a file. Never changes: records lie where it says. All streams of a file share its slot, for they are deleted and renamed together.
#[must_use]
pub const fn slot(file: FileKey) -> u16 {
    let mut z: u64 = 0;
    let parts = [file.volume, file.inode, file.generation];
    let mut i = 0;
    while i < parts.len() {
        // SplitMix64, once for each part.
        z = (z ^ parts[i]).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        i += 1;
    }
    (z % SLOTS as u64) as u16
}

/// The group that owns a file's records.
#[must_use]
pub const fn shard(file: FileKey) -> RaftGroup {
    group_of(slot(file))
}

/// All slots are the home group's as long as it is the only one.
const fn group_of(_slot: u16) -> RaftGroup {
    RaftGroup::HOME
}

/// Where a command has to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// To the group of its file.
    One(RaftGroup),
    /// To the home group, which alone knows what it speaks of.
    Home,
    /// To the group of its file, and other groups may have to hear of it.
    Spanning(RaftGroup),
    /// To every group: it concerns whatever opens there are.
    Every,
}

impl Route {
    /// The group that carries the command out first. The only one at present.
    #[must_use]
    pub const fn group(self) -> RaftGroup {
        match self {
            Self::One(group) | Self::Spanning(group) => group,
            Self::Home | Self::Every => RaftGroup::HOME,
        }
    }
}

impl Command {
    /// Where it has to go.
    #[must_use]
    pub fn route(&self, state: &State) -> Route {
        let of_file = |file: FileKey| Route::One(shard(file));
        let group_of_open = |id: &OpenId| state.open(*id).and_then(|o| o.file).map_or(RaftGroup::HOME, shard);
        match self {
            Self::OpenFile(r) | Self::ReserveOpen(r) => r.file.map_or(Route::Home, of_file),
            Self::ConfirmOpen { file, .. } | Self::DeleteDone { file } | Self::BreakForIo { file, .. } => of_file(*file),
            Self::DirectoryChanged { parent, .. } => of_file(*parent),
            Self::AbortOpen { open, .. }
            | Self::CloseOpen { open, .. }
            | Self::SetDeletePending { open, .. }
            | Self::Lock { open, .. }
            | Self::Unlock { open, .. }
            | Self::OplockAck { open, .. }
            | Self::SetResilient { open, .. }
            | Self::SetOpenClass { open, .. }
            | Self::EndReplay { open, .. }
            | Self::OpenClose { open }
            | Self::BreakUndeliverable { target: BreakTarget::Open(open) } => Route::One(group_of_open(open)),
            Self::ReclaimOpen(r) => Route::One(group_of_open(&r.open)),
            Self::LeaseAck { client_guid, key, .. } => {
                let id = crate::id::LeaseId { client_guid: *client_guid, key: *key };
                state.files_of_lease(id).next().map_or(Route::Home, |f| of_file(f.key))
            }
            Self::BreakUndeliverable { target: BreakTarget::Lease(id) } => {
                state.files_of_lease(*id).next().map_or(Route::Home, |f| of_file(f.key))
            }
            // What is at the target, and what is open beneath a directory, are other files.
            Self::RenameIntent { open, .. } | Self::RenameDone { open, .. } => Route::Spanning(group_of_open(open)),
            Self::SessionOpen { .. }
            | Self::DisconnectOpens { .. }
            | Self::SessionClose { .. }
            | Self::NodeJoin { .. }
            | Self::NodeDown { .. }
            | Self::NodeEnd { .. }
            | Self::ShareRemove { .. }
            // They end sessions, and close what a user has open.
            | Self::UserSetPassword { .. }
            | Self::UserEnable { .. }
            | Self::UserRemove { .. }
            | Self::Expire
            | Self::ExpireSome { .. } => Route::Every,
            Self::ClusterInit { .. }
            | Self::NodeDrain { .. }
            | Self::NodeRemove { .. }
            | Self::ShareAdd { .. }
            | Self::ShareChange { .. }
            | Self::UserAdd { .. }
            | Self::UserMap { .. }
            | Self::UserUnlock { .. }
            | Self::LogonFailed { .. }
            | Self::LogonSucceeded { .. }
            | Self::ClusterSet { .. }
            | Self::GroupAdd { .. }
            | Self::GroupChange { .. }
            | Self::GroupRemove { .. }
            | Self::GroupMember { .. }
            | Self::TokenAdd { .. }
            | Self::TokenUse { .. }
            | Self::AdminTokenAdd(_)
            | Self::AdminTokenRemove { .. }
            | Self::ClientBlock { .. }
            | Self::ClientUnblock { .. }
            | Self::AsymmetricShareAdd { .. }
            | Self::ShareMove { .. }
            | Self::NodeListen { .. } => Route::Home,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_stay_where_they_are() {
        let key = |volume, inode, generation| FileKey { volume, inode, generation, stream: 0 };
        let slots: Vec<u16> = [key(0, 0, 0), key(1, 2, 3), key(u64::MAX, 1 << 40, 77)].into_iter().map(slot).collect();
        assert_eq!(slots, [3729, 691, 1171]);
        assert_eq!(slot(FileKey { stream: 9, ..key(1, 2, 3) }), slot(key(1, 2, 3)), "a stream is where its file is");
    }

    #[test]
    fn files_spread_evenly() {
        let mut files = vec![0_u32; usize::from(SLOTS)];
        (0..64 * u64::from(SLOTS)).for_each(|inode| files[usize::from(slot(FileKey { volume: 1, inode, generation: 5, stream: 0 }))] += 1);
        assert!(files.iter().all(|n| (20..120).contains(n)), "64 to a slot, more or less");
    }
}
