//! Indexes: derived from the records, never stored, rebuilt at load.
//!
//! There may be a million opens, so an entry is two words where it can be: a digest of the name and the id of an open that has it. Two names may share a
//! digest; whoever asks compares the record. No answer depends on digests: their order is never shown.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;
use std::sync::Arc;

use smb_types::{CreateGuid, Guid, Sid};

use super::State;
use super::accounts::Accounts;
use super::hash::Table;
use crate::id::{FileKey, LeaseId, LogTime, NodeId, OpenId, SessionId, ShareId, fold_path};
use crate::record::{Few, FileState, Group, Open, OpenSet, Session, User};

/// Ways to find opens and leases other than by their id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Indexes {
    /// Digest of the CreateGuid.
    pub(crate) by_create_guid: Table<u64, OpenSet>,
    pub(crate) by_session: BTreeSet<(SessionId, OpenId)>,
    pub(crate) sessions_of_node: BTreeSet<(NodeId, SessionId)>,
    pub(crate) sessions_of_user: BTreeSet<(Arc<Sid>, SessionId)>,
    pub(crate) by_app_instance: BTreeSet<(Guid, OpenId)>,
    /// Place in a directory: of the path, and of the one that a rename is about to give.
    pub(crate) by_place: BTreeSet<(Place, OpenId)>,
    /// Directories that hold something open, by digest.
    pub(crate) directories: BTreeMap<u64, Few<Directory>>,
    /// The same by share and name.
    pub(crate) directories_by_name: BTreeMap<ShareId, BTreeSet<Arc<str>>>,
    /// Digest of the lease, and the lowest of its opens.
    pub(crate) by_lease: Table<u64, OpenSet>,
    /// Files that are named streams.
    pub(crate) streams: BTreeSet<FileKey>,
    /// Opens whose client is away, by the end of its time.
    pub(crate) detached: BTreeSet<(LogTime, OpenId)>,
    /// The same by their user.
    pub(crate) detached_of_user: BTreeSet<(Arc<Sid>, OpenId)>,
    /// Opens with an oplock break, by its deadline.
    pub(crate) breaking_opens: BTreeSet<(LogTime, OpenId)>,
    /// Files with a lease break, by its deadline.
    pub(crate) breaking_files: BTreeSet<(LogTime, FileKey)>,
    /// Users and groups by what else they are known by.
    pub(crate) accounts: Accounts,
}

/// A directory with something open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Directory {
    share: ShareId,
    /// Folded.
    name: Arc<str>,
    /// Names of opens directly in it.
    names: u32,
}

/// Digests of a directory (upper 40 bits) and of a name in it without its stream (lower 24 bits): so the names of a directory are neighbours, and a stream
/// is where its file is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place(u64);

impl Place {
    const NAME: u64 = 0xFF_FFFF;

    /// Where this folded path is.
    pub(crate) fn of(share: ShareId, folded: &str) -> Self {
        let name = folded.rsplit_once('\\').map_or(folded, |(_, name)| name);
        let name = name.split_once(':').map_or(name, |(file, _)| file);
        Self(digest(&(share, parent_of(folded))) & !Self::NAME | digest(&name) & Self::NAME)
    }

    /// The places in this folded directory.
    pub(crate) fn within(share: ShareId, directory: &str) -> RangeInclusive<Self> {
        let digest = digest(&(share, Some(directory)));
        Self(digest & !Self::NAME)..=Self(digest | Self::NAME)
    }
}

/// What the indexes know of an open.
#[derive(PartialEq, Eq)]
pub(crate) struct OpenKeys {
    create_guid: Option<u64>,
    session: Option<SessionId>,
    app_instance: Option<Guid>,
    expires: Option<LogTime>,
    /// Whose it is, while its client is away.
    detached_of: Option<Arc<Sid>>,
    break_deadline: Option<LogTime>,
    names: Names,
}

/// The paths by which an open is found.
#[derive(PartialEq, Eq)]
struct Names {
    share: ShareId,
    path: Arc<str>,
    pending: Option<Arc<str>>,
}

/// What the indexes know of a lease.
#[derive(PartialEq, Eq)]
pub(crate) struct LeaseKeys {
    digest: u64,
    first: Option<OpenId>,
    break_deadline: Option<LogTime>,
}

impl OpenKeys {
    pub(crate) fn of(o: &Open) -> Self {
        Self {
            create_guid: o.create_guid.map(digest_of_guid),
            session: o.owner.map(|w| w.session),
            app_instance: o.app_instance.as_ref().map(|a| a.id),
            expires: o.expires_at(),
            detached_of: o.owner.is_none().then(|| Arc::clone(&o.user)),
            break_deadline: o.oplock.break_deadline,
            names: Names { share: o.share, path: Arc::clone(&o.path), pending: o.pending_path.clone() },
        }
    }
}

pub(crate) fn lease_keys(f: &FileState) -> Vec<LeaseKeys> {
    let keys =
        |l: &crate::record::Lease| LeaseKeys { digest: digest_of_lease(l.id), first: l.opens.first(), break_deadline: l.break_deadline };
    f.leases.values().map(keys).collect()
}

impl Names {
    /// Calls for each name, folded.
    fn each(&self, call: impl FnMut(String)) {
        std::iter::once(&self.path).chain(&self.pending).map(|path| fold_path(path)).for_each(call);
    }
}

/// The folded directory of a folded path; None for the root of the share.
pub(crate) fn parent_of(folded: &str) -> Option<&str> {
    (!folded.is_empty()).then(|| folded.rsplit_once('\\').map_or("", |(directory, _)| directory))
}

pub(crate) fn digest_of_guid(guid: CreateGuid) -> u64 {
    digest(&guid)
}

pub(crate) fn digest_of_lease(lease: LeaseId) -> u64 {
    digest(&lease)
}

fn digest(name: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

fn note(table: &mut Table<u64, OpenSet>, digest: u64, open: OpenId) {
    table.get_or_default(digest).insert(open);
}

fn forget(table: &mut Table<u64, OpenSet>, digest: u64, open: OpenId) {
    let opens = table.get_mut(&digest).expect("what is indexed is found");
    opens.remove(&open);
    if opens.is_empty() {
        table.remove(&digest);
    }
}

fn swap<T: Ord>(set: &mut BTreeSet<T>, old: Option<T>, new: Option<T>) {
    if old != new {
        old.map(|old| set.remove(&old));
        set.extend(new);
    }
}

impl Indexes {
    /// Takes note of an open that came (no old keys), changed or went (no new ones).
    pub(crate) fn open_changed(&mut self, id: OpenId, old: Option<&OpenKeys>, new: Option<&OpenKeys>) {
        let (had, has) = (old.and_then(|k| k.create_guid), new.and_then(|k| k.create_guid));
        if had != has {
            had.into_iter().for_each(|digest| forget(&mut self.by_create_guid, digest, id));
            has.into_iter().for_each(|digest| note(&mut self.by_create_guid, digest, id));
        }
        swap(&mut self.by_session, old.and_then(|k| Some((k.session?, id))), new.and_then(|k| Some((k.session?, id))));
        swap(&mut self.by_app_instance, old.and_then(|k| Some((k.app_instance?, id))), new.and_then(|k| Some((k.app_instance?, id))));
        swap(&mut self.detached, old.and_then(|k| Some((k.expires?, id))), new.and_then(|k| Some((k.expires?, id))));
        let away = |keys: Option<&OpenKeys>| keys.and_then(|k| Some((Arc::clone(k.detached_of.as_ref()?), id)));
        swap(&mut self.detached_of_user, away(old), away(new));
        swap(&mut self.breaking_opens, old.and_then(|k| Some((k.break_deadline?, id))), new.and_then(|k| Some((k.break_deadline?, id))));
        let (old, new) = (old.map(|k| &k.names), new.map(|k| &k.names));
        if old != new {
            old.into_iter().for_each(|names| self.forget_names(id, names));
            new.into_iter().for_each(|names| self.note_names(id, names));
        }
    }

    fn note_names(&mut self, id: OpenId, names: &Names) {
        names.each(|name| {
            self.by_place.insert((Place::of(names.share, &name), id));
            self.note_directory(names.share, &name);
        });
    }

    fn note_directory(&mut self, share: ShareId, name: &str) {
        let Some(directory) = parent_of(name) else { return };
        let known = self.directories.entry(digest(&(share, directory))).or_default();
        let place = known.binary_search_by(|d| (d.share, &*d.name).cmp(&(share, directory)));
        let place = match place {
            Ok(at) => {
                known.as_mut_slice()[at].names += 1;
                return;
            }
            Err(at) => at,
        };
        let name: Arc<str> = directory.into();
        known.insert(place, Directory { share, name: Arc::clone(&name), names: 1 });
        self.directories_by_name.entry(share).or_default().insert(name);
    }

    fn forget_names(&mut self, id: OpenId, names: &Names) {
        names.each(|name| {
            self.by_place.remove(&(Place::of(names.share, &name), id));
            self.forget_directory(names.share, &name);
        });
    }

    fn forget_directory(&mut self, share: ShareId, name: &str) {
        let Some(directory) = parent_of(name) else { return };
        let digest = digest(&(share, directory));
        let known = self.directories.get_mut(&digest).expect("an open's directory is known");
        let at = known.binary_search_by(|d| (d.share, &*d.name).cmp(&(share, directory))).expect("an open's directory is known");
        let names = &mut known.as_mut_slice()[at].names;
        *names -= 1;
        if *names > 0 {
            return;
        }
        known.remove(at);
        if known.is_empty() {
            self.directories.remove(&digest);
        }
        let of_share = self.directories_by_name.get_mut(&share).expect("a known directory has a name");
        of_share.remove(directory);
        if of_share.is_empty() {
            self.directories_by_name.remove(&share);
        }
    }

    /// Takes note of a file whose leases were, and are, these.
    pub(crate) fn file_changed(&mut self, file: FileKey, old: &[LeaseKeys], new: &[LeaseKeys]) {
        if old == new {
            return;
        }
        for lease in old {
            lease.first.into_iter().for_each(|open| forget(&mut self.by_lease, lease.digest, open));
            lease.break_deadline.map(|deadline| self.breaking_files.remove(&(deadline, file)));
        }
        for lease in new {
            lease.first.into_iter().for_each(|open| note(&mut self.by_lease, lease.digest, open));
            self.breaking_files.extend(lease.break_deadline.map(|deadline| (deadline, file)));
        }
    }
}

/// Indexes in the making: gathered record by record, then sorted all at once, which makes dense trees in a fraction of the time.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    index: Indexes,
    sessions: Vec<(SessionId, OpenId)>,
    places: Vec<(Place, OpenId)>,
    apps: Vec<(Guid, OpenId)>,
    away: Vec<(LogTime, OpenId)>,
    away_of_user: Vec<(Arc<Sid>, OpenId)>,
    breaking: Vec<(LogTime, OpenId)>,
}

impl Builder {
    pub(crate) fn open(&mut self, o: &Open) {
        let (keys, id) = (OpenKeys::of(o), o.id);
        keys.create_guid.into_iter().for_each(|digest| note(&mut self.index.by_create_guid, digest, id));
        self.sessions.extend(keys.session.map(|k| (k, id)));
        self.apps.extend(keys.app_instance.map(|k| (k, id)));
        self.away.extend(keys.expires.map(|k| (k, id)));
        self.away_of_user.extend(keys.detached_of.map(|k| (k, id)));
        self.breaking.extend(keys.break_deadline.map(|k| (k, id)));
        keys.names.each(|name| {
            self.places.push((Place::of(o.share, &name), id));
            self.index.note_directory(o.share, &name);
        });
    }

    pub(crate) fn file(&mut self, f: &FileState) {
        self.index.file_changed(f.key, &[], &lease_keys(f));
        if f.key.stream != 0 {
            self.index.streams.insert(f.key);
        }
    }

    pub(crate) fn session(&mut self, s: &Session) {
        self.index.sessions_of_node.insert((s.node, s.id));
        self.index.sessions_of_user.insert((Arc::clone(&s.user), s.id));
    }

    pub(crate) fn user(&mut self, u: &User) {
        self.index.accounts.user_changed(None, Some(u));
    }

    pub(crate) fn group(&mut self, g: &Group) {
        self.index.accounts.group_changed(None, Some(g));
    }

    pub(crate) fn finish(mut self) -> Indexes {
        self.index.by_session = self.sessions.into_iter().collect();
        self.index.by_place = self.places.into_iter().collect();
        self.index.by_app_instance = self.apps.into_iter().collect();
        self.index.detached = self.away.into_iter().collect();
        self.index.detached_of_user = self.away_of_user.into_iter().collect();
        self.index.breaking_opens = self.breaking.into_iter().collect();
        self.index
    }
}

impl State {
    /// The indexes as the records make them.
    pub(crate) fn fresh_indexes(&self) -> Indexes {
        let mut builder = Builder::default();
        self.users.values().for_each(|u| builder.user(u));
        self.groups.values().for_each(|g| builder.group(g));
        self.sessions.values().for_each(|s| builder.session(s));
        self.opens.values().for_each(|o| builder.open(o));
        self.files.values().for_each(|f| builder.file(f));
        builder.finish()
    }
}
