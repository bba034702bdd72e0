//! One file per command.

pub mod admin;
pub mod audit;
pub mod backup;
pub mod certificate;
pub mod cluster;
pub mod events;
pub mod group;
pub mod in_use;
pub mod init;
pub mod join;
mod local_audit;
pub mod look;
pub mod node;
pub mod share;
pub mod store;
pub mod user;
pub mod witness;

use crate::failure::Failure;

/// Prints a line to standard output; a reader that went away is not an error.
pub fn say(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line to standard error.
pub fn warn(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "holdfast: {line}");
}

/// Prints anything as one line of JSON.
///
/// # Errors
/// It cannot be JSON.
pub fn say_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|e| Failure::new(crate::failure::DATA, e.to_string()))?;
    say(&text);
    Ok(())
}
