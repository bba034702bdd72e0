//! Counter names. The exporter is the program's business.

/// Connections accepted.
pub const CONNECTIONS: &str = "smb_connections_total";
/// Connections open now.
pub const CONNECTIONS_OPEN: &str = "smb_connections_open";
/// Requests, by command.
pub const REQUESTS: &str = "smb_requests_total";
/// Seconds from request to response, by command.
pub const REQUEST_SECONDS: &str = "smb_request_seconds";
/// Error responses, by status.
pub const REFUSALS: &str = "smb_refusals_total";
/// Bytes received.
pub const BYTES_IN: &str = "smb_received_bytes_total";
/// Bytes sent.
pub const BYTES_OUT: &str = "smb_sent_bytes_total";
/// Logons, by result.
pub const LOGONS: &str = "smb_logons_total";
/// Logons that failed, by reason.
pub const LOGON_FAILURES: &str = "smb_logon_failures_total";
/// Logons whose answer waited because of failures before.
pub const LOGONS_DELAYED: &str = "smb_logons_delayed_total";
/// Sessions that exist now.
pub const SESSIONS: &str = "smb_sessions";
/// Requests held because the node had lost its right to answer.
pub const HELD: &str = "smb_held_requests_total";
/// Times that events of the records were missed.
pub const EVENTS_MISSED: &str = "smb_events_missed_total";
/// What limits refused or closed, by limit.
pub const LIMIT_REFUSALS: &str = "smb_limit_refusals_total";
/// Values of the limits in force, by limit.
pub const LIMIT: &str = "smb_limit";
/// Logons begun and not ended.
pub const LOGONS_UNDER_WAY: &str = "smb_logons_under_way";
