//! What is true of every state, after every command. Each check names the promise it guards. Tests run all of them after every apply.

use smb_types::{LeaseState, OplockLevel};

use crate::arbiter::share_mode;
use crate::record::{FileState, Open, OpenState};
use crate::state::State;

impl State {
    /// Checks the whole state; says what is broken. Costs time in proportion to it: for tests, checkers and operators.
    pub fn check_invariants(&self) -> Result<(), String> {
        for open in self.opens() {
            check_open(self, open).map_err(|e| format!("{:?}: {e}", open.id))?;
        }
        for file in self.files() {
            check_listing(self, file)
                .and_then(|()| check_share_modes(self, file))
                .and_then(|()| check_caches(self, file))
                .and_then(|()| check_locks(self, file))
                .map_err(|e| format!("{:?}: {e}", file.key))?;
        }
        check_indexes(self)
    }
}

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn check_open(state: &State, o: &Open) -> Result<(), String> {
    let cluster = state.cluster().ok_or("an open without a cluster")?;
    ensure(o.id.0 < cluster.next_open, "its id could be given again")?;
    ensure(o.file.is_some() || o.state == OpenState::Reserved, "an open without a file")?;
    ensure(o.file.is_none_or(|k| state.file(&k).is_some_and(|f| f.opens.contains(&o.id))), "its file does not list it")?;
    ensure(o.owner.is_none() == o.away.is_some(), "attached and disconnected at once, or neither")?;
    ensure((o.state == OpenState::Reserved) == o.request.is_some(), "only a reservation keeps its request")?;
    ensure(state.share(o.share).is_some(), "its share is gone")?;
    let Some(owner) = o.owner else { return Ok(()) };
    // Of a life that is over, something may still wait for its turn, as long as the node has no new one.
    ensure(state.node(owner.node).is_some_and(|n| n.incarnation == owner.incarnation), "its owner is dead")?;
    ensure(state.session(owner.session).is_some_and(|s| s.node == owner.node), "its session is not there")
}

fn check_listing(state: &State, f: &FileState) -> Result<(), String> {
    ensure(!f.opens.is_empty(), "a record without opens")?;
    ensure(f.opens.iter().all(|id| state.open(*id).is_some_and(|o| o.file == Some(f.key))), "lists an open that is not its own")?;
    ensure(!state.pending_deletes.contains_key(&f.key), "open while it is being removed")?;
    for lease in f.leases.values() {
        let agrees = |id| state.open(id).is_some_and(|o| o.lease == Some(lease.id) && o.file == Some(f.key));
        ensure(!lease.opens.is_empty() && lease.opens.iter().all(|id| agrees(*id)), "a lease and its opens disagree")?;
        ensure(lease.breaking == lease.break_deadline.is_some(), "a break without deadline, or the reverse")?;
        let s = lease.state;
        ensure(s.is_empty() || s.contains(LeaseState::READ), "a lease without R")?;
        ensure(!(f.is_directory && s.contains(LeaseState::WRITE)), "a directory with W")?;
    }
    let leased = f.opens.iter().filter_map(|id| state.open(*id)).filter_map(|o| Some((o.id, o.lease?)));
    ensure(leased.into_iter().all(|(id, l)| f.leases.get(&l).is_some_and(|l| l.opens.contains(&id))), "an open's lease is not there")
}

fn pairs<'a>(state: &'a State, f: &'a FileState) -> impl Iterator<Item = (&'a Open, &'a Open)> {
    let opens = move || f.opens.iter().filter_map(|id| state.open(*id));
    opens().flat_map(move |a| opens().filter(move |b| b.id > a.id).map(move |b| (a, b)))
}

// MS-FSA 2.1.5.1.2.2
fn check_share_modes(state: &State, f: &FileState) -> Result<(), String> {
    let bad = pairs(state, f).find(|(a, b)| share_mode::conflict((a.granted_access, a.share_access), (b.granted_access, b.share_access)));
    ensure(bad.is_none(), "two opens exclude each other")
}

// MS-FSA 2.1.4.12
// Who caches writes is alone, but for opens that touch no data.
fn check_caches(state: &State, f: &FileState) -> Result<(), String> {
    for o in f.opens.iter().filter_map(|id| state.open(*id)) {
        let lease = o.lease.and_then(|l| f.leases.get(&l));
        let writes = o.oplock.level > OplockLevel::LevelII || lease.is_some_and(|l| l.state.contains(LeaseState::WRITE));
        let same = |b: &Open| b.id == o.id || (o.lease.is_some() && b.lease == o.lease);
        let rival = f.opens.iter().filter_map(|id| state.open(*id)).find(|b| !same(b) && !b.is_stat() && b.state == OpenState::Open);
        ensure(!writes || o.is_stat() || rival.is_none(), "a write cache beside another open")?;
    }
    let writers = f.leases.values().filter(|l| l.state.contains(LeaseState::WRITE)).count();
    let holders = f.leases.values().filter(|l| !l.state.is_empty()).count();
    ensure(writers == 0 || holders == 1, "a write cache beside another lease")
}

// MS-FSA 2.1.4.10
fn check_locks(state: &State, f: &FileState) -> Result<(), String> {
    let meets =
        |a: &Open, b: &Open| a.locks.iter().any(|x| b.locks.iter().any(|y| (x.exclusive || y.exclusive) && x.overlaps(y.offset, y.length)));
    ensure(!pairs(state, f).any(|(a, b)| meets(a, b)), "two opens hold locks that exclude each other")?;
    ensure(
        f.opens.iter().filter_map(|id| state.open(*id)).all(|o| o.state == OpenState::Open || o.locks.is_empty()),
        "a reservation holds locks",
    )
}

fn check_indexes(state: &State) -> Result<(), String> {
    ensure(state.fresh_indexes() == state.index, "an index differs from the records")?;
    // A CreateGuid names one open of its client, as long as its CREATE may be repeated.
    let mut seen = std::collections::BTreeSet::new();
    let replayable = state.opens().filter(|o| o.state == OpenState::Reserved || o.replay_eligible);
    ensure(replayable.filter_map(|o| Some((o.client_guid, o.create_guid?))).all(|k| seen.insert(k)), "a CreateGuid names two opens")
}
