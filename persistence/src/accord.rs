//! What the nodes have agreed on about themselves, beside the records: the format level, the trusted authorities, the removed nodes.
//!
//! A node's program knows levels up to its newest. The leader raises the cluster's level when every member has been heard to know the
//! higher one; until then nothing is written that an older program would not understand. Level 1 knows nothing of this page, so the first
//! entry about it is the one that raises the level to 2.
//!
//! ```text
//! entry:   tag 4 | version u8 | bincode of Change
//! record:  key F2 | version u8 | bincode of Accord
//! ```

use std::collections::BTreeSet;

use persistence_model::codec::{FORMAT_OWNERS, FORMAT_PARTS, FORMAT_VERSION};
use persistence_model::{Command, NodeId};
use raftstore::pki::fingerprint_of_pem;
use serde::{Deserialize, Serialize};

use crate::call;

/// The level of a cluster that has agreed on nothing yet.
pub(crate) const LEVEL_FIRST: u16 = 1;
/// From this level on, changes of the accord may be written.
pub(crate) const LEVEL_ACCORD: u16 = 2;
/// From this level on, commands and records of the model's format 2 may be written: shares that a node owns, addresses of living nodes.
pub(crate) const LEVEL_OWNERS: u16 = 3;
/// From this level on, the model's format 3 may be written: commands that do in parts what would hold up others.
pub(crate) const LEVEL_PARTS: u16 = 5;
/// Key of the accord; the model's keys begin with lower bytes.
pub(crate) const ACCORD_KEY: &[u8] = &[0xF2];
const VERSION: u8 = 1;
/// More authorities than any replacement needs.
const AUTHORITIES_MAX: usize = 4;
/// Longest certificate of an authority, as text.
const AUTHORITY_BYTES_MAX: usize = 8 << 10;
/// More nodes than any cluster ever removes.
const REMOVED_MAX: usize = 10_000;

/// The agreement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accord {
    /// What is written is understood by programs that know this level.
    pub(crate) level: u16,
    /// Certificates of the authorities that every node trusts; empty: those in the nodes' own files.
    pub(crate) authorities: Vec<String>,
    /// The fingerprint of the one that issues certificates now.
    pub(crate) active: Option<[u8; 32]>,
    /// Nodes that were removed: their certificates are good, they are not.
    pub(crate) removed: BTreeSet<u64>,
    /// No id below was ever free: it was given, or passed over.
    pub(crate) next_node: u64,
}

impl Default for Accord {
    fn default() -> Self {
        Self { level: LEVEL_FIRST, authorities: Vec::new(), active: None, removed: BTreeSet::new(), next_node: 1 }
    }
}

/// A change of the agreement. New ones are added at the end: the position is part of the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Change {
    /// Every member knows this level.
    Level(u16),
    /// Trust these authorities too.
    Trust { pems: Vec<String> },
    /// From now on this one issues certificates.
    Activate { fingerprint: [u8; 32] },
    /// Trust this one no longer.
    Forget { fingerprint: [u8; 32] },
    /// This id is given to a node that joins.
    Give { node: NodeId },
    /// This node does not belong to the cluster any more, whatever it shows.
    Remove { node: NodeId },
}

impl Accord {
    /// Whether a command may be written: every member reads it. Otherwise the level that it needs.
    pub(crate) fn allows(&self, command: &Command) -> Result<(), u16> {
        let needed = match command.format() {
            FORMAT_VERSION => LEVEL_FIRST,
            FORMAT_OWNERS => LEVEL_OWNERS,
            FORMAT_PARTS => LEVEL_PARTS,
            format => unreachable!("no command is of format {format}"),
        };
        if self.level >= needed { Ok(()) } else { Err(needed) }
    }

    /// Makes a change, or says why it makes no sense.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), &'static str> {
        match change {
            Change::Level(level) if *level <= self.level => return Err("the level is not higher"),
            Change::Level(level) => self.level = *level,
            Change::Trust { pems } => self.trust(pems)?,
            Change::Activate { fingerprint } => {
                self.find(fingerprint).ok_or("nobody trusts that authority")?;
                self.active = Some(*fingerprint);
            }
            Change::Forget { fingerprint } => {
                let place = self.find(fingerprint).ok_or("nobody trusts that authority")?;
                if self.active == Some(*fingerprint) {
                    return Err("that authority issues certificates");
                }
                self.authorities.remove(place);
            }
            Change::Give { node } => {
                if node.0 < self.next_node {
                    return Err("that id was given before");
                }
                self.next_node = node.0.saturating_add(1);
            }
            Change::Remove { node } => {
                if self.removed.len() >= REMOVED_MAX {
                    return Err("too many nodes were removed");
                }
                self.removed.insert(node.0);
                self.next_node = self.next_node.max(node.0.saturating_add(1));
            }
        }
        assert!(self.active.is_none_or(|active| self.find(&active).is_some()), "the issuing authority is trusted");
        Ok(())
    }

    fn trust(&mut self, pems: &[String]) -> Result<(), &'static str> {
        let mut all = self.authorities.clone();
        for pem in pems {
            if pem.len() > AUTHORITY_BYTES_MAX {
                return Err("that is no certificate");
            }
            let fingerprint = fingerprint_of_pem(pem).map_err(|_| "that is no certificate")?;
            if !all.iter().any(|known| fingerprint_of_pem(known) == Ok(fingerprint)) {
                all.push(pem.clone());
            }
        }
        if all.len() > AUTHORITIES_MAX {
            return Err("too many authorities are trusted; retire one first");
        }
        // The first list begins with the authority that issues certificates already.
        if self.active.is_none() {
            self.active = pems.first().and_then(|pem| fingerprint_of_pem(pem).ok());
        }
        self.authorities = all;
        Ok(())
    }

    fn find(&self, fingerprint: &[u8; 32]) -> Option<usize> {
        self.authorities.iter().position(|pem| fingerprint_of_pem(pem).as_ref() == Ok(fingerprint))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        [&[VERSION][..], &call::encode(self)].concat()
    }

    /// Reads the record. A level above `newest` was agreed on by newer programs.
    pub(crate) fn decode(bytes: &[u8], newest: u16) -> Result<Self, String> {
        let accord = match bytes.split_first() {
            Some((&VERSION, rest)) => call::decode_long::<Self>(rest).ok_or("the record of the accord makes no sense")?,
            Some((version, _)) => return Err(format!("the record of the accord has format version {version}: use a newer program")),
            None => return Err("the record of the accord is empty".to_owned()),
        };
        if accord.level > newest {
            let level = accord.level;
            return Err(format!("the cluster has agreed on format level {level}, this program knows up to {newest}: use a newer program"));
        }
        Ok(accord)
    }
}

impl Change {
    pub(crate) fn encode(&self) -> Vec<u8> {
        [&[VERSION][..], &call::encode(self)].concat()
    }

    /// Reads a change; the version of one that is not understood otherwise.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Option<u8>> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => call::decode_long(rest).ok_or(None),
            Some((version, _)) => Err(Some(*version)),
            None => Err(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use raftstore::pki::ClusterCa;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Version 1. These bytes are in logs and databases: a change here is a new version.
    #[test]
    fn the_bytes_of_version_one_stay() {
        let changes = [
            (Change::Level(2), "010002"),
            (Change::Trust { pems: vec!["a".to_owned()] }, "0101010161"),
            (Change::Activate { fingerprint: [7; 32] }, "01020707070707070707070707070707070707070707070707070707070707070707"),
            (Change::Forget { fingerprint: [8; 32] }, "01030808080808080808080808080808080808080808080808080808080808080808"),
            (Change::Give { node: NodeId(4) }, "010404"),
            (Change::Remove { node: NodeId(3) }, "010503"),
        ];
        for (change, bytes) in changes {
            assert_eq!(hex(&change.encode()), bytes);
            assert_eq!(Change::decode(&change.encode()), Ok(change));
        }
        let accord = Accord { level: 2, authorities: vec!["x".to_owned()], active: None, removed: BTreeSet::from([3]), next_node: 5 };
        assert_eq!(hex(&accord.encode()), "010201017800010305");
        assert_eq!(Accord::decode(&accord.encode(), 2), Ok(accord));
        assert_eq!(Change::decode(&[9, 0, 2]), Err(Some(9)));
        assert_eq!(Change::decode(&[]), Err(None));
    }

    #[test]
    fn a_newer_agreement_is_refused_by_name() {
        let accord = Accord { level: 5, ..Accord::default() };
        let because = Accord::decode(&accord.encode(), 2).unwrap_err();
        assert!(because.contains("level 5") && because.contains("newer program"), "{because}");
    }

    #[test]
    fn what_older_programs_do_not_read_waits_for_its_level() {
        let new = Command::ShareMove { share: persistence_model::ShareId(1), to: None, instead_of: None };
        let at = |level| Accord { level, ..Accord::default() };
        assert_eq!((at(1).allows(&Command::Expire), at(2).allows(&new), at(3).allows(&new)), (Ok(()), Err(3), Ok(())));
        let newest = Command::NodeEnd { node: NodeId(1), incarnation: persistence_model::Incarnation(1), at_most: 1 };
        assert_eq!((at(4).allows(&newest), at(5).allows(&newest)), (Err(5), Ok(())));
    }

    #[test]
    fn levels_only_rise_and_ids_are_given_once() {
        let mut accord = Accord::default();
        assert_eq!(accord.apply(&Change::Level(2)), Ok(()));
        assert!(accord.apply(&Change::Level(2)).is_err() && accord.apply(&Change::Level(1)).is_err());
        assert_eq!(accord.apply(&Change::Give { node: NodeId(4) }), Ok(()));
        assert!(accord.apply(&Change::Give { node: NodeId(4) }).is_err() && accord.apply(&Change::Give { node: NodeId(2) }).is_err());
        assert_eq!(accord.apply(&Change::Remove { node: NodeId(9) }), Ok(()));
        assert_eq!((accord.next_node, accord.removed.contains(&9)), (10, true));
    }

    #[test]
    fn an_authority_gives_way_to_the_next() {
        let old = ClusterCa::create().unwrap();
        let new = old.successor().unwrap();
        let print = |ca: &ClusterCa| ca.fingerprint().unwrap();
        let mut accord = Accord::default();
        assert!(accord.apply(&Change::Trust { pems: vec!["nonsense".to_owned()] }).is_err());
        let both = vec![old.certificate_pem.clone(), new.certificate_pem.clone()];
        assert_eq!(accord.apply(&Change::Trust { pems: both.clone() }), Ok(()));
        assert_eq!(accord.apply(&Change::Trust { pems: both }), Ok(()), "it can be said again");
        assert_eq!((accord.authorities.len(), accord.active), (2, Some(print(&old))));
        assert!(accord.apply(&Change::Forget { fingerprint: print(&old) }).is_err(), "it issues certificates");
        assert_eq!(accord.apply(&Change::Activate { fingerprint: print(&new) }), Ok(()));
        assert_eq!(accord.apply(&Change::Forget { fingerprint: print(&old) }), Ok(()));
        assert!(accord.apply(&Change::Activate { fingerprint: print(&old) }).is_err(), "nobody trusts it any more");
    }
}
