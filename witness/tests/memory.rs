//! What a client that waits costs the witness: every allocation of the server's thread is counted, those of the clients
//! are not.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
#![allow(unsafe_code, reason = "an allocator that counts has to be one")]

mod one_node;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use dcerpc_rs::client::TypedCall;
use dcerpc_rs::{AuthLevel, Limits};
use one_node::OneNode;
use smb_auth::{AcceptorConfig, Account, Credentials, NtHash};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use witness::client::Registration;
use witness::declaration::NotifyAnswer;
use witness::{NtlmInitiator, NtlmSecurity, WitnessClient, WitnessService, serve};

/// Clients that come before anything is counted: what grows by doubling has grown, and what is made once is made.
const FIRST: usize = 64;
/// Clients that are counted.
const COUNTED: usize = 64;
/// What one of them may cost. Ten thousand of them then take 44 MiB, and 20 MiB are left for what the allocator adds.
const BYTES_MAX: isize = 4_600;

struct Counting;

thread_local! {
    static IS_SERVER: Cell<bool> = const { Cell::new(false) };
}

static HELD: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: usize, sign: isize) {
    if IS_SERVER.try_with(Cell::get).unwrap_or(false) {
        HELD.fetch_add(sign * bytes.cast_signed(), Ordering::Relaxed);
    }
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps the promises that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_client_that_waits_costs_little() {
    let (sender, started) = std::sync::mpsc::channel();
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let server = std::thread::spawn(move || {
        IS_SERVER.with(|is_server| is_server.set(true));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let service = WitnessService::new(Arc::new(OneNode));
            sender.send((listener.local_addr().unwrap(), Arc::clone(&service))).unwrap();
            let account =
                |user: &str, _: &str| (user == "smbtest").then(|| Account { nt_hash: NtHash::of_password("Passw0rd!"), disabled: false });
            let security = Arc::new(NtlmSecurity::new(Arc::new(AcceptorConfig::default()), Arc::new(account)));
            serve(service, listener, security, Limits::default(), stop).await.unwrap();
        });
    });
    let (address, service) = started.recv().unwrap();
    let clients = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let each = clients.block_on(async {
        let mut all = Vec::new();
        for number in 0..FIRST {
            all.push(waiting(address, number).await);
        }
        let all_wait = |count| service.registrations().iter().filter(|registration| registration.is_waiting).count() == count;
        while !all_wait(FIRST) {
            tokio::task::yield_now().await;
        }
        let before = HELD.load(Ordering::Relaxed);
        for number in FIRST..FIRST + COUNTED {
            all.push(waiting(address, number).await);
        }
        while !all_wait(FIRST + COUNTED) {
            tokio::task::yield_now().await;
        }
        (HELD.load(Ordering::Relaxed) - before) / COUNTED.cast_signed()
    });
    cancel.cancel();
    server.join().unwrap();
    assert!((1..=BYTES_MAX).contains(&each), "a client that waits costs {each} bytes, at most {BYTES_MAX} are planned");
}

/// A client, logged on, with a call that waits.
async fn waiting(address: SocketAddr, number: usize) -> (WitnessClient, TypedCall<NotifyAnswer>) {
    let credentials = Credentials::password("smbtest", "WORKGROUP", "Passw0rd!");
    let initiator = NtlmInitiator::spnego(credentials, "CLIENT", "cifs/fs1");
    let client = WitnessClient::connect(address, initiator, AuthLevel::Integrity).await.unwrap();
    let registration = Registration {
        net_name: "fs1".into(),
        share_name: None,
        ip_address: "127.0.0.11".into(),
        client_name: format!("CLIENT-{number}"),
        ip_notification: true,
        keep_alive_s: 120,
    };
    let handle = client.register_ex(&registration).await.unwrap();
    let call = client.start_async_notify(handle);
    (client, call)
}
