//! Kerberos where this build has it (feature `krb5`). A configuration that asks for it elsewhere is refused.

use std::sync::Arc;

use dcerpc_rs::SecurityProvider;
use witness::NtlmSecurity;

use crate::{
    config::Config,
    failure::{CONFIG, Failure},
};

#[cfg(feature = "krb5")]
pub use witness::kerberos::Keytab;

/// No keytab: this build has no Kerberos.
#[cfg(not(feature = "krb5"))]
#[derive(Clone)]
pub enum Keytab {}

/// The keytab that the configuration names.
///
/// # Errors
/// It cannot be read, holds no key, or this build has no Kerberos.
pub fn keytab(config: &Config) -> Result<Option<Keytab>, Failure> {
    let Some(kerberos) = &config.kerberos else { return Ok(None) };
    #[cfg(feature = "krb5")]
    return match Keytab::open(&kerberos.keytab) {
        Ok(keytab) => Ok(Some(keytab)),
        Err(error) => {
            let path = kerberos.keytab.display();
            Err(Failure::new(CONFIG, format!("kerberos.keytab = {path}: {error}; put the keys of cifs/NAME into it, or name another file")))
        }
    };
    #[cfg(not(feature = "krb5"))]
    Err(Failure::new(
        CONFIG,
        format!(
            "kerberos.keytab = {}: this program was built without Kerberos; build it with --features krb5, or take [kerberos] out",
            kerberos.keytab.display()
        ),
    ))
}

/// Who checks RPC binds: Kerberos first where there is a keytab.
pub fn with_keytab(keytab: Option<&Keytab>, ntlm: Arc<NtlmSecurity>) -> Arc<dyn SecurityProvider> {
    match keytab {
        None => ntlm,
        #[cfg(feature = "krb5")]
        Some(keytab) => Arc::new(witness::KerberosSecurity::new(keytab.clone(), ntlm)),
        #[cfg(not(feature = "krb5"))]
        Some(keytab) => match *keytab {},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keytab_that_cannot_be_used_is_refused_by_name() {
        let text = "name = \"n\"\ndata_dir = \"d\"\n[listen]\nsmb = [\"127.0.0.1:445\"]\nmapper = \"127.0.0.1:135\"\n\
                    witness = \"127.0.0.1:1\"\nadmin = \"127.0.0.1:2\"\nraft = \"127.0.0.1:3\"\n";
        let config: Config = toml::from_str(text).unwrap();
        assert!(matches!(keytab(&config), Ok(None)));
        let config: Config = toml::from_str(&format!("{text}[kerberos]\nkeytab = \"/nowhere/a.keytab\"\n")).unwrap();
        let refused = keytab(&config).err().unwrap().to_string();
        assert!(refused.contains("/nowhere/a.keytab") && refused.contains("kerberos"), "{refused}");
    }
}
