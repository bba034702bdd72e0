//! Who uses the server, for administrators over RPC: sessions and open files of the whole cluster, as the records have them, and the
//! tree connects of this node.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
};

use dcerpc_rs::interface::srvsvc::{
    ConnectionInUse, FileInUse, InUseFilter, NotEnded, SHARE_TYPE_DISK, SHARE_TYPE_IPC, SessionInUse, UseProvider,
};
use futures::future::BoxFuture;
use persistence_model::{Command, LogTime, Open as OpenRecord, OpenId, OpenState, Outcome, Rejection, Session as SessionRecord, State};
use smb_types::AccessMask;

use crate::{
    state::Server,
    store::{Store, StoreExt as _},
};

/// Opens that are looked at while nothing is applied.
const OPENS_AT_ONCE: usize = 1000;

/// Files and sessions.
pub(super) struct InUse {
    store: Arc<dyn Store>,
    /// Not counted: the pipe that asks belongs to it.
    server: Weak<Server>,
}

impl InUse {
    pub(super) fn new(server: &Arc<Server>) -> Self {
        Self { store: Arc::clone(&server.store), server: Arc::downgrade(server) }
    }
}

impl UseProvider for InUse {
    fn connections(&self, filter: InUseFilter) -> BoxFuture<'static, Vec<ConnectionInUse>> {
        let server = self.server.upgrade();
        Box::pin(async move { server.map(|server| connections(&server, &filter)).unwrap_or_default() })
    }

    fn files(&self, filter: InUseFilter) -> BoxFuture<'static, Vec<FileInUse>> {
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            let mut ids = store.with_state(State::open_ids);
            ids.sort_unstable();
            let mut found = Vec::new();
            for some in ids.chunks(OPENS_AT_ONCE) {
                store.with_state(|state| {
                    let files = some.iter().filter_map(|id| state.open(*id)).filter_map(|open| file_in_use(state, open));
                    found.extend(files.filter(|file| is_wanted(file, &filter)));
                });
                tokio::task::yield_now().await;
            }
            found
        })
    }

    fn file(&self, id: u32) -> Option<FileInUse> {
        self.store.with_state(|state| file_in_use(state, open_of_number(state, id)?))
    }

    fn close_file(&self, id: u32) -> BoxFuture<'static, Result<(), NotEnded>> {
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            let open = store.with_state(|state| open_of_number(state, id).map(|open| open.id)).ok_or(NotEnded::Unknown)?;
            ended(&store, Command::OpenClose { open }).await
        })
    }

    fn sessions(&self, filter: InUseFilter) -> BoxFuture<'static, Vec<SessionInUse>> {
        let now = self.store.log_time();
        let found = self.store.with_state(|state| {
            let wanted = state.sessions().filter(|session| is_session_wanted(session, &filter));
            wanted.map(|session| session_in_use(state, session, now)).collect()
        });
        Box::pin(async move { found })
    }

    fn end_sessions(&self, filter: InUseFilter) -> BoxFuture<'static, Result<(), NotEnded>> {
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            let wanted = |state: &State| -> Vec<_> {
                state.sessions().filter(|session| is_session_wanted(session, &filter)).map(|session| session.id).collect()
            };
            let sessions = store.with_state(wanted);
            if sessions.is_empty() {
                return Err(NotEnded::Unknown);
            }
            for session in sessions {
                match ended(&store, Command::SessionClose { session }).await {
                    // It went by itself meanwhile.
                    Ok(()) | Err(NotEnded::Unknown) => {}
                    Err(NotEnded::Unavailable) => return Err(NotEnded::Unavailable),
                }
            }
            Ok(())
        })
    }
}

async fn ended(store: &Arc<dyn Store>, command: Command) -> Result<(), NotEnded> {
    match store.propose(command).await {
        Ok(Outcome::Rejected(Rejection::NoSuchRecord | Rejection::NoSuchSession)) => Err(NotEnded::Unknown),
        Ok(Outcome::Rejected(_)) | Err(_) => Err(NotEnded::Unavailable),
        Ok(_) => Ok(()),
    }
}

/// The number of an open for clients that have 32 bits for it.
fn number_of(open: OpenId) -> u32 {
    // The life of the node that made it is in the upper half, a count in the lower one.
    low(open.0) ^ of_life(open.0 >> 32)
}

/// What spreads the lives, so that the small counts of two of them do not meet.
fn of_life(life: u64) -> u32 {
    low(life.wrapping_mul(0x9E37_79B1))
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
fn low(number: u64) -> u32 {
    number as u32
}

/// The open of a number; none also when two have it: the wrong one is not closed.
fn open_of_number(state: &State, number: u32) -> Option<&OpenRecord> {
    let lives = state.cluster().map_or(0, |cluster| cluster.next_incarnation);
    let ids = (0..lives).map(|life| OpenId(life << 32 | u64::from(number ^ of_life(life))));
    let mut found = ids.filter_map(|id| state.open(id)).filter(|open| open.state == OpenState::Open);
    found.next().filter(|_| found.next().is_none())
}

fn file_in_use(state: &State, open: &OpenRecord) -> Option<FileInUse> {
    if open.state == OpenState::Reserved {
        return None;
    }
    let share = state.share(open.share)?;
    Some(FileInUse {
        id: number_of(open.id),
        reads: open.granted_access.intersects(AccessMask(AccessMask::READ_DATA.0 | AccessMask::EXECUTE.0)),
        writes: open.granted_access.intersects(AccessMask(AccessMask::WRITE_DATA.0 | AccessMask::APPEND_DATA.0)),
        locks: u32::try_from(open.locks.len()).unwrap_or(u32::MAX),
        path: format!("C:\\{}\\{}", share.name, open.path.trim_start_matches('\\').replace('/', "\\")),
        user: user_name(state, open),
    })
}

/// The name of who has an open: of the session, of the one that it had, or of the account.
fn user_name(state: &State, open: &OpenRecord) -> String {
    let session = open.owner.and_then(|owner| state.session(owner.session)).map(|session| &session.user_name);
    match session.or(open.away.as_ref().map(|away| &away.user_name)) {
        Some(name) => name.to_string(),
        None => open.user.to_string(),
    }
}

fn is_wanted(file: &FileInUse, filter: &InUseFilter) -> bool {
    let begins = |base: &str| file.path.get(..base.len()).is_some_and(|start| start.eq_ignore_ascii_case(base));
    filter.user.as_deref().is_none_or(|user| user.to_uppercase() == file.user.to_uppercase())
        && filter.base_path.as_deref().is_none_or(begins)
}

/// The client's address without its port, as clients know it.
fn client_of(client_address: &str) -> String {
    client_address.parse::<SocketAddr>().map_or_else(|_| client_address.to_owned(), |address| address.ip().to_canonical().to_string())
}

fn is_session_wanted(session: &SessionRecord, filter: &InUseFilter) -> bool {
    let is_client = filter.client.as_deref().is_none_or(|client| client.eq_ignore_ascii_case(&client_of(&session.client_address)));
    is_client && filter.user.as_deref().is_none_or(|user| user.to_uppercase() == session.user_name.to_uppercase())
}

fn session_in_use(state: &State, session: &SessionRecord, now: LogTime) -> SessionInUse {
    SessionInUse {
        client: client_of(&session.client_address),
        user: session.user_name.to_string(),
        opens: u32::try_from(state.opens_of_session(session.id).count()).unwrap_or(u32::MAX),
        age_s: u32::try_from(now.0.saturating_sub(session.opened_at.0) / 1000).unwrap_or(u32::MAX),
    }
}

fn connections(server: &Server, filter: &InUseFilter) -> Vec<ConnectionInUse> {
    let mut found = Vec::new();
    let now = server.clock.instant();
    for session in server.sessions() {
        let Some(record) = server.store.with_state(|state| state.session(session.session_id).cloned()) else { continue };
        let client = client_of(&record.client_address);
        if filter.client.as_deref().is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&client)) {
            continue;
        }
        let opens = session.opens();
        for tree in session.trees() {
            if filter.share.as_deref().is_some_and(|wanted| wanted.to_uppercase() != tree.share.name.to_uppercase()) {
                continue;
            }
            let opens = opens.iter().filter(|open| open.tree.tree_id == tree.tree_id).count();
            found.push(ConnectionInUse {
                id: tree.tree_id,
                share: tree.share.name.clone(),
                share_type: if tree.share.is_ipc() { SHARE_TYPE_IPC } else { SHARE_TYPE_DISK },
                client: client.clone(),
                user: record.user_name.to_string(),
                opens: u32::try_from(opens).unwrap_or(u32::MAX),
                age_s: u32::try_from(now.saturating_duration_since(tree.connected_at).as_secs()).unwrap_or(u32::MAX),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_lives_and_counts_apart() {
        let ids = (1..100_u64).flat_map(|life| (1..100_u64).map(move |count| OpenId(life << 32 | count)));
        let numbers: std::collections::BTreeSet<u32> = ids.map(number_of).collect();
        assert_eq!(numbers.len(), 99 * 99);
    }

    #[test]
    fn an_open_is_found_by_its_number() {
        for id in [OpenId(1 << 32 | 1), OpenId(77 << 32 | 0xFFFF_FFFF), OpenId(3)] {
            assert_eq!(OpenId((id.0 >> 32) << 32 | u64::from(number_of(id) ^ of_life(id.0 >> 32))), id);
        }
    }

    #[test]
    fn a_client_is_known_by_its_address() {
        assert_eq!(client_of("192.0.2.1:50000"), "192.0.2.1");
        assert_eq!(client_of("[::ffff:192.0.2.1]:50000"), "192.0.2.1");
        assert_eq!(client_of("[2001:db8::1]:50000"), "2001:db8::1");
        assert_eq!(client_of("c"), "c");
    }
}
