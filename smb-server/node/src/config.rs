//! The configuration file of one node (TOML). Shares and users are not in it: they are records of the cluster.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use persistence::Fence;
use serde::{Deserialize, Serialize};
use smb_server::Limits;

use crate::failure::{CONFIG, Failure};

/// Shortest lease that ordinary delays of a machine do not break.
const LEASE_MS_MIN: u64 = 500;
/// Longest lease: nobody wants to wait longer for a dead host.
const LEASE_MS_MAX: u64 = 60_000;

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the node, for people and for the witness's interface list.
    pub name: String,
    /// Where log, records and identity are kept; nobody else may use it.
    pub data_dir: PathBuf,
    /// Where to listen.
    pub listen: Listen,
    /// The SMB service.
    #[serde(default)]
    pub smb: Smb,
    /// When another node may take over.
    #[serde(default)]
    pub takeover: Takeover,
    /// Kerberos for RPC; only in a build that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kerberos: Option<Kerberos>,
    /// The operator's certificate for the admin API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<AdminConfig>,
}

/// A certificate for browsers and Prometheus instead of the node's. See docs/operations/admin.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Certificate chain (PEM).
    pub certificate: PathBuf,
    /// Private key (PEM).
    pub key: PathBuf,
}

/// See docs/operations/kerberos.md.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kerberos {
    /// The keys of `cifs/NAME` for the names of the cluster.
    pub keytab: PathBuf,
}

/// Addresses and ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// SMB: the addresses that clients use. Windows wants port 445.
    pub smb: Vec<SocketAddr>,
    /// Endpoint mapper. Windows wants port 135.
    pub mapper: SocketAddr,
    /// Witness service; clients find its port through the mapper.
    pub witness: SocketAddr,
    /// The admin API (HTTPS). Keep it on an address that only operators reach.
    pub admin: SocketAddr,
    /// The other nodes.
    pub raft: SocketAddr,
}

/// The SMB service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Smb {
    /// Domain or workgroup told in NTLM.
    pub workgroup: String,
    /// Every session must sign.
    pub signing_required: bool,
    /// Every session must encrypt.
    pub encryption_required: bool,
    /// Further names under which clients mount; the cluster's own is always one.
    pub aliases: Vec<String>,
    /// How many of everything there may be at this node: docs/operations/limits.md.
    #[serde(skip_serializing_if = "is_default")]
    pub limits: Limits,
}

impl Default for Smb {
    fn default() -> Self {
        Self {
            workgroup: "WORKGROUP".to_owned(),
            signing_required: false,
            encryption_required: false,
            aliases: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// A table that says nothing is not written.
fn is_default(limits: &Limits) -> bool {
    *limits == Limits::default()
}

/// When another node may take over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Takeover {
    /// How long a node may answer clients after its last renewal, ms.
    pub lease_ms: u64,
    /// What must have happened to a silent node before.
    pub fence: FenceConfig,
}

impl Default for Takeover {
    fn default() -> Self {
        Self { lease_ms: 2000, fence: FenceConfig::None }
    }
}

/// See docs/operations/fencing.md.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "lowercase")]
pub enum FenceConfig {
    /// The lease alone.
    #[default]
    None,
    /// A command that must succeed.
    Command {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        #[serde(default)]
        args: Vec<String>,
        /// Killed after this time, ms.
        timeout_ms: u64,
    },
    /// A hardware watchdog on every node.
    Watchdog {
        /// The device.
        device: PathBuf,
        /// After which it resets the machine, ms.
        timeout_ms: u64,
    },
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Names the file, the line and what to do.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| Failure::file("read the configuration", path, &e))?;
        Self::parse(&text).map_err(|because| Failure::new(CONFIG, format!("{}: {because}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || self.name.len() > 63 {
            return Err("name must have 1 to 63 characters".to_owned());
        }
        if self.listen.smb.is_empty() {
            return Err("listen.smb must name at least one address, like \"192.0.2.1:445\"".to_owned());
        }
        let all = self.listen.smb.iter().chain([&self.listen.mapper, &self.listen.witness, &self.listen.admin, &self.listen.raft]);
        let mut seen = Vec::new();
        for address in all {
            if address.port() == 0 {
                return Err(format!("{address} under [listen] has port 0; name the port, the other nodes and clients must find it"));
            }
            if seen.contains(&address) {
                return Err(format!("{address} stands twice under [listen]; give each service its own port"));
            }
            seen.push(address);
        }
        for address in self.listen.smb.iter().chain([&self.listen.raft]) {
            if address.ip().is_unspecified() {
                return Err(format!("{address} under [listen] is no address that others can connect to; name a real one"));
            }
        }
        if !(LEASE_MS_MIN..=LEASE_MS_MAX).contains(&self.takeover.lease_ms) {
            return Err(format!("takeover.lease_ms must be {LEASE_MS_MIN} to {LEASE_MS_MAX}"));
        }
        self.smb.limits.check()
    }

    /// Writes the file, for the demo.
    ///
    /// # Errors
    /// The disk.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = toml::to_string_pretty(self).map_err(|e| Failure::new(CONFIG, e.to_string()))?;
        std::fs::write(path, text).map_err(|e| Failure::file("write", path, &e))
    }

    /// The lease.
    #[must_use]
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.takeover.lease_ms)
    }

    /// The fence as the store wants it.
    #[must_use]
    pub fn fence(&self) -> Fence {
        match &self.takeover.fence {
            FenceConfig::None => Fence::None,
            FenceConfig::Command { program, args, timeout_ms } => {
                Fence::Command { program: program.clone(), args: args.clone(), timeout: Duration::from_millis(*timeout_ms) }
            }
            FenceConfig::Watchdog { device, timeout_ms } => {
                Fence::Watchdog { device: device.clone(), timeout: Duration::from_millis(*timeout_ms) }
            }
        }
    }

    /// A node with every service on one address.
    #[must_use]
    pub fn on_address(name: String, data_dir: PathBuf, ip: IpAddr, ports: Ports) -> Self {
        let at = |port| SocketAddr::new(ip, port);
        let listen = Listen {
            smb: vec![at(ports.smb)],
            mapper: at(ports.mapper),
            witness: at(ports.witness),
            admin: at(ports.admin),
            raft: at(ports.raft),
        };
        Self { name, data_dir, listen, smb: Smb::default(), takeover: Takeover::default(), kerberos: None, admin: None }
    }
}

/// One port for each service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// SMB.
    pub smb: u16,
    /// Endpoint mapper.
    pub mapper: u16,
    /// Witness.
    pub witness: u16,
    /// The admin API.
    pub admin: u16,
    /// The other nodes.
    pub raft: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Config {
        let ports = Ports { smb: 4450, mapper: 13500, witness: 13501, admin: 8450, raft: 7450 };
        Config::on_address("node-1".to_owned(), "data".into(), [127, 0, 0, 11].into(), ports)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = toml::to_string_pretty(&good()).unwrap();
        assert_eq!(Config::parse(&text), Ok(good()));
    }

    #[test]
    fn a_certificate_of_the_operators_own_has_a_key() {
        let text = toml::to_string_pretty(&good()).unwrap();
        let config = Config::parse(&format!("{text}\n[admin]\ncertificate = \"/c\"\nkey = \"/k\"\n")).unwrap();
        assert_eq!(config.admin, Some(AdminConfig { certificate: "/c".into(), key: "/k".into() }));
        let error = Config::parse(&format!("{text}\n[admin]\ncertificate = \"/c\"\n")).unwrap_err();
        assert!(error.contains("key"), "{error}");
    }

    #[test]
    fn limits_are_read_and_checked() {
        let text = toml::to_string_pretty(&good()).unwrap();
        assert!(!text.contains("limits"), "{text}");
        let config = Config::parse(&format!("{text}\n[smb.limits]\nconnections = 20000\n")).unwrap();
        assert_eq!(config.smb.limits, Limits { connections: 20_000, ..Limits::default() });
        assert_eq!(Config::parse(&toml::to_string_pretty(&config).unwrap()), Ok(config));
        let error = Config::parse(&format!("{text}\n[smb.limits]\nconnections = 3\n")).unwrap_err();
        assert!(error.contains("smb.limits.connections must be 16 to"), "{error}");
        let error = Config::parse(&format!("{text}\n[smb.limits]\nconections = 300\n")).unwrap_err();
        assert!(error.contains("conections"), "{error}");
    }

    #[test]
    fn a_bad_line_is_named() {
        let text = toml::to_string_pretty(&good()).unwrap().replace("lease_ms", "lease_msec");
        let error = Config::parse(&text).unwrap_err();
        assert!(error.contains("lease_msec") && error.contains("line"), "{error}");
    }

    #[test]
    fn nonsense_is_refused() {
        let mut config = good();
        config.listen.witness = config.listen.mapper;
        assert!(config.check().unwrap_err().contains("twice"));
        let mut config = good();
        config.takeover.lease_ms = 5;
        assert!(config.check().unwrap_err().contains("lease_ms"));
        let mut config = good();
        config.listen.smb.clear();
        assert!(config.check().unwrap_err().contains("listen.smb"));
        let mut config = good();
        config.listen.raft.set_ip([0, 0, 0, 0].into());
        assert!(config.check().unwrap_err().contains("real one"));
    }
}
