//! What holds on every node alike: whether sessions sign and encrypt, lockout, listings for nobody.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use persistence_model::{ClusterSettings, Command, Outcome, Rejection};
use serde::{Deserialize, Serialize};

use super::{
    Admin, Problem,
    change::{Answer, Done},
};

/// How often a change is made anew because somebody else changed the settings.
const TRIES: usize = 8;

/// Whether something is demanded of every session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// Sessions without it are refused.
    Required,
    /// Whoever wants it has it.
    Offered,
}

impl Demand {
    fn of(is_required: bool) -> Self {
        if is_required { Self::Required } else { Self::Offered }
    }

    /// As it is written.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Offered => "offered",
        }
    }
}

/// The settings of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsView {
    /// Name of the cluster.
    pub net_name: String,
    /// Signatures.
    pub signing: Demand,
    /// Encryption.
    pub encryption: Demand,
    /// Failed logons in a row that lock an account out; 0: none do.
    pub lockout_threshold: u32,
    /// How long an account is locked out, and how long failures are remembered; minutes.
    pub lockout_minutes: u32,
    /// Who has not logged on may list shares.
    pub list_anonymously: bool,
}

/// Other settings; what is left out stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SettingsChange {
    /// Signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing: Option<Demand>,
    /// Encryption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Demand>,
    /// Failed logons in a row that lock an account out; 0: none do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockout_threshold: Option<u32>,
    /// How long an account is locked out, and how long failures are remembered; minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockout_minutes: Option<u32>,
    /// Who has not logged on may list shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list_anonymously: Option<bool>,
}

/// Names of the options, as `cluster set` knows them.
pub const OPTION_NAMES: [&str; 5] = ["signing", "encryption", "lockout-threshold", "lockout-minutes", "list-anonymously"];

impl SettingsChange {
    /// Sets one option by its name.
    ///
    /// # Errors
    /// There is no such option, or it is not said like that.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let value = value.trim().to_ascii_lowercase();
        let demand = || match value.as_str() {
            "required" => Ok(Some(Demand::Required)),
            "offered" => Ok(Some(Demand::Offered)),
            _ => Err(format!("{name}={value}: write {name}=required or {name}=offered")),
        };
        let number = |unit: &str| value.parse().map(Some).map_err(|_| format!("{name}={value}: write {name}=NUMBER ({unit})"));
        match name {
            "signing" => self.signing = demand()?,
            "encryption" => self.encryption = demand()?,
            "lockout-threshold" => self.lockout_threshold = number("failed logons; 0: no lockout")?,
            "lockout-minutes" => self.lockout_minutes = number("minutes")?,
            "list-anonymously" => {
                self.list_anonymously = match value.as_str() {
                    "on" | "yes" | "true" => Some(true),
                    "off" | "no" | "false" => Some(false),
                    _ => return Err(format!("{name}={value}: write {name}=on or {name}=off")),
                }
            }
            _ => return Err(format!("there is no option {name:?}; there are {}", OPTION_NAMES.join(", "))),
        }
        Ok(())
    }

    /// The settings with these options.
    fn applied(&self, before: &ClusterSettings) -> ClusterSettings {
        let required = |chosen: Option<Demand>, before: bool| chosen.map_or(before, |demand| demand == Demand::Required);
        ClusterSettings {
            signing_required: required(self.signing, before.signing_required),
            encryption_required: required(self.encryption, before.encryption_required),
            lockout_threshold: self.lockout_threshold.unwrap_or(before.lockout_threshold),
            lockout_minutes: self.lockout_minutes.unwrap_or(before.lockout_minutes),
            list_anonymously: self.list_anonymously.unwrap_or(before.list_anonymously),
        }
    }
}

pub(super) async fn show(State(admin): State<Arc<Admin>>) -> Json<SettingsView> {
    let (net_name, settings) = admin.store.with_state(|state| {
        let net_name = state.cluster().map(|cluster| cluster.net_name.clone()).unwrap_or_default();
        (net_name, state.settings())
    });
    Json(SettingsView {
        net_name,
        signing: Demand::of(settings.signing_required),
        encryption: Demand::of(settings.encryption_required),
        lockout_threshold: settings.lockout_threshold,
        lockout_minutes: settings.lockout_minutes,
        list_anonymously: settings.list_anonymously,
    })
}

/// Makes other settings from those that there are, until nobody else changes them in between.
pub(super) async fn set(State(admin): State<Arc<Admin>>, Json(change): Json<SettingsChange>) -> Answer<Done> {
    for _ in 0..TRIES {
        let before = admin.store.with_state(|state| state.settings());
        let command = Command::ClusterSet { settings: change.applied(&before), instead_of: Box::new(before) };
        match admin.store.propose(command).await? {
            Outcome::Rejected(Rejection::Changed) => {}
            Outcome::Rejected(rejection @ Rejection::InvalidSetting) => {
                return Err(Problem::new(StatusCode::BAD_REQUEST, rejection.to_string()));
            }
            Outcome::Rejected(rejection) => return Err(Problem::new(StatusCode::CONFLICT, rejection.to_string())),
            _ => return Ok(Json(Done { done: true })),
        }
    }
    Err(Problem::new(StatusCode::CONFLICT, Rejection::Changed.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_by_name() {
        let mut change = SettingsChange::default();
        for (name, value) in OPTION_NAMES.into_iter().zip(["offered", "Required", "5", "30", "on"]) {
            change.set(name, value).unwrap();
        }
        let settings = change.applied(&ClusterSettings::default());
        let expected = ClusterSettings {
            signing_required: false,
            encryption_required: true,
            lockout_threshold: 5,
            lockout_minutes: 30,
            list_anonymously: true,
        };
        assert_eq!(settings, expected);
        assert_eq!(SettingsChange::default().applied(&expected), expected, "what is left out stays");
        for (name, value, hint) in [
            ("signing", "on", "signing=required"),
            ("lockout-minutes", "-1", "NUMBER"),
            ("list-anonymously", "2", "=on"),
            ("x", "1", "signing, "),
        ] {
            let error = change.set(name, value).unwrap_err();
            assert!(error.contains(hint), "{error}");
        }
        // Every option has a field and every field an option.
        let fields = serde_json::to_value(&change).unwrap();
        let names: Vec<String> = OPTION_NAMES.iter().map(|name| name.replace('-', "_")).collect();
        let (mut fields, mut sorted): (Vec<&String>, Vec<&String>) = (fields.as_object().unwrap().keys().collect(), names.iter().collect());
        fields.sort();
        sorted.sort();
        assert_eq!(fields, sorted);
    }
}
