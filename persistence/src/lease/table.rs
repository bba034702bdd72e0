//! Who was given which right to serve, and who has been silent for too long. Pure: time is an argument.
//!
//! Lives in the memory of the node that has authority, and begins anew with every authority. Everybody counts as renewed when it begins,
//! because an earlier authority may have renewed anybody's lease up to that moment, but not after it (it asks a quorum each time).
//! Knows nothing of sockets, of why a node is silent, or of how its death is announced.

use std::collections::BTreeMap;

use persistence_model::{Incarnation, NodeId};

/// The leases of one authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseTable {
    authority: u64,
    lease_ms: u64,
    margin_ms: u64,
    looked_ms: u64,
    nodes: BTreeMap<NodeId, Given>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Given {
    incarnation: Incarnation,
    renewed_ms: u64,
    condemned: bool,
}

/// The answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// The lease runs on.
    Granted,
    /// That life is over, or its death has been decided.
    Over,
}

impl LeaseTable {
    /// Begins with a new authority.
    pub(crate) fn new(authority: u64, lease_ms: u64, margin_ms: u64, now_ms: u64) -> Self {
        Self { authority, lease_ms, margin_ms, looked_ms: now_ms, nodes: BTreeMap::new() }
    }

    pub(crate) fn authority(&self) -> u64 {
        self.authority
    }
    /// Follows the records: these lives count now, and no others. A new one counts as renewed just now.
    pub(crate) fn follow(&mut self, now_ms: u64, live: impl IntoIterator<Item = (NodeId, Incarnation)>) {
        let mut before = std::mem::take(&mut self.nodes);
        for (node, incarnation) in live {
            let given = before.remove(&node).filter(|given| given.incarnation == incarnation);
            self.nodes.insert(node, given.unwrap_or(Given { incarnation, renewed_ms: now_ms, condemned: false }));
        }
    }

    /// A node asks for its lease. The caller has made sure, after the question arrived, that this authority still stands.
    pub(crate) fn renew(&mut self, node: NodeId, incarnation: Incarnation, now_ms: u64) -> Renewal {
        match self.nodes.get_mut(&node) {
            Some(given) if given.incarnation == incarnation && !given.condemned => {
                given.renewed_ms = given.renewed_ms.max(now_ms);
                Renewal::Granted
            }
            _ => Renewal::Over,
        }
    }

    /// Decides the death of this life: from now on it gets no lease. Says whether that is news.
    pub(crate) fn condemn(&mut self, node: NodeId, incarnation: Incarnation) -> bool {
        match self.nodes.get_mut(&node) {
            Some(given) if given.incarnation == incarnation && !given.condemned => {
                given.condemned = true;
                true
            }
            _ => false,
        }
    }

    /// Decides the death of everybody whose lease has certainly ended.
    ///
    /// A look that comes much too late says that this process itself was stopped, and with it perhaps everybody's renewals: then
    /// all get another lease. `own` is never silent.
    pub(crate) fn condemn_silent(&mut self, own: NodeId, now_ms: u64) -> Vec<(NodeId, Incarnation)> {
        if now_ms.saturating_sub(self.looked_ms) > self.lease_ms / 2 {
            self.nodes.values_mut().for_each(|given| given.renewed_ms = given.renewed_ms.max(now_ms));
        }
        self.looked_ms = self.looked_ms.max(now_ms);
        let patience_ms = self.lease_ms.saturating_add(self.margin_ms);
        let mut silent = Vec::new();
        for (node, given) in &mut self.nodes {
            if *node != own && !given.condemned && now_ms.saturating_sub(given.renewed_ms) > patience_ms {
                given.condemned = true;
                silent.push((*node, given.incarnation));
            }
        }
        silent
    }

    /// The nodes that have not renewed for more than half a lease.
    pub(crate) fn overdue(&self, own: NodeId, now_ms: u64) -> Vec<NodeId> {
        let late = |given: &Given| !given.condemned && now_ms.saturating_sub(given.renewed_ms) > self.lease_ms / 2;
        self.nodes.iter().filter(|(node, given)| **node != own && late(given)).map(|(node, _)| *node).collect()
    }

    /// When to look again at the latest.
    pub(crate) fn next_look_ms(&self, own: NodeId, now_ms: u64) -> u64 {
        let patience_ms = self.lease_ms.saturating_add(self.margin_ms).saturating_add(1);
        let ends = self.nodes.iter().filter(|(node, given)| **node != own && !given.condemned);
        let first = ends.map(|(_, given)| given.renewed_ms.saturating_add(patience_ms)).min();
        let regular = now_ms.saturating_add(self.lease_ms / 4);
        first.map_or(regular, |first| first.min(regular)).max(now_ms.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: NodeId = NodeId(1);
    const A: (NodeId, Incarnation) = (NodeId(2), Incarnation(12));
    const B: (NodeId, Incarnation) = (NodeId(3), Incarnation(13));

    fn table() -> LeaseTable {
        let mut table = LeaseTable::new(77, 2000, 200, 1000);
        table.follow(1000, [(OWN, Incarnation(11)), A, B]);
        table
    }

    /// Looks often enough, as the warden does, and returns everybody condemned on the way.
    fn look_until(table: &mut LeaseTable, from_ms: u64, to_ms: u64) -> Vec<(NodeId, Incarnation)> {
        let mut all = Vec::new();
        let mut now_ms = from_ms;
        while now_ms < to_ms {
            now_ms = table.next_look_ms(OWN, now_ms).min(to_ms);
            all.extend(table.condemn_silent(OWN, now_ms));
        }
        all
    }

    #[test]
    fn a_new_authority_waits_one_lease_for_everybody() {
        let mut table = table();
        assert_eq!(look_until(&mut table, 1000, 3200), []);
        assert_eq!(look_until(&mut table, 3200, 3201), [A, B]);
    }

    #[test]
    fn who_renews_lives_and_who_is_condemned_gets_nothing() {
        let mut table = table();
        assert_eq!(look_until(&mut table, 1000, 2500), []);
        assert_eq!(table.renew(A.0, A.1, 2500), Renewal::Granted);
        assert_eq!(table.renew(B.0, Incarnation(12), 2500), Renewal::Over);
        assert_eq!(table.overdue(OWN, 2600), [B.0]);
        assert_eq!(look_until(&mut table, 2500, 4000), [B]);
        assert_eq!(table.renew(B.0, B.1, 4000), Renewal::Over);
        assert!(!table.condemn(B.0, B.1));
        assert!(table.condemn(A.0, A.1));
        assert_eq!(table.renew(A.0, A.1, 4001), Renewal::Over);
        assert_eq!(table.renew(NodeId(9), Incarnation(1), 4001), Renewal::Over);
    }

    #[test]
    fn a_new_life_begins_without_the_sentence_of_the_old_one() {
        let mut table = table();
        assert!(table.condemn(A.0, A.1));
        table.follow(5000, [(OWN, Incarnation(11)), (A.0, Incarnation(20))]);
        assert_eq!(table.renew(A.0, A.1, 5000), Renewal::Over);
        assert_eq!(table.renew(A.0, Incarnation(20), 5000), Renewal::Granted);
        assert!(!table.condemn(A.0, A.1));
        assert_eq!(table.renew(B.0, B.1, 5000), Renewal::Over);
    }

    #[test]
    fn a_look_that_comes_too_late_condemns_nobody() {
        let mut table = table();
        assert_eq!(table.condemn_silent(OWN, 60_000), []);
        assert_eq!(look_until(&mut table, 60_000, 62_200), []);
        assert_eq!(look_until(&mut table, 62_200, 62_201), [A, B]);
    }

    #[test]
    fn following_the_same_lives_keeps_their_times() {
        let mut table = table();
        let before = table.clone();
        table.follow(9000, [(OWN, Incarnation(11)), A, B]);
        assert_eq!(table, before);
        assert_eq!(table.authority(), 77);
    }
}
