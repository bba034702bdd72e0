//! Logons to the RPC services: as slow, as seen and as counted as those over SMB.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use persistence::Store;
use persistence_model::Command;
use smb_auth::AuthError;
use smb_server::failed_logons::{Claimant, FailedLogons, Logged};
use tokio::{sync::Semaphore, time::Instant};
use witness::LogonWatch;

/// Failures that may be on their way to the records; further ones count for the delays of this node only.
const TO_RECORDS_MAX: usize = 64;

/// Watches the logons of the node's RPC services.
pub struct RpcLogons {
    store: Store,
    failed: Arc<FailedLogons>,
    to_records: Arc<Semaphore>,
}

impl RpcLogons {
    /// Which share their failures with SMB.
    #[must_use]
    pub fn new(store: Store, failed: Arc<FailedLogons>) -> Self {
        Self { store, failed, to_records: Arc::new(Semaphore::new(TO_RECORDS_MAX)) }
    }

    fn tell(&self, command: Command) {
        let Ok(permit) = Arc::clone(&self.to_records).try_acquire_owned() else { return };
        let store = self.store.clone();
        tokio::spawn(async move {
            if let Err(error) = store.propose(command).await {
                tracing::debug!(%error, "a logon is not counted for lockouts");
            }
            drop(permit);
        });
    }
}

fn claimant(user: &str, peer: Option<IpAddr>) -> Claimant {
    Claimant::new(user, peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

impl LogonWatch for RpcLogons {
    fn may_try(&self, user: &str, peer: Option<IpAddr>) -> bool {
        self.failed.may_try(&claimant(user, peer), Instant::now())
    }

    fn ended(&self, user: &str, peer: Option<IpAddr>, failure: Option<AuthError>) {
        let who = claimant(user, peer);
        let (counts, record) = self.store.with_state(|state| (state.settings().lockout_threshold > 0, state.user_by_name(user).cloned()));
        match failure {
            None => {
                self.failed.succeeded(&who, Instant::now());
                if let Some(record) = record.filter(|record| record.failures.count > 0) {
                    self.tell(Command::LogonSucceeded { name: record.name });
                }
            }
            Some(error) => {
                if let Logged::Yes(left_out) = self.failed.failed(&who, Instant::now()) {
                    let (user, address) = (&who.user, who.address);
                    tracing::warn!(?user, %address, because = %error, left_out, "logon to an RPC service refused: if this goes on, somebody may be guessing passwords");
                }
                if let Some(record) = record.filter(|record| counts && !record.is_locked_out()) {
                    self.tell(Command::LogonFailed { name: record.name });
                }
            }
        }
    }
}
