//! gRPC's unary calls over HTTP/2: a header, one message, one answer, a status. No more than a load generator needs, and so no slower than
//! the clients that etcd comes with.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{Request, Uri};
use tokio::net::TcpStream;

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// Bytes that a member may send without being asked to go on.
const WINDOW_BYTES: u32 = 8 << 20;
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// A connection to one member, shared by its clones.
#[derive(Clone)]
pub(super) struct Channel {
    send: SendRequest<Bytes>,
    authority: String,
}

impl Channel {
    pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut builder = h2::client::Builder::new();
            builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
            let (send, connection) = builder.handshake(stream).await.map_err(std::io::Error::other)?;
            tokio::spawn(async move {
                // Whoever waits on it hears of its end.
                drop(connection.await);
            });
            std::io::Result::Ok(send)
        };
        let send = tokio::time::timeout(CONNECT_MAX, connect).await.with_context(|| format!("no answer of {address}"))?;
        Ok(Self { send: send.with_context(|| format!("cannot connect to {address}"))?, authority: address.to_string() })
    }

    /// Calls a method and gives its answer.
    pub(super) async fn call(&self, method: &'static str, message: &[u8]) -> anyhow::Result<Bytes> {
        let uri = Uri::builder().scheme("http").authority(self.authority.as_str()).path_and_query(method).build()?;
        let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers").body(())?;
        let mut body = BytesMut::with_capacity(PREFIX_BYTES + message.len());
        body.put_u8(0);
        body.put_u32(u32::try_from(message.len())?);
        body.put_slice(message);
        let mut send = self.send.clone().ready().await?;
        let (answer, mut stream) = send.send_request(request, false)?;
        stream.send_data(body.freeze(), true)?;
        let (head, mut body) = answer.await?.into_parts();
        let mut data = BytesMut::new();
        while let Some(piece) = body.data().await {
            let piece = piece?;
            body.flow_control().release_capacity(piece.len())?;
            data.extend_from_slice(&piece);
        }
        let trailers = body.trailers().await?;
        let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status")).or_else(|| head.headers.get("grpc-status"));
        match status.map(http::HeaderValue::as_bytes) {
            Some(b"0") if data.len() >= PREFIX_BYTES => Ok(data.freeze().slice(PREFIX_BYTES..)),
            Some(b"0") => bail!("{method}: an answer without a message"),
            status => {
                let said = trailers.as_ref().unwrap_or(&head.headers).get("grpc-message");
                bail!("{method}: status {:?}: {:?}", status.map(String::from_utf8_lossy), said);
            }
        }
    }
}
