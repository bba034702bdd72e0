//! Client of the admin API for commands: over the Unix socket of a local node, or over TLS.

mod body;
mod connection;
mod endpoint;

use std::{
    io::{BufRead as _, IsTerminal as _},
    time::Duration,
};

use axum::body::Bytes;
use hyper::Method;
use serde::{Serialize, de::DeserializeOwned};
use tokio::runtime::Runtime;

use crate::{
    cli::At,
    failure::{DATA, Failure, UNAVAILABLE},
    secret::{self, Secret},
};

pub use body::BodyReader;
pub use connection::{Answer, Connection};
pub use endpoint::{Endpoint, Tls};

/// Timeout for an answer: a change may wait for a leader election.
pub const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Timeout for an operation that waits for every node.
pub const PATIENCE_MAX: Duration = Duration::from_secs(240);
/// Longest answer that is not streamed, bytes.
pub const ANSWER_BYTES_MAX: usize = 1 << 30;

/// A blocking client.
pub struct AdminClient {
    connection: Connection,
    limit: Duration,
    /// Always there; taken by `drop`, which must not block.
    runtime: Option<Runtime>,
}

impl AdminClient {
    /// For the node named by the arguments.
    ///
    /// # Errors
    /// The configuration or a file is missing or bad.
    pub fn of(at: &At) -> Result<Self, Failure> {
        let endpoint = Endpoint::of(at)?;
        let token = token_of(at, &endpoint)?;
        Self::new(Connection { endpoint, token }, ANSWER_MAX)
    }

    /// The same with the longer timeout.
    ///
    /// # Errors
    /// The configuration or a file is missing or bad.
    pub fn patient(at: &At) -> Result<Self, Failure> {
        let mut client = Self::of(at)?;
        client.limit = PATIENCE_MAX;
        Ok(client)
    }

    /// For a given endpoint.
    ///
    /// # Errors
    /// The runtime cannot be started.
    pub fn new(connection: Connection, limit: Duration) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| Failure::new(UNAVAILABLE, format!("no threads can be started: {e}")))?;
        Ok(Self { connection, limit, runtime: Some(runtime) })
    }

    /// GET.
    ///
    /// # Errors
    /// The node cannot be reached, or refuses.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.connection.decode(&self.whole(Method::GET, path, &[])?)
    }

    /// POST.
    ///
    /// # Errors
    /// The node cannot be reached, or refuses.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|e| Failure::new(DATA, e.to_string()))?;
        self.connection.decode(&self.whole(Method::POST, path, &body)?)
    }

    /// GET of a streamed answer. Fails only after a longer silence.
    ///
    /// # Errors
    /// The node cannot be reached, or refuses.
    pub fn stream(&self, path: &str) -> Result<BodyReader<'_>, Failure> {
        let asked = async { self.connection.ask(Method::GET, path, &[]).await?.accepted().await };
        let answer = self.limited(asked)?;
        Ok(BodyReader::new(self.runtime(), answer.body, ANSWER_MAX))
    }

    /// GET of an answer of lines, until `each` returns false.
    ///
    /// # Errors
    /// The node cannot be reached, refuses, or falls silent.
    pub fn get_lines(&self, path: &str, mut each: impl FnMut(&str) -> Result<bool, Failure>) -> Result<(), Failure> {
        for line in std::io::BufReader::new(self.stream(path)?).lines() {
            let line = line.map_err(|e| Failure::new(UNAVAILABLE, format!("{} stopped answering: {e}", self.connection.endpoint)))?;
            if !each(&line)? {
                break;
            }
        }
        Ok(())
    }

    fn whole(&self, method: Method, path: &str, body: &[u8]) -> Result<Bytes, Failure> {
        self.limited(self.connection.whole(method, path, body))
    }

    fn limited<T>(&self, asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let late = |_| Failure::new(UNAVAILABLE, format!("{} does not answer within {} s", self.connection.endpoint, self.limit.as_secs()));
        self.runtime().block_on(async { tokio::time::timeout(self.limit, asked).await }).map_err(late)?
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("only drop takes the runtime")
    }
}

impl Drop for AdminClient {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The token named by the arguments, or typed at the terminal for a TLS endpoint.
///
/// # Errors
/// It cannot be read.
pub fn token_of(at: &At, endpoint: &Endpoint) -> Result<Option<Secret>, Failure> {
    match (&at.token_file, endpoint) {
        (Some(file), _) => secret::of_file(file).map(Some),
        (None, _) if at.token_stdin => secret::of_stdin().map(Some),
        (None, Endpoint::Tls(_)) if std::io::stdin().is_terminal() => {
            secret::ask_or_nothing(&format!("Admin token for {endpoint} (or nothing): "))
        }
        (None, _) => Ok(None),
    }
}
