//! File descriptors of the process: the limit is raised at the start, and a part of it is kept from SMB
//! clients. A node whose clients have taken the last descriptor could neither write its log nor be asked
//! what is wrong.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use smb_server::Limits;

/// Descriptors kept for replication, records on disk, the admin API, the witness, and what opening a file takes for a moment.
const RESERVED: u64 = 2048;
/// Smallest part that is kept when the process may have few descriptors: one in so many.
const RESERVED_PART: u64 = 4;
/// Part of the rest that the witness and the endpoint mapper may have each: one in so many.
const RPC_PART: u64 = 16;
/// Descriptors that a privileged process asks for: as many as most systems allow (fs.nr_open).
const WANTED: u64 = 1 << 20;

/// Raises the soft limit of descriptors to the hard one, and the hard one too where that is allowed. Warns when the limit is too low
/// for the connections that are configured.
pub fn raise(limits: &Limits) {
    let before = getrlimit(Resource::Nofile);
    let hard = before.maximum.unwrap_or(WANTED);
    // The hard limit can be raised with CAP_SYS_RESOURCE only, and no further than fs.nr_open.
    let tries = [hard.max(WANTED), hard];
    let raised = tries.into_iter().find(|limit| {
        let maximum = before.maximum.map(|_| *limit);
        setrlimit(Resource::Nofile, Rlimit { current: Some(*limit), maximum }).is_ok()
    });
    if raised.is_none() {
        tracing::warn!(soft = before.current, hard, "the limit of open files cannot be raised to the hard one");
    }
    let effective = limits.clone().within(of_smb());
    if effective.connections < limits.connections {
        let (configured, connections, opens, descriptors) = (limits.connections, effective.connections, effective.opens, limit());
        tracing::warn!(
            descriptors,
            configured,
            connections,
            opens,
            "the process may not have enough open files for smb.limits.connections: fewer connections and opens are served; raise LimitNOFILE of its service"
        );
    }
}

/// The soft limit as it is now.
fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many descriptors connections and opens of SMB clients may have.
#[must_use]
pub fn of_smb() -> usize {
    let rest = without_reserve(limit());
    usize::try_from(rest - 2 * of_rpc_listener(rest)).unwrap_or(usize::MAX)
}

/// The limits of the witness, or of the endpoint mapper: fewer connections where the process may have few descriptors.
#[must_use]
pub fn rpc_limits() -> dcerpc_rs::Limits {
    let limits = dcerpc_rs::Limits::default();
    let connections = usize::try_from(of_rpc_listener(without_reserve(limit()))).unwrap_or(usize::MAX);
    dcerpc_rs::Limits { connections_max: limits.connections_max.min(connections), ..limits }
}

/// What each of the two RPC listeners may have of this many descriptors.
fn of_rpc_listener(rest: u64) -> u64 {
    let most = u64::try_from(dcerpc_rs::Limits::default().connections_max).unwrap_or(u64::MAX);
    (rest / RPC_PART).min(most)
}

const fn without_reserve(limit: u64) -> u64 {
    let part = limit / RESERVED_PART;
    limit - if part < RESERVED { part } else { RESERVED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_kept_from_clients() {
        assert_eq!(without_reserve(1024), 768);
        assert_eq!(without_reserve(20_000), 17_952);
        assert_eq!(without_reserve(1 << 20), (1 << 20) - 2048);
    }

    #[test]
    fn witnesses_leave_most_to_the_files() {
        assert_eq!(of_rpc_listener(17_952), 1122);
        assert_eq!(of_rpc_listener(1 << 20), 16_384);
    }

    #[test]
    fn the_limit_is_raised_to_the_hard_one() {
        raise(&Limits::default());
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.current, after.maximum);
    }
}
