//! An interface that is declared once, over 127.0.0.1 and over a stream of bytes: both syntaxes, contexts that are added,
//! calls that wait and learn why they end, and a server that goes away.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dcerpc_rs::interface::mgmt::{MGMT, ManagementCalls, managed};
use dcerpc_rs::ndr::NoParameters;
use dcerpc_rs::{
    CallContext, Client, ClientConfig, ClientError, ContextHandle, Fault, InterfaceSet, Interruption, Limits, SyntaxId, TransferSyntax,
    Uuid, serve,
};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

const COUNTER: SyntaxId = SyntaxId::new(Uuid::from_u128(0xC0), 1, 0);

dcerpc_rs::ndr_parameters! {
    /// A name and a number.
    pub struct Add {
        /// Whose counter.
        pub name: Option<String>,
        /// What is added.
        pub value: u64,
    }

    /// A number.
    pub struct Sum {
        /// The counter.
        pub value: u64,
        /// What it was called.
        pub name: Option<String>,
    }

    /// A handle.
    pub struct Handle {
        /// The handle.
        pub handle: ContextHandle,
    }
}

dcerpc_rs::interface! {
    syntax: COUNTER;
    /// A counter.
    server: pub CounterServer;
    /// A counter as an interface.
    stub: pub CounterStub;
    /// Calls of a counter.
    client: pub CounterCalls;
    /// Adds and tells.
    0 => add(Add) -> Sum;
    /// Waits until it is interrupted.
    1 => wait(NoParameters) -> Sum;
    /// Waits and answers its interruption itself.
    2 => wait_politely(NoParameters) -> Sum;
    /// Makes a handle.
    3 => open(NoParameters) -> Handle;
    /// True if the handle is one of this association: its own number or 0.
    4 => holds(Handle) -> Sum;
}

struct Counter {
    sum: AtomicU32,
    started: Notify,
    seen: mpsc::UnboundedSender<Interruption>,
}

/// Tells how a call that is dropped was interrupted.
struct OnDrop(CallContext, mpsc::UnboundedSender<Interruption>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        _ = self.1.send(self.0.interruption.now().unwrap_or(Interruption::Closing));
    }
}

impl CounterServer for Counter {
    async fn add(self: Arc<Self>, request: Add, context: CallContext) -> Result<Sum, Fault> {
        let value = u32::try_from(request.value).map_err(|_| Fault::OUT_OF_RESOURCES)?;
        let before = self.sum.fetch_add(value, Ordering::Relaxed);
        let name = request.name.map(|name| format!("{name} {:?}", context.transfer));
        Ok(Sum { value: u64::from(before) + request.value, name })
    }

    async fn wait(self: Arc<Self>, _: NoParameters, context: CallContext) -> Result<Sum, Fault> {
        let _guard = OnDrop(context, self.seen.clone());
        self.started.notify_one();
        std::future::pending().await
    }

    async fn wait_politely(self: Arc<Self>, _: NoParameters, context: CallContext) -> Result<Sum, Fault> {
        let mut interruption = context.interruption;
        interruption.answer_myself();
        self.started.notify_one();
        let seen = interruption.wait().await;
        // What a call has to tidy up may take a while.
        tokio::task::yield_now().await;
        _ = self.seen.send(seen);
        Ok(Sum { value: 7, name: None })
    }

    async fn open(self: Arc<Self>, _: NoParameters, context: CallContext) -> Result<Handle, Fault> {
        Ok(Handle { handle: context.association.open_handle(|| ())? })
    }

    async fn holds(self: Arc<Self>, request: Handle, context: CallContext) -> Result<Sum, Fault> {
        let known = context.association.holds(&request.handle);
        if known { Ok(Sum { value: context.association.id().into(), name: None }) } else { Err(Fault::CONTEXT_MISMATCH) }
    }
}

struct Fixture {
    address: std::net::SocketAddr,
    counter: Arc<Counter>,
    seen: mpsc::UnboundedReceiver<Interruption>,
    cancel: CancellationToken,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn start() -> Fixture {
    start_with(Limits::default()).await
}

async fn start_with(limits: Limits) -> Fixture {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cancel = CancellationToken::new();
    let (sender, seen) = mpsc::unbounded_channel();
    let counter = Arc::new(Counter { sum: AtomicU32::new(0), started: Notify::new(), seen: sender });
    let interfaces = managed(InterfaceSet::from(CounterStub(Arc::clone(&counter))));
    let server = tokio::spawn(serve(listener, interfaces, None, limits, cancel.clone()));
    Fixture { address, counter, seen, cancel, server }
}

async fn connect(fixture: &Fixture) -> CounterCalls {
    CounterCalls(Client::connect(fixture.address, COUNTER, None).await.unwrap())
}

fn named(name: &str, value: u64) -> Add {
    Add { name: Some(name.to_owned()), value }
}

#[tokio::test]
async fn client_and_server_agree_in_either_syntax() {
    let fixture = start().await;
    for (transfer, expected) in [
        (vec![TransferSyntax::Ndr20], "a Ndr20"),
        (vec![TransferSyntax::Ndr64], "a Ndr64"),
        // Of both the server takes the one that it prefers.
        (vec![TransferSyntax::Ndr20, TransferSyntax::Ndr64], "a Ndr20"),
    ] {
        let config = ClientConfig { transfer, ..ClientConfig::default() };
        let calls = CounterCalls(Client::connect_with(fixture.address, COUNTER, config).await.unwrap());
        let sum = calls.add(&named("a", 1)).await.unwrap();
        assert_eq!(sum.name.as_deref(), Some(expected));
        assert!(matches!(calls.add(&named("a", u64::MAX)).await, Err(ClientError::Fault(Fault::OUT_OF_RESOURCES))));
    }
    assert_eq!(fixture.counter.sum.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn an_interface_is_added_while_a_call_waits() {
    let mut fixture = start().await;
    let calls = connect(&fixture).await;
    let waiting = calls.wait(&NoParameters);
    fixture.counter.started.notified().await;
    let management = ManagementCalls(calls.0.alter(MGMT, None).await.unwrap());
    let ids = management.interface_ids(&NoParameters).await.unwrap().interfaces.unwrap().0;
    let uuids: Vec<Uuid> = ids.into_iter().flatten().map(|id| id.uuid).collect();
    assert_eq!(uuids, [COUNTER.uuid, MGMT.uuid]);
    assert!(matches!(calls.0.alter(SyntaxId::new(Uuid::from_u128(9), 1, 0), None).await, Err(ClientError::InterfaceRefused(1))));
    assert_eq!(calls.add(&named("b", 2)).await.unwrap().value, 2);
    // The connection lives as long as one of its clients.
    drop(calls);
    assert_eq!(management.is_listening(&NoParameters).await.unwrap().listening, 1);
    waiting.cancel();
    assert!(matches!(waiting.await, Err(ClientError::Fault(Fault::CANCELLED))));
    assert_eq!(fixture.seen.recv().await, Some(Interruption::Cancelled));
}

#[tokio::test]
async fn a_call_learns_why_it_ends() {
    let mut fixture = start().await;
    let calls = connect(&fixture).await;
    // Abandoned: its future is dropped, and knows why.
    let waiting = calls.wait(&NoParameters);
    fixture.counter.started.notified().await;
    drop(waiting);
    assert_eq!(fixture.seen.recv().await, Some(Interruption::Orphaned));
    // A call that answers itself is not dropped.
    let waiting = calls.wait_politely(&NoParameters);
    fixture.counter.started.notified().await;
    waiting.cancel();
    assert_eq!(waiting.await.unwrap().value, 7);
    assert_eq!(fixture.seen.recv().await, Some(Interruption::Cancelled));
    // The connection goes.
    let waiting = calls.wait(&NoParameters);
    fixture.counter.started.notified().await;
    drop((waiting, calls));
    assert!(fixture.seen.recv().await.is_some());
}

#[tokio::test]
async fn a_server_that_goes_away_answers_what_waits() {
    let mut fixture = start().await;
    let calls = connect(&fixture).await;
    let waiting = calls.wait(&NoParameters);
    fixture.counter.started.notified().await;
    let polite = calls.wait_politely(&NoParameters);
    fixture.counter.started.notified().await;
    fixture.cancel.cancel();
    assert!(matches!(waiting.await, Err(ClientError::Fault(Fault::SERVER_UNAVAILABLE))));
    assert_eq!(polite.await.unwrap().value, 7);
    assert_eq!(fixture.seen.recv().await, Some(Interruption::Closing));
    // It waits neither for clients that stay nor for its deadlines.
    tokio::time::timeout(Duration::from_secs(5), fixture.server).await.unwrap().unwrap().unwrap();
    assert!(matches!(calls.add(&named("c", 1)).await, Err(ClientError::Closed)));
}

/// A waiting call and an open handle are worth keeping their connection.
#[tokio::test]
async fn who_waits_or_holds_a_handle_is_not_idle() {
    let fixture = start_with(Limits { idle_timeout: Duration::from_millis(500), ..Limits::default() }).await;
    let (waiter, holder) = (connect(&fixture).await, connect(&fixture).await);
    let waiting = waiter.wait(&NoParameters);
    fixture.counter.started.notified().await;
    let opened = holder.open(&NoParameters).await.unwrap();
    // A third one, that has neither, shows that the deadline has passed for all.
    let idle = connect(&fixture).await;
    while !idle.0.is_closed() {
        tokio::task::yield_now().await;
    }
    assert!(holder.holds(&opened).await.is_ok());
    waiting.cancel();
    assert!(matches!(waiting.await, Err(ClientError::Fault(Fault::CANCELLED))));
}

#[tokio::test]
async fn handles_belong_to_their_association_group() {
    let fixture = start().await;
    let first = connect(&fixture).await;
    let group = first.0.association_group();
    let opened = first.open(&NoParameters).await.unwrap();
    let config = ClientConfig { association_group: group, ..ClientConfig::default() };
    let same_group = CounterCalls(Client::connect_with(fixture.address, COUNTER, config).await.unwrap());
    let stranger = connect(&fixture).await;
    assert_eq!(same_group.holds(&opened).await.unwrap().value, u64::from(group));
    assert!(matches!(stranger.holds(&opened).await, Err(ClientError::Fault(Fault::CONTEXT_MISMATCH))));
    // The handle outlives the connection that made it, as long as the group lives.
    drop(first);
    assert_eq!(same_group.holds(&opened).await.unwrap().value, u64::from(group));
    let unknown = ClientConfig { association_group: group + 1_000, ..ClientConfig::default() };
    assert!(matches!(Client::connect_with(fixture.address, COUNTER, unknown).await, Err(ClientError::BindRefused(_))));
}
