//! What the operator decides about a node's SMB service. The limits with their names are in `limits`.
//!
//! Shares, users, and whether sessions sign or encrypt are records, not configuration: every node is the same in them.

use std::{sync::Arc, time::Duration};

use persistence_model::Share as ShareRecord;
use smb_backend::{Backend, BackendError};

use crate::failed_logons::FailedLogons;
use crate::limits::Limits;

/// Options of one node's SMB service. `Default` is what a cluster node wants.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// NetBIOS-style name of the cluster, as told in NTLM and to srvsvc.
    pub server_name: String,
    /// Domain or workgroup name told in NTLM.
    pub domain_name: String,
    /// CA shares announce CLUSTER, so that clients look for a witness.
    pub announce_cluster: bool,
    /// Largest READ, WRITE and transaction (LARGE_MTU dialects).
    pub transfer_bytes_max: u32,
    /// Most credits a client holds on one connection.
    pub credits_max: u32,
    /// How many of everything there may be.
    pub limits: Limits,
    // MS-SMB2 3.3.2.3
    /// A connection without an authenticated session is closed after this time.
    pub unauthenticated_timeout: Duration,
    /// How long a request waits for the node to regain its right to answer before the connection is closed.
    pub lease_hold: Duration,
    /// How long one command may take in the store before the client is told to try again.
    pub propose_timeout: Duration,
    /// Who has failed to log on at this machine lately, over SMB or elsewhere.
    pub failed_logons: Arc<FailedLogons>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            server_name: "HOLDFAST".to_owned(),
            domain_name: "WORKGROUP".to_owned(),
            announce_cluster: true,
            transfer_bytes_max: 8 << 20,
            credits_max: 8192,
            limits: Limits::default(),
            unauthenticated_timeout: Duration::from_secs(45),
            lease_hold: Duration::from_secs(3),
            propose_timeout: Duration::from_secs(20),
            failed_logons: Arc::default(),
        }
    }
}

/// Makes the file system under a share.
pub trait BackendFactory: Send + Sync + 'static {
    /// Opens the backend that a share's record names. Called once for each change of the record.
    fn backend(&self, share: &ShareRecord) -> Result<Arc<dyn Backend>, BackendError>;
}

impl<F> BackendFactory for F
where
    F: Fn(&ShareRecord) -> Result<Arc<dyn Backend>, BackendError> + Send + Sync + 'static,
{
    fn backend(&self, share: &ShareRecord) -> Result<Arc<dyn Backend>, BackendError> {
        self(share)
    }
}
