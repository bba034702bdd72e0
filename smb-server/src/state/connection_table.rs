//! ConnectionList with its limits: who is let in, and who goes for that (MS-SMB2 3.3.1.5, 3.3.5.1).
//!
//! A connection on which no user has proved himself never keeps another one out: at a limit the oldest
//! of those is closed. So a flood without a password displaces itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Weak},
};

use parking_lot::{Mutex, RwLock};

use super::connection::{Connection, ConnectionId};
use crate::{
    limits::{Limit, Limits},
    metrics as names,
};

/// The connections of a node.
#[derive(Debug, Default)]
pub(crate) struct ConnectionTable {
    tables: RwLock<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    connections: BTreeMap<ConnectionId, Arc<Connection>>,
    /// Without a proved user when last looked at.
    unproved: BTreeSet<ConnectionId>,
    by_address: BTreeMap<IpAddr, OfAddress>,
}

#[derive(Debug, Default)]
struct OfAddress {
    count: usize,
    unproved: BTreeSet<ConnectionId>,
}

/// What became of a new connection.
#[derive(Debug)]
pub(crate) enum Entered {
    /// It is in.
    In,
    /// It is in, and these were closed for it by these limits.
    For(Vec<(Limit, Arc<Connection>)>),
    /// It is not, by this limit.
    Refused(Limit),
}

impl ConnectionTable {
    /// Enters a connection. Those that have to go for it are out of the table, and the caller closes them.
    pub(crate) fn enter(&self, connection: &Arc<Connection>, limits: &Limits) -> Entered {
        let mut tables = self.tables.write();
        let address = canonical(connection.peer.ip());
        let mut closed = Vec::new();
        for limit in [Limit::ConnectionsPerAddress, Limit::Connections] {
            let (count, of) = match limit {
                Limit::ConnectionsPerAddress => (tables.by_address.get(&address).map_or(0, |of| of.count), Some(address)),
                _ => (tables.connections.len(), None),
            };
            if count < limits.get(limit) {
                continue;
            }
            match tables.oldest_unproved(of) {
                Some(oldest) => closed.push((limit, oldest)),
                None if closed.is_empty() => return Entered::Refused(limit),
                // One of the same address went already; the whole can only be full when its limit was lowered below its count.
                None => break,
            }
        }
        tables.insert(address, connection);
        if closed.is_empty() { Entered::In } else { Entered::For(closed) }
    }

    /// Removes a connection; one that has gone for another is out already.
    pub(crate) fn remove(&self, connection_id: ConnectionId) {
        self.tables.write().remove(connection_id);
    }

    /// Takes out the oldest connection without a proved user, for the caller to close.
    pub(crate) fn take_oldest_unproved(&self) -> Option<Arc<Connection>> {
        self.tables.write().oldest_unproved(None)
    }

    pub(crate) fn get(&self, connection_id: ConnectionId) -> Option<Arc<Connection>> {
        self.tables.read().connections.get(&connection_id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Connection>> {
        self.tables.read().connections.values().cloned().collect()
    }
}

impl Tables {
    fn insert(&mut self, address: IpAddr, connection: &Arc<Connection>) {
        let id = connection.connection_id;
        let before = self.connections.insert(id, Arc::clone(connection));
        assert!(before.is_none(), "ids of connections are used once");
        self.unproved.insert(id);
        let of_address = self.by_address.entry(address).or_default();
        of_address.count += 1;
        of_address.unproved.insert(id);
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Arc<Connection>> {
        let connection = self.connections.remove(&id)?;
        self.unproved.remove(&id);
        let address = canonical(connection.peer.ip());
        if let Some(of_address) = self.by_address.get_mut(&address) {
            of_address.count -= 1;
            of_address.unproved.remove(&id);
            if of_address.count == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(connection)
    }

    /// Takes out the oldest connection without a proved user, of an address or of all. Those that have proved one meanwhile are found here
    /// and not looked at again.
    fn oldest_unproved(&mut self, of: Option<IpAddr>) -> Option<Arc<Connection>> {
        loop {
            let id = match of {
                Some(address) => *self.by_address.get(&address)?.unproved.first()?,
                None => *self.unproved.first()?,
            };
            if self.connections.get(&id).is_some_and(|connection| !connection.is_proved()) {
                return self.remove(id);
            }
            match of {
                Some(address) => self.by_address.get_mut(&address)?.unproved.remove(&id),
                None => self.unproved.remove(&id),
            };
        }
    }
}

/// An IPv4 address however the socket names it.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Logons begun and not ended.
#[derive(Debug, Default)]
pub(crate) struct LogonTable {
    under_way: Mutex<UnderWay>,
}

#[derive(Debug, Default)]
struct UnderWay {
    by_connection: BTreeMap<ConnectionId, (usize, Weak<Connection>)>,
    all: usize,
}

impl UnderWay {
    fn show(&self) {
        metrics::gauge!(names::LOGONS_UNDER_WAY).set(f64::from(u32::try_from(self.all).unwrap_or(u32::MAX)));
    }

    /// Takes out the oldest connection without a proved user, other than `own`.
    fn oldest_unproved(&mut self, own: ConnectionId) -> Option<Arc<Connection>> {
        let unproved = |(id, (_, connection)): (&ConnectionId, &(usize, Weak<Connection>))| {
            let connection = connection.upgrade().filter(|connection| *id != own && !connection.is_proved())?;
            Some((*id, connection))
        };
        let (id, connection) = self.by_connection.iter().find_map(unproved)?;
        let (count, _) = self.by_connection.remove(&id)?;
        self.all -= count;
        self.show();
        Some(connection)
    }
}

/// One logon under way; dropping it ends that.
#[derive(Debug)]
pub struct LogonPlace {
    table: Arc<LogonTable>,
    connection: ConnectionId,
}

impl LogonTable {
    /// Begins a logon. Gives beside its place a connection that has to go for it: the caller closes that.
    ///
    /// # Errors
    /// The limit that refuses it.
    pub(crate) fn begin(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        limits: &Limits,
    ) -> Result<(LogonPlace, Option<Arc<Connection>>), Limit> {
        let id = connection.connection_id;
        let mut under_way = self.under_way.lock();
        if under_way.by_connection.get(&id).is_some_and(|(count, _)| *count >= limits.logons_under_way_per_connection) {
            return Err(Limit::LogonsUnderWayPerConnection);
        }
        let mut closed = None;
        if under_way.all >= limits.logons_under_way {
            closed = under_way.oldest_unproved(id);
            if closed.is_none() {
                return Err(Limit::LogonsUnderWay);
            }
        }
        under_way.by_connection.entry(id).or_insert_with(|| (0, Arc::downgrade(connection))).0 += 1;
        under_way.all += 1;
        under_way.show();
        drop(under_way);
        Ok((LogonPlace { table: Arc::clone(self), connection: id }, closed))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.under_way.lock().all
    }
}

impl Drop for LogonPlace {
    fn drop(&mut self) {
        let mut under_way = self.table.under_way.lock();
        // Its connection may have gone for another: then it is not counted any more.
        let Some((count, _)) = under_way.by_connection.get_mut(&self.connection) else { return };
        *count -= 1;
        if *count == 0 {
            under_way.by_connection.remove(&self.connection);
        }
        under_way.all -= 1;
        under_way.show();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn connection(id: u64, address: [u8; 4]) -> Arc<Connection> {
        let peer = SocketAddr::from((address, 1000));
        Arc::new(Connection::new(ConnectionId(id), peer, peer, 16, mpsc::channel(1).0, CancellationToken::new()))
    }

    fn limits(connections: usize, per_address: usize) -> Limits {
        Limits { connections, connections_per_address: per_address, ..Limits::default() }
    }

    fn gone(entered: Entered) -> Vec<(Limit, u64)> {
        match entered {
            Entered::In => Vec::new(),
            Entered::For(closed) => closed.iter().map(|(limit, connection)| (*limit, connection.connection_id.0)).collect(),
            Entered::Refused(limit) => panic!("refused by {limit:?}"),
        }
    }

    #[test]
    fn the_oldest_without_a_proof_goes_for_a_new_one() {
        let (table, limits) = (ConnectionTable::default(), limits(3, 8));
        let all: Vec<_> = (1..=5).map(|id| connection(id, [127, 0, 0, 1])).collect();
        for one in &all[..3] {
            assert_eq!(gone(table.enter(one, &limits)), []);
        }
        all[0].set_proved();
        assert_eq!(gone(table.enter(&all[3], &limits)), [(Limit::Connections, 2)]);
        for one in [&all[2], &all[3]] {
            one.set_proved();
        }
        assert!(matches!(table.enter(&all[4], &limits), Entered::Refused(Limit::Connections)));
        table.remove(all[1].connection_id);
        assert_eq!(table.all().len(), 3, "one that has gone is not removed twice");
        table.remove(all[0].connection_id);
        assert_eq!(gone(table.enter(&all[4], &limits)), []);
    }

    #[test]
    fn an_address_that_is_full_takes_no_place_of_others() {
        let (table, limits) = (ConnectionTable::default(), limits(4, 2));
        let other = connection(1, [127, 0, 0, 2]);
        assert_eq!(gone(table.enter(&other, &limits)), []);
        for id in 2..=3 {
            assert_eq!(gone(table.enter(&connection(id, [127, 0, 0, 1]), &limits)), []);
        }
        assert_eq!(gone(table.enter(&connection(4, [127, 0, 0, 1]), &limits)), [(Limit::ConnectionsPerAddress, 2)]);
        assert!(table.get(other.connection_id).is_some(), "the oldest of all is another address's");
        for id in 3..=4 {
            table.remove(ConnectionId(id));
        }
        table.remove(other.connection_id);
        let tables = table.tables.read();
        assert!(tables.by_address.is_empty() && tables.unproved.is_empty() && tables.connections.is_empty());
    }

    #[test]
    fn a_logon_that_is_left_lying_goes_for_a_new_one() {
        let table = Arc::new(LogonTable::default());
        let limits = Limits { logons_under_way: 3, logons_under_way_per_connection: 2, ..Limits::default() };
        let [first, second, third] = [1, 2, 3].map(|id| connection(id, [127, 0, 0, 1]));
        first.set_proved();
        let (one, _) = table.begin(&first, &limits).unwrap();
        let (two, _) = table.begin(&second, &limits).unwrap();
        let (three, _) = table.begin(&second, &limits).unwrap();
        assert_eq!(table.begin(&second, &limits).unwrap_err(), Limit::LogonsUnderWayPerConnection);
        let (four, closed) = table.begin(&third, &limits).unwrap();
        assert_eq!(closed.unwrap().connection_id, second.connection_id, "the oldest has proved a user and stays");
        assert_eq!(table.count(), 2);
        drop((two, three));
        assert_eq!(table.count(), 2, "what has gone is not counted twice");
        third.set_proved();
        let (five, _) = table.begin(&third, &limits).unwrap();
        assert_eq!(table.begin(&first, &limits).unwrap_err(), Limit::LogonsUnderWay, "all of them are users'");
        drop((one, four, five));
        assert_eq!(table.count(), 0);
        assert!(table.under_way.lock().by_connection.is_empty());
    }
}
