//! One line of the audit log, and the redaction of secrets in it.

use std::{net::SocketAddr, time::SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::registrations::Silent;

/// Longest request body in a line, bytes of JSON.
const BODY_BYTES_MAX: usize = 4096;
/// Longest error text in a line.
const ERROR_CHARS_MAX: usize = 1000;
/// Replaces a secret.
const HIDDEN: &str = "(hidden)";
/// Parts of the names of fields that hold secrets.
const SECRET_WORDS: [&str; 6] = ["password", "secret", "token", "hash", "key", "pem"];

/// Origin of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Peer address, over the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// Unix user, over the socket or of a local command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Unix process, over the socket or of a local command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
}

/// Result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditResult {
    /// Carried out.
    Done,
    /// Refused: no valid token, or not the role.
    Forbidden,
    /// Allowed, but not carried out.
    Failed,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Sequence number, ascending per node.
    pub number: u64,
    /// UTC, RFC 3339.
    pub time: String,
    /// The node that wrote the line.
    pub node: u64,
    /// Name of the token or of the Unix user; `-` if not authenticated.
    pub who: String,
    /// Role of the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Origin of the request.
    pub from: Origin,
    /// GET, POST, or COMMAND for a command that works on the node's files.
    pub method: String,
    /// Path of the request, or name of the command.
    pub route: String,
    /// Body of the request, redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// `done`, `forbidden` or `failed`.
    pub result: AuditResult,
    /// HTTP status, or exit code of a command.
    pub status: u16,
    /// Error text of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Refusals before this one without a line, above the limit per minute.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it like this")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Entry {
    /// Shortens body and error to their limits.
    pub(super) fn fit(&mut self) {
        if self.body.as_ref().is_some_and(|body| body.to_string().len() > BODY_BYTES_MAX) {
            self.body = Some(Value::String(format!("(more than {BODY_BYTES_MAX} bytes)")));
        }
        if let Some(error) = &mut self.error
            && let Some((end, _)) = error.char_indices().nth(ERROR_CHARS_MAX)
        {
            error.truncate(end);
        }
    }
}

/// Entries of one node or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entries {
    /// The newest, in ascending order.
    pub entries: Vec<Entry>,
    /// Live nodes that did not answer; their entries are missing.
    pub unanswered: Vec<Silent>,
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn time_text(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, ms) = time.to_hms_milli();
    // Fixed width: entries of several nodes are sorted by this text.
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z", u8::from(month))
}

/// The body of a request without secrets. Of a body that is not JSON only the length is kept.
#[must_use]
pub fn redacted(body: &[u8]) -> Option<Value> {
    if body.is_empty() {
        return None;
    }
    let Ok(mut value) = serde_json::from_slice(body) else { return Some(Value::String(format!("({} bytes, not JSON)", body.len()))) };
    hide(&mut value);
    Some(value)
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.to_lowercase();
                if SECRET_WORDS.iter().any(|word| name.contains(word)) { *value = HIDDEN.into() } else { hide(value) }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    pub(in crate::audit) fn entry(who: &str) -> Entry {
        Entry {
            number: 0,
            time: String::new(),
            node: 0,
            who: who.to_owned(),
            role: Some("operator".to_owned()),
            from: Origin { uid: Some(0), pid: Some(7), ..Origin::default() },
            method: "POST".to_owned(),
            route: "/api/v1/users".to_owned(),
            body: None,
            result: AuditResult::Done,
            status: 200,
            error: None,
            left_out: 0,
        }
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        let body = br#"{"name":"ann","nt_hash":"00ff","more":[{"Password":"x","id":3}],"token":{"a":1}}"#;
        let text = redacted(body).unwrap().to_string();
        for secret in ["00ff", "\"x\"", "\"a\""] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.contains("ann") && text.contains("\"id\":3"), "{text}");
        assert_eq!(redacted(b"password=x"), Some("(10 bytes, not JSON)".into()));
        assert_eq!(redacted(b""), None);
    }

    #[test]
    fn times_have_milliseconds_and_sort_as_texts() {
        let text = |micros| time_text(UNIX_EPOCH + Duration::from_micros(micros));
        assert_eq!(text(1_900_000_000_123_456), "2030-03-17T17:46:40.123Z");
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert!(text(1_900_000_000_600_000) < text(1_900_000_000_650_000));
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let mut long = Entry { body: Some("x".repeat(5000).into()), error: Some("é".repeat(2000)), ..entry("ann") };
        long.fit();
        assert_eq!(long.error.unwrap().chars().count(), ERROR_CHARS_MAX);
        assert!(long.body.unwrap().to_string().contains("more than"));
    }
}
