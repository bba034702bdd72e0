//! One request per connection, asynchronous.

use axum::body::{Body, Bytes, to_bytes};
use hyper::{
    Method, Request, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{ANSWER_BYTES_MAX, Endpoint};
use crate::{
    admin::Problem,
    failure::{DATA, Failure, NO_PERMISSION, UNAVAILABLE},
    secret::Secret,
};

/// A stream of either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An endpoint and the token to present.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Where to connect.
    pub endpoint: Endpoint,
    /// ServerCertificates if there is one.
    pub token: Option<Secret>,
}

/// The head of an answer, and its body as a stream.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Incoming,
    endpoint: String,
}

impl Connection {
    /// Sends a request.
    ///
    /// # Errors
    /// The node cannot be reached.
    pub async fn ask(&self, method: Method, path: &str, body: &[u8]) -> Result<Answer, Failure> {
        let stream = self.endpoint.connect().await?;
        let broken = |e: hyper::Error| Failure::new(UNAVAILABLE, format!("{} does not answer: {e}", self.endpoint));
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // The task ends with the answer, which also reports its errors.
        tokio::spawn(async move { drop(connection.await) });
        let answer = sender.send_request(self.request(method, path, body)?).await.map_err(broken)?;
        Ok(Answer { status: answer.status(), body: answer.into_body(), endpoint: self.endpoint.to_string() })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// The node cannot be reached, or refuses.
    pub async fn whole(&self, method: Method, path: &str, body: &[u8]) -> Result<Bytes, Failure> {
        self.ask(method, path, body).await?.accepted().await?.whole().await
    }

    /// GET.
    ///
    /// # Errors
    /// The node cannot be reached, or refuses.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.decode(&self.whole(Method::GET, path, &[]).await?)
    }

    /// POST.
    ///
    /// # Errors
    /// The node cannot be reached, or refuses.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|e| Failure::new(DATA, e.to_string()))?;
        self.decode(&self.whole(Method::POST, path, &body).await?)
    }

    pub(super) fn decode<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(body).map_err(|e| Failure::new(DATA, format!("the answer of {} makes no sense: {e}", self.endpoint)))
    }

    fn request(&self, method: Method, path: &str, body: &[u8]) -> Result<Request<Body>, Failure> {
        let bad = |e: &dyn std::fmt::Display| Failure::new(DATA, format!("{path} cannot be asked for: {e}"));
        let mut request = Request::builder().method(method).uri(path).header(HOST, self.endpoint.host());
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|e| bad(&e))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Body::from(Bytes::copy_from_slice(body))).map_err(|e| bad(&e))
    }
}

impl Answer {
    /// Turns an error status into a failure.
    ///
    /// # Errors
    /// The error text of the node.
    pub async fn accepted(self) -> Result<Self, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        let status = self.status;
        let body = self.whole().await.unwrap_or_default();
        let plain = || String::from_utf8_lossy(&body).trim().to_owned();
        let said = serde_json::from_slice::<Problem>(&body).map_or_else(|_| plain(), |problem| problem.error);
        let code = match status.as_u16() {
            401 | 403 => NO_PERMISSION,
            408 | 503 => UNAVAILABLE,
            _ => DATA,
        };
        Err(Failure::new(code, if said.is_empty() { status.to_string() } else { said }))
    }

    /// Reads the whole body.
    ///
    /// # Errors
    /// The body is incomplete, or too long.
    pub async fn whole(self) -> Result<Bytes, Failure> {
        let cut = |e: axum::Error| Failure::new(UNAVAILABLE, format!("the answer of {} is cut off: {e}", self.endpoint));
        to_bytes(Body::new(self.body), ANSWER_BYTES_MAX).await.map_err(cut)
    }
}
