//! Serves a directory from one process with records in memory only: for trying clients without a cluster.
//!
//! `cargo run -p smb-server --example local -- /some/dir 127.0.0.1:4455 [user password] [unsigned|encryption]`

use std::{net::SocketAddr, sync::Arc};

use persistence_model::{ClusterSettings, Command, Share, ShareSettings};
use smb_auth::NtHash;
use smb_backend::{Backend, BackendError, PosixBackend};
use smb_server::{LocalStore, Server, ServerConfig, SystemClock, events, listen};
use smb_types::Guid;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().expect("usage: local DIRECTORY ADDRESS [USER PASSWORD] [unsigned|encryption]");
    let address: SocketAddr = arguments.next().expect("an address to listen on").parse().expect("an address like 127.0.0.1:4455");
    let user = arguments.next().unwrap_or_else(|| "alice".to_owned());
    let password = arguments.next().unwrap_or_else(|| "secret".to_owned());
    let extra = arguments.next().unwrap_or_default();
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).with_writer(std::io::stderr).init();

    let guid = Guid::from_fields(0x686f_6c64, 0x6661, 0x7374, *b"examples");
    let store = Arc::new(LocalStore::new("HOLDFAST", guid));
    for (name, ca, encrypt) in [("data", true, false), ("plain", false, false), ("sealed", true, true)] {
        let settings = ShareSettings {
            path: directory.clone(),
            comment: String::new(),
            ca,
            scaleout: false,
            encrypt,
            ca_timeout_ms: 0,
            ..ShareSettings::default()
        };
        store.apply(&Command::ShareAdd { name: name.to_owned(), settings });
    }
    store.apply(&Command::UserAdd { name: user, nt_hash: *NtHash::of_password(&password).expose(), sid: None, unix: None });

    let settings =
        ClusterSettings { signing_required: extra != "unsigned", encryption_required: extra == "encryption", ..ClusterSettings::default() };
    store.apply(&Command::ClusterSet { settings, instead_of: Box::default() });
    let backends = |share: &Share| -> Result<Arc<dyn Backend>, BackendError> {
        Ok(Arc::new(PosixBackend::open_root(std::path::Path::new(&share.settings.path))?))
    };
    let server = Server::new(ServerConfig::default(), guid, store.clone(), Arc::new(SystemClock), Arc::new(backends));
    let stop = CancellationToken::new();
    tokio::spawn(events::run(Arc::clone(&server), stop.clone()));
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            store.scavenge();
        }
    });
    let listener = tokio::net::TcpListener::bind(address).await.expect("the address is free");
    eprintln!("listening on {}", listener.local_addr().expect("a bound socket has an address"));
    let watch = stop.clone();
    tokio::spawn(async move {
        // Without the handler the process is simply killed.
        let _ = tokio::signal::ctrl_c().await;
        watch.cancel();
    });
    listen(server, listener, stop).await;
}
