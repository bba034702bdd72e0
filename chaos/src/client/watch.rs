//! The witness, from the client's side: another node is asked to say when ours is gone.
//!
//! Knows nothing of handles: it severs the connection, and the mount does the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dcerpc_rs::AuthLevel;
use witness::client::Registration;
use witness::{Notification, NtlmInitiator, ResourceState, WitnessClient, WitnessError};

use super::connection::Connection;
use super::mount::MountOptions;
use super::timeline::{Event, Timeline};

/// How long to wait before another witness is tried.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How long one witness call other than AsyncNotify may take.
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// InterfaceInfo.State "available".
const AVAILABLE: u16 = 1;

/// What the witness of one connection needs to know.
pub(super) struct Watch {
    pub(super) options: Arc<MountOptions>,
    /// Index of the node that serves us.
    pub(super) node: usize,
    pub(super) connection: Connection,
    /// Where the mount should go next: an index, or anything else for no wish.
    pub(super) wish: Arc<AtomicUsize>,
    pub(super) timeline: Timeline,
}

impl Watch {
    /// Runs as long as the connection does.
    pub(super) async fn run(self) {
        tokio::select! {
            () = self.watch() => {}
            () = self.connection.closed() => {}
        }
    }

    async fn watch(&self) {
        let mut tried = 0;
        loop {
            match self.choose(tried).await {
                Some(witness) => match self.listen(witness).await {
                    Ok(()) => return,
                    Err(error) => tracing::debug!(%error, witness, "witness failed; another is tried"),
                },
                None => tracing::debug!("no witness to ask"),
            }
            tried += 1;
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    fn initiator(&self) -> NtlmInitiator {
        NtlmInitiator::spnego(self.options.identity.credentials(), "CHAOS", "")
    }

    async fn client(&self, node: usize) -> Option<WitnessClient> {
        let mapper = self.options.nodes.get(node)?.mapper?;
        let made = WitnessClient::connect_through_mapper(mapper, self.initiator(), AuthLevel::Integrity);
        match tokio::time::timeout(CALL_LIMIT, made).await {
            Ok(Ok(client)) => Some(client),
            Ok(Err(error)) => {
                tracing::debug!(%error, node, "no witness there");
                None
            }
            Err(_) => None,
        }
    }

    // MS-SWN 3.2.4.1: the list comes from the node that serves us; a witness is one that the list calls available and fit for it.
    async fn choose(&self, tried: usize) -> Option<usize> {
        let own = self.client(self.node).await?;
        let list = tokio::time::timeout(CALL_LIMIT, own.interface_list()).await.ok()?.ok()?;
        let fit: Vec<usize> = list
            .iter()
            .filter(|i| i.is_witness && i.state == AVAILABLE)
            .filter_map(|i| {
                let ip = i.ipv4.map(std::net::IpAddr::V4).or(i.ipv6.map(std::net::IpAddr::V6))?;
                self.options.nodes.iter().position(|n| n.smb.ip() == ip)
            })
            .filter(|node| *node != self.node)
            .collect();
        fit.get(tried % fit.len().max(1)).copied()
    }

    /// Registers and waits; returns when there is nothing more to wait for.
    async fn listen(&self, witness: usize) -> Result<(), WitnessError> {
        let Some(client) = self.client(witness).await else { return Err(closed()) };
        let (Some(own), Some(watcher)) = (self.options.nodes.get(self.node), self.options.nodes.get(witness)) else {
            return Err(closed());
        };
        let registration = Registration {
            net_name: self.options.net_name.clone(),
            share_name: None,
            ip_address: own.smb.ip().to_string(),
            client_name: "CHAOS".to_owned(),
            ip_notification: false,
            keep_alive_s: 120,
        };
        let handle = client.register_ex(&registration).await?;
        self.timeline.note(Event::WitnessRegistered { at: watcher.id });
        loop {
            match client.async_notify(handle).await {
                Ok(Notification::ResourceChange(changes)) => {
                    let gone = |c: &witness::ResourceChange| {
                        c.state == ResourceState::Unavailable
                            && (c.name == registration.ip_address || c.name.eq_ignore_ascii_case(&registration.net_name))
                    };
                    if changes.iter().any(gone) {
                        self.timeline.note(Event::WitnessNotice { node: own.id, from: watcher.id });
                        // The witness lives: nobody is a better choice.
                        self.wish.store(witness, Ordering::Relaxed);
                        self.connection.sever();
                        return Ok(());
                    }
                }
                Ok(Notification::ClientMove(list) | Notification::ShareMove(list)) => {
                    let to = list.iter().find_map(|a| self.options.nodes.iter().position(|n| n.smb.ip() == a.ip && a.is_online));
                    if let Some(to) = to.filter(|to| *to != self.node) {
                        self.wish.store(to, Ordering::Relaxed);
                        self.connection.sever();
                        return Ok(());
                    }
                }
                Ok(Notification::IpChange(_)) => {}
                Err(WitnessError::Status(status)) if status == witness::Status::TIMEOUT => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn closed() -> WitnessError {
    WitnessError::Rpc(dcerpc_rs::ClientError::Closed)
}
