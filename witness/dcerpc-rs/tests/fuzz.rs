//! The entries of the fuzz targets with what a test run has time for: the corpus of the tree, random bytes, and captured
//! conversations with bytes changed, cut and repeated.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "../fuzz/entries.rs"]
mod entries;
mod vectors;

use proptest::prelude::*;

const CAPTURES: [&str; 2] = [include_str!("vectors/impacket-epm.hex"), include_str!("vectors/samba-epm.hex")];

/// The PDUs of one side of the captures.
fn pdus(side: &str) -> Vec<Vec<u8>> {
    let all = CAPTURES.iter().flat_map(|capture| vectors::in_order(capture));
    all.filter(|(name, _)| name.starts_with(side)).map(|(_, pdu)| pdu).collect()
}

fn every_entry(data: &[u8]) {
    entries::frames(data);
    entries::connection(data);
    entries::stubs(data);
    entries::mapper(data);
    entries::client(data);
}

#[test]
fn the_corpus_of_the_tree_is_taken() {
    let mut count = 0;
    for target in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus")).unwrap() {
        for file in std::fs::read_dir(target.unwrap().path()).unwrap() {
            every_entry(&std::fs::read(file.unwrap().path()).unwrap());
            count += 1;
        }
    }
    assert!(count >= 10, "{count} inputs");
    entries::seeds().iter().for_each(|seed| every_entry(seed));
}

/// Changes some bytes, and says how much of the end is left.
fn mutated(mut data: Vec<u8>, changes: &[(prop::sample::Index, u8)], keep: prop::sample::Index) -> Vec<u8> {
    for (index, value) in changes {
        if !data.is_empty() {
            let index = index.index(data.len());
            data[index] = *value;
        }
    }
    data.truncate(keep.index(data.len() + 1));
    data
}

proptest! {
    #[test]
    fn random_bytes_do_no_harm(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        every_entry(&data);
    }

    #[test]
    fn changed_conversations_do_no_harm(
        picks in proptest::collection::vec(any::<prop::sample::Index>(), 1..6),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        keep in any::<prop::sample::Index>(), portion in any::<u8>(),
    ) {
        for side in ["client", "server"] {
            let pdus = pdus(side);
            let conversation: Vec<u8> = picks.iter().flat_map(|pick| pdus[pick.index(pdus.len())].clone()).collect();
            let data = mutated(conversation, &changes, keep);
            entries::frames(&data);
            entries::client(&data);
            entries::connection(&[vec![portion], entries::bind(dcerpc_rs::epm::EPMAPPER, dcerpc_rs::syntax::NDR20), data].concat());
        }
    }

    #[test]
    fn changed_stubs_do_no_harm(
        pick in any::<prop::sample::Index>(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        keep in any::<prop::sample::Index>(), choice in 0u8..20,
    ) {
        let stubs = vectors::in_order(include_str!("vectors/srvsvc-stubs.hex"));
        let stub = mutated(stubs[pick.index(stubs.len())].1.clone(), &changes, keep);
        entries::stubs(&[vec![choice], stub].concat());
    }
}
