//! What a directory open remembers of CHANGE_NOTIFY: its filter, events between two requests, and who waits.

use std::collections::VecDeque;

/// The notify state of one open directory. Filter, tree flag and buffer size are those of the first request.
#[derive(Debug, Default)]
pub struct NotifyState {
    /// Set by the first CHANGE_NOTIFY.
    pub watch: Option<Watch>,
    /// Events that no request has fetched yet: action and name relative to the open.
    pub events: VecDeque<(u32, String)>,
    /// Too much happened: the next request gets NOTIFY_ENUM_DIR.
    pub overflow: bool,
    /// Bytes that `events` would take in a reply.
    pub kept_bytes: usize,
    /// Message ids of the requests that wait, in the order they came.
    pub waiting: VecDeque<u64>,
    /// The open is closed: waiting requests get NOTIFY_CLEANUP.
    pub closed: bool,
}

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// CompletionFilter.
    pub filter: u32,
    /// WATCH_TREE.
    pub recursive: bool,
    /// OutputBufferLength of the first request: the limit of what is kept.
    pub buffer_bytes: usize,
}
