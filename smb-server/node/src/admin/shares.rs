//! Shares: what they are, and what they allow.

use std::{path::Path, sync::Arc};

use axum::{
    Json,
    extract::{Query, State},
    http::StatusCode,
};
use persistence_model::{Command, Network, NodeId, Outcome, Rejection, Share, ShareSettings, State as Records, UnixUser};
use serde::{Deserialize, Serialize};
use smb_server::access::share_acl::{ShareAcl, ShareEntry, ShareRights};

use super::{
    Admin, Problem,
    change::{Answer, Done, Named, carry_out},
};
use crate::principal::{name_of, sid_of};

/// How often a change is made anew because somebody else changed the same share.
const TRIES: usize = 8;

/// One share.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ShareView {
    /// Name.
    pub name: String,
    /// Directory.
    pub path: String,
    /// Comment.
    #[serde(default)]
    pub comment: String,
    /// Continuously available.
    #[serde(default)]
    pub ca: bool,
    /// Scale-out.
    #[serde(default)]
    pub scaleout: bool,
    /// Encrypted.
    #[serde(default)]
    pub encrypt: bool,
    /// One node owns it.
    #[serde(default)]
    pub asymmetric: bool,
    /// That node. To add a share without naming one lets the cluster choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u64>,
    /// Nothing is changed through it.
    #[serde(default)]
    pub read_only: bool,
    /// Users and groups that may connect; empty: all.
    #[serde(default)]
    pub valid_users: Vec<String>,
    /// Networks from which clients may connect; empty: all.
    #[serde(default)]
    pub hosts_allow: Vec<String>,
    /// Listings leave out what the client may not read.
    #[serde(default)]
    pub access_based_enumeration: bool,
    /// Files belong on disk to the user who makes them.
    #[serde(default)]
    pub map: bool,
    /// To whom the other files belong on disk: UID or UID:GID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_user: Option<String>,
    /// Who may do how much through it. Not read when a share is added.
    #[serde(default)]
    pub acl: Vec<EntryView>,
    /// Where the answering node keeps the descriptors of its files: protected (only root can write
    /// them), unprotected (the owner of a file on disk can) or unsupported. Not read when a share is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptors: Option<String>,
}

/// One entry of a share's access list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryView {
    /// For whom, by name where there is one.
    pub who: String,
    /// full, change, read, or a mask.
    pub rights: String,
    /// It denies them; else it allows them.
    #[serde(default)]
    pub denies: bool,
}

/// Other options of a share; what is left out stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShareOptions {
    /// Comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Continuously available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<bool>,
    /// Scale-out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaleout: Option<bool>,
    /// Encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypt: Option<bool>,
    /// Nothing is changed through it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// Users and groups that may connect; empty: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_users: Option<Vec<String>>,
    /// Networks from which clients may connect; empty: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts_allow: Option<Vec<String>>,
    /// Listings leave out what the client may not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_based_enumeration: Option<bool>,
    /// Files belong on disk to the user who makes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map: Option<bool>,
    /// To whom the other files belong on disk: UID, UID:GID, or the name of a user that has a UID; empty: to the daemon's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_user: Option<String>,
}

/// Names of the options, as `share set` knows them.
pub const OPTION_NAMES: [&str; 10] =
    ["comment", "ca", "scaleout", "encrypt", "read-only", "valid-users", "hosts-allow", "access-based-enumeration", "map", "force-user"];

impl ShareOptions {
    /// Sets one option by its name. Lists are separated by commas.
    ///
    /// # Errors
    /// There is no such option, or it is not said like that.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let switch = || match value.to_ascii_lowercase().as_str() {
            "on" | "yes" | "true" => Ok(Some(true)),
            "off" | "no" | "false" => Ok(Some(false)),
            _ => Err(format!("{name}={value}: write {name}=on or {name}=off")),
        };
        let list = || Some(value.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect());
        match name {
            "comment" => self.comment = Some(value.to_owned()),
            "ca" => self.ca = switch()?,
            "scaleout" => self.scaleout = switch()?,
            "encrypt" => self.encrypt = switch()?,
            "read-only" => self.read_only = switch()?,
            "valid-users" => self.valid_users = list(),
            "hosts-allow" => self.hosts_allow = list(),
            "access-based-enumeration" => self.access_based_enumeration = switch()?,
            "map" => self.map = switch()?,
            "force-user" => self.force_user = Some(value.trim().to_owned()),
            "path" => return Err("the directory of a share cannot change under open files: remove the share and add another".to_owned()),
            _ => return Err(format!("there is no option {name:?}; there are {}", OPTION_NAMES.join(", "))),
        }
        Ok(())
    }

    /// The settings with these options.
    fn applied(&self, records: &Records, before: &ShareSettings) -> Result<ShareSettings, String> {
        let mut settings = before.clone();
        let switches = [
            (self.ca, &mut settings.ca),
            (self.scaleout, &mut settings.scaleout),
            (self.encrypt, &mut settings.encrypt),
            (self.read_only, &mut settings.read_only),
            (self.access_based_enumeration, &mut settings.access_based_enumeration),
            (self.map, &mut settings.map),
        ];
        for (chosen, setting) in switches {
            *setting = chosen.unwrap_or(*setting);
        }
        if let Some(comment) = &self.comment {
            settings.comment.clone_from(comment);
        }
        if let Some(users) = &self.valid_users {
            settings.valid_users = users.iter().map(|user| sid_of(records, user)).collect::<Result<_, _>>()?;
        }
        if let Some(networks) = &self.hosts_allow {
            settings.hosts_allow = networks.iter().map(|network| network.parse()).collect::<Result<Vec<Network>, _>>()?;
        }
        if let Some(user) = &self.force_user {
            settings.force_user = if user.is_empty() { None } else { Some(on_disk(records, user)?) };
        }
        Ok(settings)
    }
}

/// A user on disk: UID, UID:GID, or a user of the cluster that has a UID.
fn on_disk(records: &Records, text: &str) -> Result<UnixUser, String> {
    if let Some(user) = records.user_by_name(text) {
        return user.unix.ok_or_else(|| format!("{text} is nobody on disk: `holdfast user map {text} --uid UID` changes that"));
    }
    let bad = || format!("{text:?} is neither UID, UID:GID, nor a user of the cluster");
    let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
    let gid = gid.map(str::parse).transpose().map_err(|_| bad())?;
    Ok(UnixUser { uid: uid.parse().map_err(|_| bad())?, gid })
}

/// Other options of a share.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareSet {
    /// The share.
    pub name: String,
    /// The options.
    pub options: ShareOptions,
}

/// A change of a share's access list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AclChange {
    /// The share.
    pub name: String,
    /// What happens to the list.
    pub change: AclStep,
}

/// What happens to an access list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AclStep {
    /// An entry, in the place of one of the same kind for the same account.
    Put(EntryView),
    /// The entries of an account go.
    Remove {
        /// Whose.
        who: String,
    },
    /// Everybody may do what the files allow.
    Reset,
}

impl AclStep {
    fn applied(&self, records: &Records, before: &ShareSettings) -> Result<ShareSettings, String> {
        let stored = ShareAcl::decode(before.security.as_deref());
        let mut acl = match (stored, self) {
            (_, Self::Reset) => ShareAcl::default(),
            (Ok(acl), _) => acl,
            (Err(error), _) => return Err(format!("the share's list makes no sense ({error}): `share acl reset` makes a new one")),
        };
        match self {
            Self::Put(entry) => {
                let rights: ShareRights = entry.rights.parse()?;
                acl.put(&ShareEntry { sid: sid_of(records, &entry.who)?, rights, denies: entry.denies });
            }
            Self::Remove { who } => {
                if !acl.take(&sid_of(records, who)?) {
                    return Err(format!("the list has no entry for {who}"));
                }
            }
            Self::Reset => {}
        }
        Ok(ShareSettings { security: acl.encode(), ..before.clone() })
    }
}

fn view(admin: &Admin, records: &Records, share: &Share) -> ShareView {
    let Share { id, name, settings, owner } = share;
    let acl = ShareAcl::decode(settings.security.as_deref()).map(|acl| acl.entries()).unwrap_or_default();
    let entry = |entry: ShareEntry| EntryView { who: name_of(records, &entry.sid), rights: entry.rights.to_string(), denies: entry.denies };
    let served = admin.current.read().as_ref().and_then(|server| server.share_by_id(*id));
    let of_unix = |unix: UnixUser| unix.gid.map_or_else(|| unix.uid.to_string(), |gid| format!("{}:{gid}", unix.uid));
    ShareView {
        name: name.clone(),
        path: settings.path.clone(),
        comment: settings.comment.clone(),
        ca: settings.ca,
        scaleout: settings.scaleout,
        encrypt: settings.encrypt,
        asymmetric: owner.is_some(),
        owner: owner.map(|owner| owner.0),
        read_only: settings.read_only,
        valid_users: settings.valid_users.iter().map(|sid| name_of(records, sid)).collect(),
        hosts_allow: settings.hosts_allow.iter().map(Network::to_string).collect(),
        access_based_enumeration: settings.access_based_enumeration,
        map: settings.map,
        force_user: settings.force_user.map(of_unix),
        acl: acl.into_iter().map(entry).collect(),
        descriptors: served.and_then(|share| share.descriptor_store()).map(|store| store.to_string()),
    }
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Vec<ShareView>> {
    Json(admin.store.with_state(|state| state.shares().map(|share| view(&admin, state, share)).collect()))
}

pub(super) async fn add(State(admin): State<Arc<Admin>>, Json(share): Json<ShareView>) -> Answer<Done> {
    let path = Path::new(&share.path);
    if !path.is_absolute() || !path.is_dir() {
        let error =
            format!("{} is not a directory of this node; make it on every node first, and name it by its absolute path", share.path);
        return Err(bad(error));
    }
    if share.name.eq_ignore_ascii_case("IPC$") {
        return Err(bad("IPC$ is the server's own share"));
    }
    let options = ShareOptions {
        comment: Some(share.comment),
        ca: Some(share.ca),
        scaleout: Some(share.scaleout),
        encrypt: Some(share.encrypt),
        read_only: Some(share.read_only),
        valid_users: Some(share.valid_users),
        hosts_allow: Some(share.hosts_allow),
        access_based_enumeration: Some(share.access_based_enumeration),
        map: Some(share.map),
        force_user: share.force_user,
    };
    let plain = ShareSettings { path: share.path, ..ShareSettings::default() };
    let settings = admin.store.with_state(|state| options.applied(state, &plain)).map_err(bad)?;
    if !share.asymmetric && share.owner.is_none() {
        return carry_out(&admin, Command::ShareAdd { name: share.name, settings }).await;
    }
    check_owned(&settings)?;
    if let Some(owner) = share.owner {
        super::witness::destinations(&admin, owner)?;
    }
    carry_out(&admin, Command::AsymmetricShareAdd { name: share.name, settings, owner: share.owner.map(NodeId) }).await
}

// MS-SMB2 3.3.5.7
// Clients look for the owner only of shares that are scale-out, and hear of its change only if they are continuously available.
fn check_owned(settings: &ShareSettings) -> Result<(), Problem> {
    if settings.ca && settings.scaleout { Ok(()) } else { Err(bad("a share that one node owns must be ca and scaleout")) }
}

pub(super) async fn remove(State(admin): State<Arc<Admin>>, Json(share): Json<Named>) -> Answer<Done> {
    let id = admin.store.with_state(|state| state.share_by_name(&share.name).map(|share| share.id));
    carry_out(&admin, Command::ShareRemove { share: id.ok_or_else(|| no_such_share(&share.name))? }).await
}

pub(super) async fn set(State(admin): State<Arc<Admin>>, Json(request): Json<ShareSet>) -> Answer<Done> {
    change(&admin, &request.name, |records, before| request.options.applied(records, before)).await
}

pub(super) async fn acl(State(admin): State<Arc<Admin>>, Query(share): Query<Named>) -> Answer<Vec<EntryView>> {
    let found = admin.store.with_state(|state| state.share_by_name(&share.name).map(|share| view(&admin, state, share).acl));
    Ok(Json(found.ok_or_else(|| no_such_share(&share.name))?))
}

pub(super) async fn change_acl(State(admin): State<Arc<Admin>>, Json(request): Json<AclChange>) -> Answer<Done> {
    change(&admin, &request.name, |records, before| request.change.applied(records, before)).await
}

/// Makes other settings from what a share has, until nobody else changes it in between.
async fn change(admin: &Admin, name: &str, applied: impl Fn(&Records, &ShareSettings) -> Result<ShareSettings, String>) -> Answer<Done> {
    for _ in 0..TRIES {
        let (share, is_owned, before, settings) = admin.store.with_state(|state| {
            let share = state.share_by_name(name).ok_or_else(|| no_such_share(name))?;
            let settings = applied(state, &share.settings).map_err(bad)?;
            Ok::<_, Problem>((share.id, share.owner.is_some(), share.settings.clone(), settings))
        })?;
        if is_owned {
            check_owned(&settings)?;
        }
        let command = Command::ShareChange { share, settings, instead_of: Box::new(before) };
        match admin.store.propose(command).await? {
            Outcome::Rejected(Rejection::Changed) => {}
            Outcome::Rejected(rejection) => return Err(Problem::new(StatusCode::CONFLICT, rejection.to_string())),
            _ => return Ok(Json(Done { done: true })),
        }
    }
    Err(Problem::new(StatusCode::CONFLICT, Rejection::Changed.to_string()))
}

fn bad(error: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, error)
}

fn no_such_share(name: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no share {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_by_name() {
        let mut options = ShareOptions::default();
        for name in OPTION_NAMES {
            let value = match name {
                "hosts-allow" => "192.0.2.0/24, 2001:db8::/32",
                "valid-users" | "force-user" | "comment" => "ann",
                _ => "on",
            };
            options.set(name, value).unwrap();
        }
        assert_eq!(options.hosts_allow, Some(vec!["192.0.2.0/24".to_owned(), "2001:db8::/32".to_owned()]));
        assert_eq!((options.map, options.read_only), (Some(true), Some(true)));
        options.set("valid-users", "").unwrap();
        assert_eq!(options.valid_users, Some(Vec::new()), "an empty list lets everybody in");
        for (name, value, hint) in [("map", "maybe", "map=on"), ("path", "/x", "cannot change"), ("colour", "red", "read-only")] {
            let error = options.set(name, value).unwrap_err();
            assert!(error.contains(hint), "{error}");
        }
        // Every option has a field and every field an option.
        let fields = serde_json::to_value(&options).unwrap();
        let names: Vec<String> = OPTION_NAMES.iter().map(|name| name.replace('-', "_")).collect();
        let mut fields: Vec<&String> = fields.as_object().unwrap().keys().collect();
        let mut sorted: Vec<&String> = names.iter().collect();
        fields.sort();
        sorted.sort();
        assert_eq!(fields, sorted);
    }
}
