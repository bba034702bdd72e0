//! A short conversation with any server that grants persistent handles: is the client right about the wire?
//!
//! One address is enough: the connection is cut on our side, and the handle is reclaimed at the same server.

use std::net::SocketAddr;

use bytes::Bytes;
use smb_types::{LeaseKey, LeaseState};

use crate::client::file::HeldLock;
use crate::client::{ClientError, ClientIdentity, Endpoint, Mount, MountOptions, OpenPlan, PersistentFile, Timeline, random};

/// Writes, locks, cuts its own connection, reclaims, and checks that everything is as before. Returns what it saw.
pub async fn probe(server: SocketAddr, share: &str, identity: ClientIdentity) -> Result<Vec<String>, ClientError> {
    let mut seen = Vec::new();
    let timeline = Timeline::default();
    let options = MountOptions::new(vec![Endpoint { id: 1, smb: server, mapper: None }], "probe", share, identity);
    let mount = Mount::connect(options, 0, timeline.clone()).await?;
    let channel = mount.channel().await?;
    seen.push(format!("share: {:?}", channel.tree.response));
    for lease in [None, Some((LeaseKey::ZERO, LeaseState::RWH))] {
        let lease = lease.map(|(_, state)| (smb_types::Guid(random()), state));
        let path = format!("probe-{:016x}.bin", u64::from_le_bytes(random()));
        let file = PersistentFile::open(&mount, OpenPlan { lease, ..OpenPlan::read_write(&path) }).await?;
        seen.push(format!("opened {path}: persistent id {:#x}, contexts {:?}", file.persistent_id(), file.created.contexts));
        let data = Bytes::from(vec![0x5A; 65_536]);
        let before = file.write(0, data.clone()).await?;
        let lock = HeldLock { offset: 0, length: 1 << 20, exclusive: true };
        file.lock(lock).await?;
        mount.channel().await?.tree.session.connection.sever();
        let after = file.write(65_536, data.clone()).await?;
        if after.generation <= before.generation {
            return Err(ClientError::Protocol("the write went through a severed connection"));
        }
        for offset in [0, 65_536] {
            if file.read(offset, 65_536).await? != data {
                return Err(ClientError::Protocol("read back something else"));
            }
        }
        let size = file.standard_information().await?.end_of_file;
        if size != 131_072 {
            return Err(ClientError::Protocol("size is wrong"));
        }
        file.flush().await?;
        file.unlock(lock).await?;
        file.close().await?;
        let gone = PersistentFile::open(&mount, OpenPlan::deleting(&path)).await?;
        gone.close().await?;
        seen.push(format!("reclaimed with its lock{}", if lease.is_some() { " and lease" } else { "" }));
    }
    mount.channel().await?.tree.session.echo().await?;
    mount.unmount().await?;
    seen.extend(timeline.entries().iter().map(|e| e.event.to_string()));
    Ok(seen)
}
