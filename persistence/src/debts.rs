//! Nodes that have lost a file's open to somebody else and may not know it yet.
//!
//! Whoever takes an open away waits for the node that had it. The next command about that file would not: the node has the file open no
//! more, and nothing in the records tells of it. But until that node knows, its client may write. So every node remembers who owes
//! knowledge of which entry, and a command that changes the file waits for it, whoever proposed it. Knowing is learned from the answers to
//! barriers; a debt ends also with its debtor's life. Pure.

use std::collections::BTreeMap;

use persistence_model::{FileKey, NodeId};

/// Files with debts that are remembered one by one; beyond that, debts count for all files.
const FILES_MAX: usize = 4096;

/// Who owes what, as one node sees it.
#[derive(Debug, Default)]
pub(crate) struct Debts {
    files: BTreeMap<FileKey, BTreeMap<NodeId, u64>>,
    /// For whatever file.
    any: BTreeMap<NodeId, u64>,
}

impl Debts {
    /// Adds the debtors of these files to those whom a command waits for.
    pub(crate) fn call_in<'a>(&self, files: impl IntoIterator<Item = &'a FileKey>, interested: &mut Vec<NodeId>) {
        if self.files.is_empty() && self.any.is_empty() {
            return;
        }
        let mut any_file = false;
        for file in files {
            any_file = true;
            interested.extend(self.files.get(file).into_iter().flat_map(BTreeMap::keys));
        }
        if any_file {
            interested.extend(self.any.keys());
        }
        interested.sort_unstable();
        interested.dedup();
    }

    /// These nodes had something of these files taken from them by the entry `index`.
    pub(crate) fn owe(&mut self, index: u64, files: &[FileKey], debtors: &[NodeId]) {
        if self.files.len() + files.len() > FILES_MAX {
            let all = std::mem::take(&mut self.files);
            all.into_values().flatten().for_each(|(node, index)| raise(&mut self.any, node, index));
            return debtors.iter().for_each(|node| raise(&mut self.any, *node, index));
        }
        for file in files {
            let owed = self.files.entry(*file).or_default();
            debtors.iter().for_each(|node| raise(owed, *node, index));
        }
    }

    /// Nothing is known of the entries up to `index`: these nodes may owe anything.
    pub(crate) fn owe_all(&mut self, index: u64, debtors: impl IntoIterator<Item = NodeId>) {
        self.files.clear();
        debtors.into_iter().for_each(|node| raise(&mut self.any, node, index));
    }

    /// A node has applied everything up to `index`.
    pub(crate) fn paid(&mut self, node: NodeId, index: u64) {
        let settle = |owed: &mut BTreeMap<NodeId, u64>| {
            if owed.get(&node).is_some_and(|owing| *owing <= index) {
                owed.remove(&node);
            }
            !owed.is_empty()
        };
        settle(&mut self.any);
        self.files.retain(|_, owed| settle(owed));
    }

    /// A node's life is over.
    pub(crate) fn forgive(&mut self, node: NodeId) {
        self.paid(node, u64::MAX);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.any.is_empty()
    }
}

fn raise(owed: &mut BTreeMap<NodeId, u64>, node: NodeId, index: u64) {
    let owing = owed.entry(node).or_default();
    *owing = index.max(*owing);
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn file(inode: u64) -> FileKey {
        FileKey { inode, ..FileKey::default() }
    }

    fn called(debts: &Debts, files: &[FileKey]) -> Vec<NodeId> {
        let mut interested = Vec::new();
        debts.call_in(files, &mut interested);
        interested
    }

    #[test]
    fn a_debt_is_of_its_file_until_it_is_paid() {
        let mut debts = Debts::default();
        debts.owe(5, &[file(1), file(2)], &[B]);
        debts.owe(7, &[file(1)], &[B, A]);
        assert_eq!(called(&debts, &[file(1)]), [A, B]);
        assert_eq!(called(&debts, &[file(2)]), [B]);
        assert_eq!(called(&debts, &[file(3)]), []);
        assert_eq!(called(&debts, &[]), []);
        debts.paid(B, 6);
        assert_eq!(called(&debts, &[file(1), file(2)]), [A, B], "5 is known, 7 is not");
        assert_eq!(called(&debts, &[file(2)]), []);
        debts.paid(B, 7);
        assert_eq!(called(&debts, &[file(1)]), [A]);
        debts.forgive(A);
        assert!(debts.is_empty());
    }

    #[test]
    fn who_knows_nothing_of_the_past_waits_for_all_once() {
        let mut debts = Debts::default();
        debts.owe(3, &[file(1)], &[A]);
        debts.owe_all(9, [A, B]);
        let mut interested = vec![B, NodeId(3)];
        debts.call_in(&[file(4)], &mut interested);
        assert_eq!(interested, [A, B, NodeId(3)]);
        assert_eq!(called(&debts, &[]), [], "a command that is about no file");
        debts.paid(A, 9);
        debts.paid(B, 8);
        assert_eq!(called(&debts, &[file(1)]), [B]);
        debts.paid(B, 20);
        assert!(debts.is_empty());
    }

    #[test]
    fn too_many_files_count_as_all() {
        let mut debts = Debts::default();
        for inode in 0..FILES_MAX as u64 {
            debts.owe(inode, &[file(inode)], &[A]);
        }
        assert_eq!(called(&debts, &[file(FILES_MAX as u64)]), []);
        debts.owe(9000, &[file(9000)], &[B]);
        assert!(debts.files.is_empty());
        assert_eq!(called(&debts, &[file(70_000)]), [A, B]);
        debts.paid(A, FILES_MAX as u64 - 1);
        debts.paid(B, 9000);
        assert!(debts.is_empty());
    }
}
