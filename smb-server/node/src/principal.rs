//! Users and groups as operators write them: names of this cluster, names that every Windows machine
//! knows, and SIDs.

use persistence_model::State;
use smb_types::Sid;

/// Accounts that exist on every server and are in no list of accounts (MS-DTYP 2.4.2.4).
fn well_known() -> [(&'static str, Sid); 8] {
    [
        ("Everyone", Sid::everyone()),
        ("Authenticated Users", Sid::authenticated_users()),
        ("Anonymous Logon", Sid::anonymous()),
        ("Network", Sid::network()),
        ("System", Sid::system()),
        ("Creator Owner", Sid::creator_owner()),
        ("Creator Group", Sid::creator_group()),
        ("Owner Rights", Sid::owner_rights()),
    ]
}

/// The SID that a name or the text of a SID stands for. `BUILTIN\`, `NT AUTHORITY\` and the cluster's own name may precede a name.
///
/// # Errors
/// Nobody is called that.
pub fn sid_of(state: &State, text: &str) -> Result<Sid, String> {
    let text = text.trim();
    if text.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("S-")) {
        return text.parse();
    }
    let unknown = || format!("there is no user or group {text:?}; `holdfast user list` and `holdfast group list` show them");
    let name = match text.split_once('\\') {
        None => text,
        Some((domain, name)) => {
            let own = state.cluster().is_some_and(|cluster| cluster.net_name.eq_ignore_ascii_case(domain));
            let is_known = own || ["BUILTIN", "NT AUTHORITY"].iter().any(|known| known.eq_ignore_ascii_case(domain));
            if is_known { name } else { return Err(unknown()) }
        }
    };
    if let Some(account) = state.account_by_name(name) {
        return Ok(account.sid().clone());
    }
    well_known().into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, sid)| sid).ok_or_else(unknown)
}

/// How a SID is shown: by name where it has one.
#[must_use]
pub fn name_of(state: &State, sid: &Sid) -> String {
    let own = || state.account_by_sid(sid).map(|account| account.name().to_owned());
    let known = || well_known().into_iter().find(|(_, known)| known == sid).map(|(name, _)| name.to_owned());
    own().or_else(known).unwrap_or_else(|| sid.to_string())
}
