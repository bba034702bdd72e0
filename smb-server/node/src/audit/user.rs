//! Names of Unix users.

/// The local user database.
const PASSWD: &str = "/etc/passwd";

/// The name of a user, or `uid:N` if the local user database does not have it.
#[must_use]
pub fn user_name(uid: u32) -> String {
    let list = std::fs::read_to_string(PASSWD).unwrap_or_default();
    name_in(&list, uid).map_or_else(|| format!("uid:{uid}"), str::to_owned)
}

fn name_in(list: &str, uid: u32) -> Option<&str> {
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let list = "root:x:0:0:root:/root:/bin/bash\nbroken\nholdfast:x:990:990::/var/lib/holdfast:/usr/sbin/nologin\n";
        assert_eq!([name_in(list, 0), name_in(list, 990), name_in(list, 99)], [Some("root"), Some("holdfast"), None]);
    }
}
