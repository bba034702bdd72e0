//! Server and client against each other over 127.0.0.1, and pipes without sockets. No security here; the packages'
//! own crates test that.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dcerpc_rs::epm::{EPMAPPER, Endpoint, EndpointMapper, Place, resolve};
use dcerpc_rs::interface::srvsvc::{SRVSVC, ServerIdentity, ShareInfo, ShareProvider, Srvsvc};
use dcerpc_rs::ndr::NdrWriter;
use dcerpc_rs::pdu::{Bind, ContextElement, FaultBody, Frame, PacketType, Request, encode, flags};
use dcerpc_rs::pipe::PipeConfig;
use dcerpc_rs::syntax::NDR20;
use dcerpc_rs::{
    CallContext, CallFuture, Client, ClientError, EndpointMap, Fault, Identity, Interface, InterfaceSet, Limits, PipeAssociation, SyntaxId,
    TransferSyntax, Uuid, serve,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const ECHO: SyntaxId = SyntaxId::new(Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888), 1, 0);

/// 0 echoes; 1 waits for a signal; 2 makes a context handle; 3 panics.
#[derive(Default)]
struct Echo {
    started: Arc<Notify>,
    signal: Arc<Notify>,
    dropped: Arc<Notify>,
    rundowns: Arc<AtomicUsize>,
    ran_down: Arc<Notify>,
}

struct OnDrop(Arc<Notify>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Interface for Echo {
    fn syntax(&self) -> SyntaxId {
        ECHO
    }

    fn call(&self, opnum: u16, stub: Vec<u8>, context: CallContext) -> CallFuture {
        let (started, signal, dropped) = (Arc::clone(&self.started), Arc::clone(&self.signal), Arc::clone(&self.dropped));
        let (rundowns, ran_down) = (Arc::clone(&self.rundowns), Arc::clone(&self.ran_down));
        Box::pin(async move {
            match opnum {
                0 => Ok(stub),
                1 => {
                    let _guard = OnDrop(dropped);
                    started.notify_one();
                    signal.notified().await;
                    Ok(stub)
                }
                2 => {
                    let rundown = move || {
                        rundowns.fetch_add(1, Ordering::SeqCst);
                        ran_down.notify_one();
                    };
                    let handle = context.association.open_handle(rundown)?;
                    let mut out = NdrWriter::new(context.transfer);
                    out.context_handle(handle);
                    Ok(out.finish())
                }
                3 => panic!("a call that panics"),
                _ => Err(Fault::OPNUM_OUT_OF_RANGE),
            }
        })
    }
}

async fn start(interfaces: InterfaceSet, limits: Limits) -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    let task = tokio::spawn(async move { serve(listener, interfaces, None, limits, token).await.unwrap() });
    (address, cancel, task)
}

#[tokio::test]
async fn calls_run_beside_each_other_and_can_be_cancelled() {
    let echo = Arc::new(Echo::default());
    let (address, cancel, server) = start(InterfaceSet::new().with(echo.clone()), Limits::default()).await;
    let client = Client::connect(address, ECHO, None).await.unwrap();
    let pending = client.start(1, vec![9]);
    echo.started.notified().await;
    let long: Vec<u8> = (0..100_000u32).map(|value| value.to_le_bytes()[1]).collect();
    assert_eq!(client.call(0, long.clone()).await.unwrap(), long);
    pending.cancel();
    assert!(matches!(pending.wait().await, Err(ClientError::Fault(Fault::CANCELLED))));
    echo.dropped.notified().await;
    // An orphaned call is dropped too, and the connection goes on.
    drop(client.start(1, vec![]));
    echo.dropped.notified().await;
    let pending = client.start(1, vec![7]);
    echo.signal.notify_one();
    assert_eq!(pending.wait().await.unwrap(), [7]);
    assert!(matches!(client.call(77, vec![]).await, Err(ClientError::Fault(Fault::OPNUM_OUT_OF_RANGE))));
    cancel.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn handles_run_down_when_the_connection_goes() {
    let echo = Arc::new(Echo::default());
    let (address, _cancel, _server) = start(InterfaceSet::new().with(echo.clone()), Limits::default()).await;
    let client = Client::connect(address, ECHO, None).await.unwrap();
    client.call(2, vec![]).await.unwrap();
    let _pending = client.start(1, vec![]);
    assert_eq!(echo.rundowns.load(Ordering::SeqCst), 0);
    drop(_pending);
    drop(client);
    echo.ran_down.notified().await;
    assert_eq!(echo.rundowns.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_call_that_panics_ends_its_connection_only() {
    let (address, _cancel, _server) = start(InterfaceSet::from(Echo::default()), Limits::default()).await;
    let bystander = Client::connect(address, ECHO, None).await.unwrap();
    let client = Client::connect(address, ECHO, None).await.unwrap();
    assert!(matches!(client.call(3, vec![]).await, Err(ClientError::Closed)));
    assert_eq!(bystander.call(0, vec![1]).await.unwrap(), [1]);
}

#[tokio::test]
async fn the_mapper_tells_the_port() {
    let map = EndpointMap::new();
    map.insert(Endpoint { interface: ECHO, place: Place::Port(4711), annotation: "echo".into() });
    let (address, _cancel, _server) = start(InterfaceSet::from(EndpointMapper::new(map)), Limits::default()).await;
    assert_eq!(resolve(address, ECHO).await.unwrap().port(), 4711);
    assert!(matches!(resolve(address, SRVSVC).await, Err(ClientError::NotRegistered)));
    assert!(matches!(Client::connect(address, ECHO, None).await, Err(ClientError::InterfaceRefused(1))));
    Client::connect(address, EPMAPPER, None).await.unwrap();
}

#[tokio::test]
async fn garbage_and_silence_do_not_keep_a_connection() {
    let limits = Limits { half_open_max: 4, bind_timeout: Duration::from_millis(200), ..Limits::default() };
    let (address, _cancel, _server) = start(InterfaceSet::from(Echo::default()), limits).await;
    // Random bytes: closed at once.
    let mut garbage = TcpStream::connect(address).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert!(matches!(garbage.read(&mut [0; 64]).await, Ok(0) | Err(_)));
    // More half-open connections than allowed: the oldest goes first; the others at their deadline.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    for mut stream in silent {
        assert!(matches!(stream.read(&mut [0; 64]).await, Ok(0) | Err(_)));
    }
    // And a client that behaves is served.
    let client = Client::connect(address, ECHO, None).await.unwrap();
    assert_eq!(client.call(0, vec![5]).await.unwrap(), [5]);
}

struct OneShare;

impl ShareProvider for OneShare {
    fn server(&self) -> ServerIdentity {
        ServerIdentity { name: "FS1".into(), domain: "WORKGROUP".into(), comment: String::new(), version: (10, 0) }
    }

    fn shares(&self, caller: Option<&Identity>) -> Vec<ShareInfo> {
        assert_eq!(caller.unwrap().user, "alice");
        vec![ShareInfo { name: "share".into(), ..ShareInfo::default() }]
    }
}

#[tokio::test]
async fn a_pipe_takes_bytes_and_gives_messages() {
    let interfaces = InterfaceSet::new().with(Arc::new(Srvsvc::new(Arc::new(OneShare))));
    let mut config = PipeConfig::new("srvsvc", interfaces);
    config.identity = Some(Arc::new(Identity { user: "alice".into(), ..Identity::default() }));
    let pipe = PipeAssociation::new(config);
    let context = ContextElement { context_id: 0, abstract_syntax: SRVSVC, transfer_syntaxes: vec![NDR20] };
    let bind = Bind { max_xmit_frag: 4280, max_recv_frag: 4280, assoc_group_id: 0, contexts: vec![context] };
    let bind = encode(PacketType::Bind, flags::WHOLE, 1, &bind.encode(), None).unwrap();
    // In two writes; the answer in two reads.
    pipe.write(&bind[..30]).unwrap();
    assert_eq!(pipe.read(1024), None);
    pipe.write(&bind[30..]).unwrap();
    let first = pipe.read(20).unwrap();
    assert!(first.has_more && first.data.len() == 20);
    let rest = pipe.read(1024).unwrap();
    assert!(!rest.has_more);
    let ack = Frame::parse([first.data, rest.data].concat()).unwrap();
    assert_eq!(ack.header.packet_type, PacketType::BindAck);
    assert!(ack.bytes.windows(13).any(|window| window == b"\\PIPE\\srvsvc\0"));

    let mut stub = NdrWriter::new(TransferSyntax::Ndr20);
    stub.unique_wide_string(Some("\\\\fs1"));
    stub.wide_string("SHARE");
    stub.u32(1);
    let body = Request { alloc_hint: 0, context_id: 0, opnum: 16, object: None, stub: &stub.finish() }.encode();
    let request = encode(PacketType::Request, flags::WHOLE, 2, &body, None).unwrap();
    let answer = Frame::parse(pipe.transceive(&request, 4280).await.unwrap().data).unwrap();
    assert_eq!(answer.header.packet_type, PacketType::Response);
    assert_eq!(answer.body()[answer.body().len() - 4..], [0; 4]);

    pipe.write(b"rubbish that is no PDU").unwrap();
    while !pipe.is_closed() {
        pipe.read(4280);
    }
    assert!(pipe.write(&request).is_err());
    assert!(pipe.read_when_ready(10).await.is_err());
}

#[tokio::test]
async fn oversized_fragments_are_answered_and_closed() {
    let (address, _cancel, _server) = start(InterfaceSet::from(Echo::default()), Limits::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut header = encode(PacketType::Request, flags::WHOLE, 3, &[0; 8], None).unwrap();
    header[8..10].copy_from_slice(&60_000u16.to_le_bytes());
    stream.write_all(&header).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let frame = Frame::parse(answer).unwrap();
    assert_eq!(FaultBody::decode(frame.body()).unwrap().status, Fault::PROTOCOL_ERROR);
}
