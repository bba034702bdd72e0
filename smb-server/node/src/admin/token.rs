//! Admin tokens: their format, and the routes to create, list and remove them. The cluster keeps only
//! hashes; the text is in the answer to the request that creates a token and nowhere else.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_lc_rs::{digest, rand};
use axum::{Json, extract::State, http::StatusCode};
use persistence_model::{AdminRole, AdminToken, Command, Outcome, Rejection};
use serde::{Deserialize, Serialize};

use super::{
    Admin, Problem,
    caller::unix_s,
    certificate::hex,
    change::{Answer, Done, Named},
};

/// Prefix of every token, so that secret scanners and people recognize one.
const PREFIX: &str = "hfadmin1-";
/// Length of the secret, bytes.
const SECRET_BYTES: usize = 32;
/// Longest lifetime.
pub const DAYS_MAX: u64 = 3650;

/// The text of a token. Without `Debug`.
pub(super) struct TokenText(String);

impl TokenText {
    /// Generates one.
    pub(super) fn create() -> Result<Self, Problem> {
        let mut secret = [0; SECRET_BYTES];
        let none = |_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the system gives no randomness");
        rand::fill(&mut secret).map_err(none)?;
        Ok(Self(format!("{PREFIX}{}", hex(&secret))))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

/// The stored hash of a token; `None` if the text is malformed.
pub(super) fn hash_of(text: &str) -> Option<[u8; 32]> {
    let secret = text.trim().strip_prefix(PREFIX)?;
    let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if secret.len() != 2 * SECRET_BYTES || !secret.bytes().all(is_hex) {
        return None;
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    Some(hash)
}

/// A role in the API and on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May look.
    Viewer,
    /// May change.
    Operator,
}

impl From<Role> for AdminRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Viewer => Self::Viewer,
            Role::Operator => Self::Operator,
        }
    }
}

impl From<AdminRole> for Role {
    fn from(role: AdminRole) -> Self {
        match role {
            AdminRole::Viewer => Self::Viewer,
            AdminRole::Operator => Self::Operator,
        }
    }
}

/// Request to create a token.
#[derive(Debug, Serialize, Deserialize)]
pub struct CreateAdminToken {
    /// Name of the holder, as the audit log shows it.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Lifetime; unlimited if absent.
    #[serde(default)]
    pub days: Option<u64>,
}

/// A created token. Without `Debug`.
#[derive(Serialize, Deserialize)]
pub struct CreatedAdminToken {
    /// Name of the holder, as the audit log shows it.
    pub name: String,
    /// Role.
    pub role: Role,
    /// End of its lifetime, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_unix_s: Option<u64>,
    /// Its text.
    pub token: String,
}

/// A token in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminTokenView {
    /// Name of the holder.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Time of creation, seconds since 1970.
    pub made_unix_s: u64,
    /// End of its lifetime, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_unix_s: Option<u64>,
    /// Its lifetime is over.
    pub is_over: bool,
}

/// Trust anchors of the cluster's certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorities {
    /// The name in every node's certificate.
    pub server_name: String,
    /// The certificates of the authorities (PEM).
    pub pem: String,
}

pub(super) async fn create(State(admin): State<Arc<Admin>>, Json(wanted): Json<CreateAdminToken>) -> Answer<CreatedAdminToken> {
    if wanted.days.is_some_and(|days| !(1..=DAYS_MAX).contains(&days)) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, format!("days must be 1 to {DAYS_MAX}")));
    }
    let text = TokenText::create()?;
    // A generated text is well-formed.
    let hash = hash_of(text.expose()).unwrap_or_default();
    let made_unix_s = unix_s(SystemTime::now());
    let expires_unix_s = wanted.days.map(|days| made_unix_s + Duration::from_secs(days * 24 * 3600).as_secs());
    let token = AdminToken { hash, name: wanted.name.clone(), role: wanted.role.into(), made_unix_s, expires_unix_s };
    match admin.store.propose(Command::AdminTokenAdd(token)).await? {
        Outcome::Done => {}
        Outcome::Rejected(Rejection::InvalidName) => {
            let because = "the name of a token has 1 to 64 letters, digits, dots, dashes, underscores and @";
            return Err(Problem::new(StatusCode::BAD_REQUEST, because));
        }
        Outcome::Rejected(Rejection::Exists) => {
            let because = format!("there is a token {:?} already: remove it, or choose another name", wanted.name);
            return Err(Problem::new(StatusCode::CONFLICT, because));
        }
        Outcome::Rejected(Rejection::LimitReached) => {
            return Err(Problem::new(StatusCode::CONFLICT, "there are too many tokens: remove one that is not used"));
        }
        outcome => return Err(Problem::new(StatusCode::CONFLICT, format!("the cluster answered {outcome:?}"))),
    }
    Ok(Json(CreatedAdminToken { name: wanted.name, role: wanted.role, expires_unix_s, token: text.expose().to_owned() }))
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Vec<AdminTokenView>> {
    let now = unix_s(SystemTime::now());
    let view = |token: &AdminToken| AdminTokenView {
        name: token.name.clone(),
        role: token.role.into(),
        made_unix_s: token.made_unix_s,
        expires_unix_s: token.expires_unix_s,
        is_over: token.is_over(now),
    };
    let mut tokens: Vec<AdminTokenView> = admin.store.with_state(|state| state.admin_tokens().map(view).collect());
    tokens.sort_by_key(|token| token.name.to_lowercase());
    Json(tokens)
}

pub(super) async fn remove(State(admin): State<Arc<Admin>>, Json(token): Json<Named>) -> Answer<Done> {
    match admin.store.propose(Command::AdminTokenRemove { name: token.name.clone() }).await? {
        Outcome::Rejected(Rejection::NoSuchAdminToken) => {
            Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no token {:?}; `holdfast admin token list` names them", token.name)))
        }
        Outcome::Rejected(rejection) => Err(Problem::new(StatusCode::CONFLICT, rejection.to_string())),
        _ => Ok(Json(Done { done: true })),
    }
}

pub(super) async fn authorities(State(admin): State<Arc<Admin>>) -> Json<Authorities> {
    let (authorities, server_name) = admin.shown.trusted();
    Json(Authorities { server_name, pem: authorities.concat() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_token_has_a_hash() {
        let (one, two) = (TokenText::create().map_err(|_| ()).unwrap(), TokenText::create().map_err(|_| ()).unwrap());
        assert_ne!(one.expose(), two.expose());
        let hash = hash_of(one.expose()).unwrap();
        assert_eq!(hash_of(&format!(" {}\n", one.expose())), Some(hash), "as it comes out of a file");
        assert_ne!(hash_of(two.expose()), Some(hash));
        for bad in ["", PREFIX, "hfadmin1-00", &one.expose()[..72], &one.expose().to_uppercase(), &format!("{}0", one.expose())] {
            assert_eq!(hash_of(bad), None, "{bad}");
        }
    }

    /// Expected value: `printf %064d 0 | sha256sum`.
    #[test]
    fn the_hash_is_sha_256_of_the_digits() {
        let hash = hash_of(&format!("{PREFIX}{}", "0".repeat(64))).unwrap();
        assert_eq!(hex(&hash), "60e05bd1b195af2f94112fa7197a5c88289058840ce7c6df9693756bc6250f55");
    }
}
