//! A client that has mounted nothing and only listens to a witness: what it is told, when, in which order.
//!
//! It asks again when it was answered, at once or after a pause, and does not register anew by itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dcerpc_rs::{AuthLevel, ClientError, ContextHandle};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use witness::client::Registration;
use witness::{Notification, NtlmInitiator, Status, WitnessClient, WitnessError};

use super::ClientIdentity;

/// How long a witness may stay silent, s.
const KEEP_ALIVE_S: u32 = 120;

/// What to listen for.
#[derive(Clone, Debug)]
pub struct Listens {
    /// The port of the witness.
    pub witness: SocketAddr,
    /// The address that it connects from; a witness lets only so many connections in from one.
    pub from: Option<Ipv4Addr>,
    /// The cluster's name.
    pub net_name: String,
    /// The client computer's name.
    pub client: String,
    /// The address that is asked about.
    pub about: IpAddr,
    /// A share by its name.
    pub share: Option<String>,
    /// Register as version 1 does: states and moves only.
    pub is_first_version: bool,
    /// Whose logon.
    pub identity: ClientIdentity,
    /// Pause before it asks again.
    pub pause: Duration,
}

/// What was told, and how it ended.
#[derive(Debug, Default)]
struct Heard {
    told: Vec<(Instant, Notification)>,
    end: Option<String>,
}

/// A registered client.
#[derive(Debug)]
pub struct Listener {
    heard: Arc<Mutex<Heard>>,
    changed: watch::Receiver<()>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// Registers, and listens from then on.
    pub async fn register(what: &Listens) -> Result<Self, WitnessError> {
        let initiator = NtlmInitiator::spnego(what.identity.credentials(), &what.client, "");
        let client = match what.from {
            None => WitnessClient::connect(what.witness, initiator, AuthLevel::Integrity).await?,
            Some(from) => {
                let address = what.witness;
                let failed = |source| WitnessError::Rpc(ClientError::Connect { address, source });
                let socket = TcpSocket::new_v4().map_err(failed)?;
                socket.bind((from, 0).into()).map_err(failed)?;
                let stream = socket.connect(address).await.map_err(failed)?;
                WitnessClient::over(stream, initiator, AuthLevel::Integrity).await?
            }
        };
        let about = what.about.to_string();
        let handle = if what.is_first_version {
            client.register(&what.net_name, &about, &what.client).await?
        } else {
            let registration = Registration {
                net_name: what.net_name.clone(),
                share_name: what.share.clone(),
                ip_address: about,
                client_name: what.client.clone(),
                ip_notification: true,
                keep_alive_s: KEEP_ALIVE_S,
            };
            client.register_ex(&registration).await?
        };
        let (sender, changed) = watch::channel(());
        let heard = Arc::new(Mutex::new(Heard::default()));
        let task = tokio::spawn(listen((client, handle), what.pause, Arc::clone(&heard), sender));
        Ok(Self { heard, changed, task })
    }

    /// Everything so far, in its order.
    #[must_use]
    pub fn told(&self) -> Vec<Notification> {
        self.lock().told.iter().map(|(_, notification)| notification.clone()).collect()
    }

    /// When each was heard.
    #[must_use]
    pub fn times(&self) -> Vec<Instant> {
        self.lock().told.iter().map(|(at, _)| *at).collect()
    }

    /// Why it does not listen any more, if so: a status of the witness, or a lost connection.
    #[must_use]
    pub fn end(&self) -> Option<String> {
        self.lock().end.clone()
    }

    /// Waits until so much was told; false when it ended, or the time was over, before.
    pub async fn wait(&self, count: usize, limit: Duration) -> bool {
        self.wait_for(limit, |heard| heard.told.len() >= count || heard.end.is_some()).await && self.lock().told.len() >= count
    }

    /// Waits until it has ended; false when the time was over before.
    pub async fn wait_end(&self, limit: Duration) -> bool {
        self.wait_for(limit, |heard| heard.end.is_some()).await
    }

    async fn wait_for(&self, limit: Duration, is_enough: impl Fn(&Heard) -> bool) -> bool {
        let mut changed = self.changed.clone();
        let waiting = async {
            loop {
                changed.mark_unchanged();
                if is_enough(&self.lock()) {
                    return;
                }
                // The sender goes after the last change.
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, waiting).await.is_ok() && is_enough(&self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn listen((client, handle): (WitnessClient, ContextHandle), pause: Duration, heard: Arc<Mutex<Heard>>, changed: watch::Sender<()>) {
    loop {
        let answer = client.async_notify(handle).await;
        let at = Instant::now();
        let is_over = {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            match answer {
                Ok(notification) => heard.told.push((at, notification)),
                Err(WitnessError::Status(Status::TIMEOUT)) => continue,
                Err(error) => heard.end = Some(error.to_string()),
            }
            heard.end.is_some()
        };
        changed.send_replace(());
        if is_over {
            return;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}
