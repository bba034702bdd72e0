//! Who this node is: files in the data directory that `init` and `join` write and `serve` reads.

use std::{
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use persistence::{ClusterCa, Keeper, NodeIdentity};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    admin::listen::tls::ServerCertificates,
    failure::{CANNOT_CREATE, DATA, Failure, IO, NO_INPUT},
};

const IDENTITY: &str = "identity.toml";
const AUTHORITY: &str = "authority.toml";
const NEXT_AUTHORITY: &str = "authority.next.toml";
const OLD_AUTHORITY: &str = "authority.old.toml";

/// The node's identity.
///
/// # Errors
/// The node has none yet, or the file is damaged.
pub fn load(data_dir: &Path) -> Result<NodeIdentity, Failure> {
    let path = data_dir.join(IDENTITY);
    if !path.exists() {
        let message =
            format!("{} does not exist: run `holdfast init` (new cluster) or `holdfast join` (existing one) first", path.display());
        return Err(Failure::new(NO_INPUT, message));
    }
    read(&path)
}

/// Tells whether the node belongs to a cluster already.
#[must_use]
pub fn exists(data_dir: &Path) -> bool {
    data_dir.join(IDENTITY).exists()
}

/// The cluster's authority, on nodes that hold it.
///
/// # Errors
/// The file is damaged.
pub fn load_authority(data_dir: &Path) -> Result<Option<ClusterCa>, Failure> {
    let path = data_dir.join(AUTHORITY);
    if path.exists() { read(&path).map(Some) } else { Ok(None) }
}

/// Keeps the identity.
///
/// # Errors
/// The disk.
pub fn save(data_dir: &Path, identity: &NodeIdentity) -> Result<(), Failure> {
    write(&data_dir.join(IDENTITY), identity)
}

/// Keeps the authority.
///
/// # Errors
/// The disk.
pub fn save_authority(data_dir: &Path, authority: &ClusterCa) -> Result<(), Failure> {
    write(&data_dir.join(AUTHORITY), authority)
}

/// Keeps a copy of the authority somewhere else, readable by its owner only.
///
/// # Errors
/// The disk, or the file exists.
pub fn export_authority(to: &Path, authority: &ClusterCa) -> Result<(), Failure> {
    if to.exists() {
        return Err(Failure::new(CANNOT_CREATE, format!("{} exists; name another file", to.display())));
    }
    write(to, authority)
}

/// Reads such a copy.
///
/// # Errors
/// The file is missing, or is no authority.
pub fn import_authority(from: &Path) -> Result<ClusterCa, Failure> {
    read(from)
}

/// The files of a node's data directory, for a node that runs.
pub struct Files {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Certificates of the admin port, updated with the identity.
    pub shown: Option<Arc<ServerCertificates>>,
}

/// Held while the next authority becomes the present one.
static PROMOTION: Mutex<()> = Mutex::new(());

impl Keeper for Files {
    fn save_identity(&self, identity: &NodeIdentity) -> Result<(), String> {
        save(&self.data_dir, identity).map_err(|failure| failure.message)?;
        self.shown.as_ref().map_or(Ok(()), |shown| shown.replace(identity))
    }

    fn authority(&self) -> Result<Option<ClusterCa>, String> {
        load_authority(&self.data_dir).map_err(|failure| failure.message)
    }

    fn next_authority(&self) -> Result<Option<ClusterCa>, String> {
        let path = self.data_dir.join(NEXT_AUTHORITY);
        if path.exists() { read(&path).map(Some).map_err(|failure| failure.message) } else { Ok(None) }
    }

    fn save_next_authority(&self, next: &ClusterCa) -> Result<(), String> {
        write(&self.data_dir.join(NEXT_AUTHORITY), next).map_err(|failure| failure.message)
    }

    fn promote_next_authority(&self) -> Result<(), String> {
        let path = |name: &str| self.data_dir.join(name);
        let rename = |from: &str, to: &str| {
            let renamed = std::fs::rename(path(from), path(to)).and_then(|()| std::fs::File::open(&self.data_dir)?.sync_all());
            renamed.map_err(|e| Failure::file("write", &path(to), &e).message)
        };
        // Whoever renews and the round that looks after a renewal may both come here: the second finds it done.
        let _one_at_a_time = PROMOTION.lock();
        if !path(NEXT_AUTHORITY).exists() && path(AUTHORITY).exists() {
            return Ok(());
        }
        // After a crash in between there is a next one still, and it is promoted again.
        if path(AUTHORITY).exists() {
            rename(AUTHORITY, OLD_AUTHORITY)?;
        }
        rename(NEXT_AUTHORITY, AUTHORITY)
    }
}

/// How much room is left on the disk of the data directory: free and all, in bytes.
///
/// # Errors
/// The disk does not say.
pub fn room(data_dir: &Path) -> Result<(u64, u64), Failure> {
    let stat =
        rustix::fs::statvfs(data_dir).map_err(|e| Failure::new(IO, format!("cannot look at the disk of {}: {e}", data_dir.display())))?;
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

/// Makes the data directory, readable by its owner only.
///
/// # Errors
/// The disk.
pub fn make_data_dir(data_dir: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
    made.map_err(|e| Failure::new(CANNOT_CREATE, format!("cannot make the data directory {}: {e}", data_dir.display())))
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::file("read", path, &e))?;
    toml::from_str(&text).map_err(|e| Failure::new(DATA, format!("{} is damaged: {e}", path.display())))
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), Failure> {
    let text = toml::to_string(value).map_err(|e| Failure::new(DATA, e.to_string()))?;
    write_private(path, text.as_bytes())
}

/// Writes whole or not at all, synced, readable by its owner only.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let staged = path.with_extension("new");
    let io = |e: std::io::Error| Failure::file("write", path, &e);
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged).map_err(io)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&staged, path).map_err(io)?;
    if let Some(parent) = path.parent() {
        let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        std::fs::File::open(directory).and_then(|d| d.sync_all()).map_err(io)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_and_authority_come_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap_err().code, NO_INPUT);
        let authority = ClusterCa::create().unwrap();
        let identity = authority.issue(3).unwrap();
        save(dir.path(), &identity).unwrap();
        save_authority(dir.path(), &authority).unwrap();
        let loaded = load(dir.path()).unwrap();
        assert_eq!((loaded.node_id, loaded.cluster, loaded.key_pem), (3, identity.cluster, identity.key_pem));
        assert_eq!(load_authority(dir.path()).unwrap().unwrap().key_pem, authority.key_pem);
        std::fs::write(dir.path().join(IDENTITY), "node_id = ").unwrap();
        assert_eq!(load(dir.path()).unwrap_err().code, DATA);
    }

    #[test]
    fn the_next_authority_takes_the_others_place() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files { data_dir: dir.path().to_owned(), shown: None };
        assert!(files.authority().unwrap().is_none() && files.next_authority().unwrap().is_none());
        let old = ClusterCa::create().unwrap();
        let new = old.successor().unwrap();
        save_authority(dir.path(), &old).unwrap();
        files.save_next_authority(&new).unwrap();
        assert_eq!(files.authority().unwrap().unwrap().key_pem, old.key_pem);
        files.promote_next_authority().unwrap();
        assert_eq!(files.authority().unwrap().unwrap().key_pem, new.key_pem);
        files.promote_next_authority().expect("said twice, it is done once");
        assert_eq!(files.authority().unwrap().unwrap().key_pem, new.key_pem);
        assert!(files.next_authority().unwrap().is_none());
        let copy = dir.path().join("copy");
        export_authority(&copy, &new).unwrap();
        assert_eq!(export_authority(&copy, &new).unwrap_err().code, CANNOT_CREATE, "nothing is overwritten");
        assert_eq!(import_authority(&copy).unwrap().key_pem, new.key_pem);
        assert!(room(dir.path()).unwrap().1 > 0);
    }

    #[test]
    fn a_renewed_certificate_is_kept_and_shown() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let old = ClusterCa::create().unwrap();
        let new = old.successor().unwrap();
        let shown = ServerCertificates::new(&old.issue(1).unwrap(), None).unwrap();
        let files = Files { data_dir: dir.path().to_owned(), shown: Some(Arc::clone(&shown)) };
        files.save_identity(&new.issue(1).unwrap()).unwrap();
        assert_eq!(shown.trusted().0, [new.certificate_pem]);
        let mode = std::fs::metadata(dir.path().join(IDENTITY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "others must not read it");
    }
}
