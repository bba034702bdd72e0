//! Property: while a handle's owner is away nobody gets what the handle forbids, and everybody is told the right thing.
//!
//! Times are milliseconds on one clock. Knows nothing of connections: a history goes in, violations come out.

use std::collections::BTreeMap;

use smb_types::NtStatus;

/// Around a kill and a reclaim both answers of either side are right for this long: no client can see which came first.
const EDGE_MS: u64 = 100;

/// What an intruder tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attempt {
    /// To open the file, denying all sharing.
    ExclusiveOpen,
    /// To write inside the owner's locked range, through an open that shares everything.
    LockedWrite,
    /// To get that open back after its own connection was lost.
    SharedOpen,
}

/// One attempt and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// What was tried.
    pub attempt: Attempt,
    /// When it was sent.
    pub from_ms: u64,
    /// When the answer came.
    pub to_ms: u64,
    /// The answer.
    pub status: NtStatus,
}

/// When the owner was away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// The kill.
    pub from_ms: u64,
    /// The reclaim's answer; None if it never came.
    pub to_ms: Option<u64>,
}

/// An answer that must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The attempt and its answer.
    pub record: Record,
    /// What is wrong with it.
    pub because: &'static str,
}

/// Checks a history against the time in which the owner was away.
// MS-SMB2 3.3.5.9, as seen at Windows servers: a detached persistent open without a lease with H answers FILE_NOT_AVAILABLE to any newcomer.
#[must_use]
pub fn check(history: &[Record], away: Away) -> Vec<Violation> {
    history.iter().filter_map(|r| judge(r, away).map(|because| Violation { record: *r, because })).collect()
}

fn judge(record: &Record, away: Away) -> Option<&'static str> {
    let before = record.to_ms < away.from_ms;
    let after = away.to_ms.is_some_and(|to| record.from_ms > to + EDGE_MS);
    let attached = before || after;
    match (record.attempt, record.status) {
        (Attempt::ExclusiveOpen, NtStatus::SUCCESS) => Some("opened in spite of the owner's open"),
        (Attempt::LockedWrite, NtStatus::SUCCESS) => Some("wrote inside the owner's lock"),
        (Attempt::ExclusiveOpen, NtStatus::SHARING_VIOLATION) | (Attempt::LockedWrite, NtStatus::FILE_LOCK_CONFLICT) => None,
        (_, NtStatus::FILE_NOT_AVAILABLE) if attached => Some("not available although the owner is there"),
        (_, NtStatus::FILE_NOT_AVAILABLE) => None,
        // A newcomer that shares everything is welcome while the owner is there; the edges cannot be told apart from outside.
        (Attempt::SharedOpen, NtStatus::SUCCESS) => None,
        _ => Some("unexpected status"),
    }
}

/// Counts attempts by kind and status.
#[must_use]
pub fn count(history: &[Record]) -> BTreeMap<(Attempt, NtStatus), u64> {
    let mut counts = BTreeMap::new();
    for r in history {
        *counts.entry((r.attempt, r.status)).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    const AWAY: Away = Away { from_ms: 1000, to_ms: Some(1500) };

    fn open(from_ms: u64, status: NtStatus) -> Record {
        Record { attempt: Attempt::ExclusiveOpen, from_ms, to_ms: from_ms + 5, status }
    }

    fn write(from_ms: u64, status: NtStatus) -> Record {
        Record { attempt: Attempt::LockedWrite, from_ms, to_ms: from_ms + 5, status }
    }

    #[test]
    fn a_good_history_has_no_violation() {
        let history = [
            open(100, NtStatus::SHARING_VIOLATION),
            write(150, NtStatus::FILE_LOCK_CONFLICT),
            open(1010, NtStatus::SHARING_VIOLATION),
            open(1200, NtStatus::FILE_NOT_AVAILABLE),
            write(1250, NtStatus::FILE_LOCK_CONFLICT),
            write(1300, NtStatus::FILE_NOT_AVAILABLE),
            open(1550, NtStatus::FILE_NOT_AVAILABLE),
            open(1700, NtStatus::SHARING_VIOLATION),
            Record { attempt: Attempt::SharedOpen, ..open(1710, NtStatus::SUCCESS) },
        ];
        assert_eq!(check(&history, AWAY), []);
        assert_eq!(count(&history)[&(Attempt::ExclusiveOpen, NtStatus::SHARING_VIOLATION)], 3);
    }

    #[test]
    fn each_bad_answer_is_found() {
        let bad = [
            open(1200, NtStatus::SUCCESS),
            open(100, NtStatus::SUCCESS),
            write(1200, NtStatus::SUCCESS),
            open(100, NtStatus::FILE_NOT_AVAILABLE),
            write(1700, NtStatus::FILE_NOT_AVAILABLE),
            open(1200, NtStatus::OBJECT_NAME_NOT_FOUND),
            write(1200, NtStatus::SHARING_VIOLATION),
            open(1200, NtStatus::FILE_LOCK_CONFLICT),
        ];
        let found = check(&bad, AWAY);
        assert_eq!(found.iter().map(|v| v.record).collect::<Vec<_>>(), bad);
    }

    #[test]
    fn an_owner_who_never_came_back_is_away_for_ever() {
        let history = [open(90_000, NtStatus::FILE_NOT_AVAILABLE)];
        assert_eq!(check(&history, Away { from_ms: 1000, to_ms: None }), []);
    }
}
