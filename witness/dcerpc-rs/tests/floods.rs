//! Bad peers in numbers: what they may take is bounded, and a client that behaves is served beside them.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::time::Duration;

use dcerpc_rs::interface::mgmt::{MGMT, ManagementCalls, managed};
use dcerpc_rs::ndr::NoParameters;
use dcerpc_rs::pdu::{Bind, ContextElement, FaultBody, Frame, PacketType, Request, encode, flags};
use dcerpc_rs::pipe::{PipeClosed, PipeConfig};
use dcerpc_rs::syntax::NDR20;
use dcerpc_rs::{Client, Fault, InterfaceSet, Limits, PipeAssociation, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

const HALF_OPEN_MAX: usize = 64;
const FLOOD: usize = 5_000;

async fn start(limits: Limits) -> (std::net::SocketAddr, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cancel = CancellationToken::new();
    tokio::spawn(serve(listener, managed(InterfaceSet::new()), None, limits, cancel.clone()));
    (address, cancel)
}

fn bind_pdu() -> Vec<u8> {
    let context = ContextElement { context_id: 0, abstract_syntax: MGMT, transfer_syntaxes: vec![NDR20] };
    let bind = Bind { max_xmit_frag: 5840, max_recv_frag: 5840, assoc_group_id: 0, contexts: vec![context] };
    encode(PacketType::Bind, flags::WHOLE | flags::CONC_MPX, 1, &bind.encode(), None).unwrap()
}

fn request_pdu(pfc_flags: u8, call_id: u32, stub: &[u8]) -> Vec<u8> {
    let body = Request { alloc_hint: 0, context_id: 0, opnum: 2, object: None, stub }.encode();
    encode(PacketType::Request, pfc_flags, call_id, &body, None).unwrap()
}

async fn is_served(address: std::net::SocketAddr) -> bool {
    let client = ManagementCalls(Client::connect(address, MGMT, None).await.unwrap());
    client.is_listening(&NoParameters).await.unwrap().listening == 1
}

async fn frame(stream: &mut TcpStream) -> Frame {
    let mut bytes = vec![0; 16];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes.resize(usize::from(u16::from_le_bytes([bytes[8], bytes[9]])), 0);
    stream.read_exact(&mut bytes[16..]).await.unwrap();
    Frame::parse(bytes).unwrap()
}

/// Half a bind on 5,000 connections, most of them kept open by their client: the server keeps the newest 64.
#[tokio::test]
async fn five_thousand_half_open_binds_leave_room_for_others() {
    let limits = Limits { half_open_max: HALF_OPEN_MAX, connections_per_peer_max: 512, ..Limits::default() };
    let (address, _cancel) = start(limits).await;
    let half = &bind_pdu()[..40];
    let mut kept = std::collections::VecDeque::new();
    for number in 0..FLOOD {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // The server may have closed it already to make room.
        _ = stream.write_all(half).await;
        kept.push_back(stream);
        if kept.len() > 400 {
            kept.pop_front();
        }
        if number % 1_000 == 999 {
            assert!(is_served(address).await);
        }
    }
    // Of those that the client still holds, all but the newest were closed by the server.
    let older = kept.len() - HALF_OPEN_MAX;
    for stream in kept.iter_mut().take(older) {
        assert!(matches!(stream.read(&mut [0; 8]).await, Ok(0) | Err(_)));
    }
    assert!(is_served(address).await);
}

#[tokio::test]
async fn one_client_address_has_so_many_connections() {
    let (address, _cancel) = start(Limits { connections_per_peer_max: 3, ..Limits::default() }).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::connect(address, MGMT, None).await.unwrap());
    }
    assert!(Client::connect(address, MGMT, None).await.is_err());
    clients.pop();
    // Its seat is free as soon as the server has noticed.
    while Client::connect(address, MGMT, None).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_silent_connection_of_nobody_is_closed() {
    let (address, _cancel) = start(Limits { idle_timeout: Duration::from_millis(50), ..Limits::default() }).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&bind_pdu()).await.unwrap();
    assert_eq!(frame(&mut stream).await.header.packet_type, PacketType::BindAck);
    assert!(matches!(stream.read(&mut [0; 8]).await, Ok(0) | Err(_)));
}

/// Every connection begins a request and never ends it: together they get so much memory, and then a fault.
#[tokio::test]
async fn requests_without_end_share_a_limit_and_time_out() {
    let limits = Limits { stub_bytes_total_max: 100_000, request_timeout: Duration::from_secs(1), ..Limits::default() };
    let (address, _cancel) = start(limits).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&bind_pdu()).await.unwrap();
        assert_eq!(frame(&mut stream).await.header.packet_type, PacketType::BindAck);
        stream.write_all(&request_pdu(flags::FIRST, 2, &[0; 4_000])).await.unwrap();
        streams.push(stream);
    }
    assert!(is_served(address).await, "small requests have room");
    // Each is refused at once or closed at its deadline.
    let (mut refused, mut closed) = (Vec::new(), 0);
    for mut stream in streams {
        let mut bytes = [0; 32];
        match stream.read_exact(&mut bytes).await {
            Ok(_) => {
                let fault = Frame::parse(bytes.to_vec()).unwrap();
                assert_eq!(FaultBody::decode(fault.body()).unwrap().status, Fault::OUT_OF_RESOURCES);
                refused.push(stream);
            }
            Err(_) => closed += 1,
        }
    }
    // 50,000 bytes for those that have not authenticated: twelve times 4,000.
    assert_eq!((closed, refused.len()), (12, 8));
    // The refused ones live, and there is room again.
    for mut stream in refused {
        stream.write_all(&request_pdu(flags::LAST, 2, &[])).await.unwrap();
        stream.write_all(&request_pdu(flags::WHOLE, 3, &[0; 4_000])).await.unwrap();
        assert_eq!(frame(&mut stream).await.header.packet_type, PacketType::Response);
    }
}

/// Counts that promise 2^32 elements, in a request of a few bytes.
#[tokio::test]
async fn a_huge_count_is_a_fault() {
    let (address, _cancel) = start(Limits::default()).await;
    let client = Client::connect(address, MGMT, None).await.unwrap();
    let answer = client.call(1, vec![0xFF; 3]).await;
    assert!(matches!(answer, Err(dcerpc_rs::ClientError::Fault(Fault::BAD_STUB_DATA))));
    assert!(is_served(address).await);
}

#[tokio::test(start_paused = true)]
async fn a_pipe_with_half_a_request_ends() {
    let limits = Limits { request_timeout: Duration::from_secs(30), ..Limits::for_pipe() };
    let pipe = || PipeAssociation::new(PipeConfig { limits, ..PipeConfig::new("mgmt", managed(InterfaceSet::new())) });
    let (stays, ends) = (pipe(), pipe());
    for pipe in [&stays, &ends] {
        assert_eq!(pipe.transceive(&bind_pdu(), 4280).await.unwrap().data[2], 12, "a bind_ack");
        pipe.write(&request_pdu(flags::FIRST, 2, b"")).unwrap();
    }
    assert!(tokio::time::timeout(Duration::from_secs(29), ends.readable()).await.is_err(), "it has its time");
    let answer = stays.transceive(&request_pdu(flags::LAST, 2, b""), 4280).await.unwrap();
    assert_eq!(answer.data[2], 2, "a response");
    // More of it does not give it more time.
    ends.write(&request_pdu(0, 2, b"more")).unwrap();
    assert_eq!(tokio::time::timeout(Duration::from_secs(2), ends.readable()).await, Ok(Err(PipeClosed)));
    assert_eq!(ends.write(&request_pdu(flags::LAST, 2, b"")), Err(PipeClosed));
    // The other one's clock has stopped: nothing comes of it, however long it is waited for.
    assert!(tokio::time::timeout(Duration::from_secs(100), stays.readable()).await.is_err());
    assert_eq!(stays.transceive(&request_pdu(flags::WHOLE, 3, b""), 4280).await.unwrap().data[2], 2);
}
