//! The limits of one node's SMB service, each with its name: values, bounds, and what the operator
//! hears when one refuses. The table for operators is docs/operations/limits.md.
//!
//! Counts nothing itself: the places are in `state`, beside what they limit.

use std::{net::IpAddr, time::Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{metrics as names, rate_limit::PerMinute};

/// Log lines of one limit per minute; further refusals are counted in the next line.
const LINES_PER_MINUTE: u32 = 6;

macro_rules! limits {
    ($($(#[doc = $doc:literal])* $field:ident $variant:ident: $default:expr, $min:expr, $max:expr;)*) => {
        /// Values of the limits, as in `[smb.limits]` of a node's configuration file.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Limits {
            $($(#[doc = $doc])* pub $field: usize,)*
        }

        /// The name of a limit.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Limit {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl Limits {
            /// The value of a limit.
            #[must_use]
            pub const fn get(&self, limit: Limit) -> usize {
                match limit {
                    $(Limit::$variant => self.$field,)*
                }
            }

            /// Checks every value against its bounds, and those against each other that depend on each other.
            ///
            /// # Errors
            /// Names the limit and its bounds.
            pub fn check(&self) -> Result<(), String> {
                $({
                    let (min, max): (usize, usize) = ($min, $max);
                    if !(min..=max).contains(&self.$field) {
                        let name = stringify!($field);
                        return Err(format!("smb.limits.{name} must be {min} to {max}, and is {}", self.$field));
                    }
                })*
                self.check_pairs()
            }
        }

        impl Limit {
            /// Every limit.
            pub const EVERY: &[Self] = &[$(Self::$variant,)*];

            /// The name in the configuration file, in log lines and in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($field),)*
                }
            }
        }
    };
}

limits! {
    /// Connections of this node. At the limit the oldest one without a proved user is closed for a new one.
    connections Connections: 16_384, 16, 1 << 20;
    /// Connections of one client address. At the limit the address's oldest one without a proved user is closed for a new one.
    connections_per_address ConnectionsPerAddress: 2048, 1, 1 << 20;
    /// Bytes of a message on a connection where no user has proved himself.
    message_bytes_before_logon MessageBytesBeforeLogon: 64 << 10, 8 << 10, 1 << 20;
    /// Bytes of all messages beyond 4 KiB on connections where no user has proved himself.
    bytes_before_logon BytesBeforeLogon: 64 << 20, 1 << 20, 1 << 34;
    /// Logons begun and not ended, of this node. At the limit the oldest connection without a proved user is closed for a new one.
    logons_under_way LogonsUnderWay: 4096, 16, 1 << 20;
    /// Logons begun and not ended, of one connection.
    logons_under_way_per_connection LogonsUnderWayPerConnection: 64, 1, 1 << 16;
    /// Sessions of one connection.
    sessions_per_connection SessionsPerConnection: 1024, 1, 1 << 16;
    /// Channels of one session.
    // windows: 32.
    channels_per_session ChannelsPerSession: 32, 1, 1024;
    /// Tree connects of one session.
    trees_per_session TreesPerSession: 4096, 1, 1 << 16;
    /// Opens of this node. Lowered where the process may not have so many file descriptors.
    opens Opens: 1 << 20, 64, 1 << 24;
    /// Opens of one user at this node.
    opens_per_user OpensPerUser: 1 << 18, 1, 1 << 24;
    /// Opens of one session.
    opens_per_session OpensPerSession: 1 << 16, 1, 1 << 24;
    /// Requests of one connection that wait asynchronously.
    async_requests_per_connection AsyncRequestsPerConnection: 1024, 1, 1 << 16;
    /// CHANGE_NOTIFY requests of one user that wait at this node.
    notify_requests_per_user NotifyRequestsPerUser: 1 << 14, 1, 1 << 20;
    /// Directories that one user watches at this node, from the first CHANGE_NOTIFY until the directory is closed.
    watched_directories_per_user WatchedDirectoriesPerUser: 1 << 14, 1, 1 << 20;
    /// Messages of one connection that are worked on at one time; further ones wait in the socket.
    messages_per_connection MessagesPerConnection: 512, 8, 1 << 13;
}

impl Limits {
    fn check_pairs(&self) -> Result<(), String> {
        let pairs =
            [(Limit::BytesBeforeLogon, Limit::MessageBytesBeforeLogon), (Limit::LogonsUnderWay, Limit::LogonsUnderWayPerConnection)];
        for (whole, part) in pairs {
            if self.get(whole) < self.get(part) {
                return Err(format!("smb.limits.{} must not be below smb.limits.{}", whole.name(), part.name()));
            }
        }
        Ok(())
    }

    /// The limits of a process that has `descriptors` file descriptors for its SMB service: a
    /// connection takes one, and so does an open. Connections get three quarters of them at most.
    #[must_use]
    pub fn within(mut self, descriptors: usize) -> Self {
        self.connections = self.connections.min(descriptors / 4 * 3).max(1);
        self.opens = self.opens.min(descriptors.saturating_sub(self.connections)).max(1);
        self
    }
}

impl Limit {
    /// What the operator can do about it.
    const fn advice(self) -> &'static str {
        match self {
            Self::Connections | Self::ConnectionsPerAddress => {
                "if these clients belong here, raise it under [smb.limits] of the node's configuration; if not, keep the address out with a firewall"
            }
            Self::MessageBytesBeforeLogon | Self::BytesBeforeLogon | Self::LogonsUnderWay | Self::LogonsUnderWayPerConnection => {
                "no client needs that much to log on: look at what this address is, and raise it under [smb.limits] only if it belongs here"
            }
            Self::SessionsPerConnection
            | Self::ChannelsPerSession
            | Self::TreesPerSession
            | Self::Opens
            | Self::OpensPerUser
            | Self::OpensPerSession
            | Self::AsyncRequestsPerConnection
            | Self::NotifyRequestsPerUser
            | Self::WatchedDirectoriesPerUser
            | Self::MessagesPerConnection => {
                "look for a program at this client that does not close what it opens; raise it under [smb.limits] of the node's configuration if the client needs more"
            }
        }
    }
}

/// Tells of refusals: a counter for each limit, and log lines that a flood cannot make many.
#[derive(Debug)]
pub(crate) struct Refusals {
    lines: Mutex<Vec<PerMinute>>,
}

impl Refusals {
    /// Makes the counters known, so that they are there before the first refusal.
    pub(crate) fn new(limits: &Limits) -> Self {
        for limit in Limit::EVERY {
            metrics::counter!(names::LIMIT_REFUSALS, "limit" => limit.name()).increment(0);
            let value = u32::try_from(limits.get(*limit)).unwrap_or(u32::MAX);
            metrics::gauge!(names::LIMIT, "limit" => limit.name()).set(f64::from(value));
        }
        Self { lines: Mutex::new(Limit::EVERY.iter().map(|_| PerMinute::new(LINES_PER_MINUTE)).collect()) }
    }

    /// A limit has refused a client, or closed a connection.
    pub(crate) fn tell(&self, limits: &Limits, limit: Limit, address: IpAddr) {
        metrics::counter!(names::LIMIT_REFUSALS, "limit" => limit.name()).increment(1);
        let at = Limit::EVERY.iter().position(|other| *other == limit);
        let line = at.and_then(|at| self.lines.lock().get_mut(at)?.take(Instant::now()));
        if let Some(left_out) = line {
            let value = limits.get(limit);
            tracing::warn!(limit = limit.name(), value, %address, left_out, "a limit is reached: {}", limit.advice());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds_and_fit_ten_thousand_clients() {
        let limits = Limits::default();
        assert_eq!(limits.check(), Ok(()));
        assert!(limits.connections > 10_000);
    }

    #[test]
    fn a_value_out_of_its_bounds_is_named() {
        let error = Limits { connections: 0, ..Limits::default() }.check().unwrap_err();
        assert!(error.contains("smb.limits.connections") && error.contains("16 to"), "{error}");
        let error = Limits { logons_under_way: 32, ..Limits::default() }.check().unwrap_err();
        assert!(error.contains("logons_under_way_per_connection"), "{error}");
    }

    #[test]
    fn descriptors_are_shared_between_connections_and_opens() {
        let few = Limits::default().within(1000);
        assert_eq!((few.connections, few.opens), (750, 250));
        let many = Limits::default().within(1 << 22);
        assert_eq!(many, Limits::default());
        let some = Limits::default().within(50_000);
        assert_eq!((some.connections, some.opens), (16_384, 33_616));
    }

    #[test]
    fn names_differ() {
        let names: std::collections::BTreeSet<_> = Limit::EVERY.iter().map(|limit| limit.name()).collect();
        assert_eq!(names.len(), Limit::EVERY.len());
    }
}
