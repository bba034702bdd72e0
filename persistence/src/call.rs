//! What stores ask each other beside the log: renewals, suspicions, certificates.

use persistence_model::{Incarnation, NodeId};
use serde::{Deserialize, Serialize};

use crate::certificates::CertificateReport;

/// Longest call or answer that is decoded: some certificates.
const CALL_BYTES_MAX: usize = 64 << 10;
/// Longest record of this crate's own that is decoded.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// A question to another node. New ones are added at the end: the position is part of the format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Call {
    /// A node asks for its lease.
    Renew { node: NodeId, incarnation: Incarnation },
    /// Somebody believes that a node is dead: look at its port now.
    Suspect { node: NodeId },
    /// Answered after a while, and cut off when the process dies.
    Attend,
    /// As `Renew`, from a node that understands `RenewedFor`. An older node calls it nonsense.
    RenewFor { node: NodeId, incarnation: Incarnation },
    /// A node that joins came to the sender, which does not hold the authority: redeem its token and make its certificate.
    Admit { secret: [u8; 32], node_id: Option<u64>, address: String, public_key: Vec<u8> },
    /// The sender wants a new certificate for itself.
    Certify { public_key: Vec<u8> },
    /// Which certificate do you show, whom do you trust?
    Certificates,
    /// You are about to be removed: stop serving, and do not begin again.
    Leave,
    /// A question of the sender's program. An older node calls it nonsense.
    Program { question: Vec<u8> },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The lease runs from the moment at which it was asked for. Each node takes its own setting for the lease: said to those that
    /// ask with `Renew`.
    Renewed,
    /// That life is over: stop serving and begin a new one.
    Over,
    /// Ask whoever leads, or ask again.
    NotMine,
    /// It will be, or was, done.
    Done,
    /// The call makes no sense.
    Nonsense,
    /// The lease runs for so long from the moment at which it was asked for; a node that is set to less takes less.
    RenewedFor { lease_ms: u64 },
    /// What the joining node is given.
    Admitted { node_id: u64, certificate_pem: String, authorities_pem: String },
    /// The new certificate, and the authority that issued it.
    Certified { certificate_pem: String, authority_pem: String },
    /// What was asked for.
    Certificates(CertificateReport),
    /// It was not done, for this reason.
    Refused(String),
    /// What the program answered.
    Program { answer: Vec<u8> },
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard()).expect("writing to memory, and the types have no unsupported shape")
}

pub(crate) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    let config = bincode::config::standard().with_limit::<CALL_BYTES_MAX>();
    let (value, used) = bincode::serde::decode_from_slice(bytes, config).ok()?;
    (used == bytes.len()).then_some(value)
}

/// As [`decode`], for what is kept.
pub(crate) fn decode_long<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    let config = bincode::config::standard().with_limit::<RECORD_BYTES_MAX>();
    let (value, used) = bincode::serde::decode_from_slice(bytes, config).ok()?;
    (used == bytes.len()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_read_back_and_nonsense_is_refused() {
        for call in [Call::Renew { node: NodeId(3), incarnation: Incarnation(70_000) }, Call::Program { question: vec![1, 2] }] {
            assert_eq!(decode::<Call>(&encode(&call)), Some(call));
        }
        // Nodes of other versions read these: positions stay.
        assert_eq!(encode(&Call::Program { question: vec![7] }), [8, 1, 7]);
        assert_eq!(encode(&Answer::Program { answer: vec![7] }), [10, 1, 7]);
        for answer in [Answer::Over, Answer::RenewedFor { lease_ms: 70_000 }] {
            assert_eq!(decode::<Answer>(&encode(&answer)), Some(answer));
        }
        for bad in [&[][..], &[99], &[0], &[2, 0], &[255; 40]] {
            assert_eq!(decode::<Call>(bad), None, "{bad:?}");
        }
    }
}
