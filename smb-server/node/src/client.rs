//! How operators' commands speak to a node's admin API.

use std::{io::BufRead as _, net::SocketAddr, path::Path, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    admin::Problem,
    config::Config,
    failure::{DATA, Failure, NO_PERMISSION, UNAVAILABLE},
    identity,
};

/// Longest wait for an answer: a change waits for the cluster to have a leader.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Longest wait for something that every node has to follow.
const PATIENCE_MAX: Duration = Duration::from_secs(240);

/// A node's admin API.
pub struct AdminClient {
    agent: ureq::Agent,
    address: SocketAddr,
    token: Option<String>,
}

impl AdminClient {
    /// For the node of a configuration file: with its token if this user may read it.
    ///
    /// # Errors
    /// The file is missing or bad.
    pub fn of_config(path: &Path) -> Result<Self, Failure> {
        let config = Config::read(path)?;
        let token = std::fs::read_to_string(identity::admin_token_path(&config.data_dir)).ok().map(|t| t.trim().to_owned());
        Ok(Self::new(config.listen.admin, token))
    }

    /// For an address, with or without a token.
    #[must_use]
    pub fn new(address: SocketAddr, token: Option<String>) -> Self {
        let settings = ureq::Agent::config_builder().timeout_global(Some(ANSWER_MAX)).http_status_as_error(false).build();
        Self { agent: settings.into(), address, token }
    }

    /// The same, for what takes its time: every node has to follow.
    ///
    /// # Errors
    /// The file is missing or bad.
    pub fn patient(path: &Path) -> Result<Self, Failure> {
        let settings = ureq::Agent::config_builder().timeout_global(Some(PATIENCE_MAX)).http_status_as_error(false).build();
        Ok(Self { agent: settings.into(), ..Self::of_config(path)? })
    }

    /// The same, with less patience: for looking at a node that may be dying.
    #[must_use]
    pub fn impatient(address: SocketAddr) -> Self {
        let settings = ureq::Agent::config_builder().timeout_global(Some(Duration::from_millis(800))).http_status_as_error(false).build();
        Self { agent: settings.into(), address, token: None }
    }

    /// GET.
    ///
    /// # Errors
    /// The node cannot be reached, or refuses.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let mut request = self.agent.get(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.answer(request.call())
    }

    /// POST.
    ///
    /// # Errors
    /// The node cannot be reached, or refuses.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let mut request = self.agent.post(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.answer(request.send_json(body))
    }

    /// GET of an answer that comes line by line. `each` says whether it wants more.
    ///
    /// # Errors
    /// The node cannot be reached, refuses, or falls silent.
    pub fn get_lines(&self, path: &str, mut each: impl FnMut(&str) -> Result<bool, Failure>) -> Result<(), Failure> {
        let mut request = self.agent.get(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = self.accepted(request.call())?;
        for line in std::io::BufReader::new(response.body_mut().as_reader()).lines() {
            let line = line.map_err(|e| Failure::new(UNAVAILABLE, format!("{} stopped answering: {e}", self.address)))?;
            if !each(&line)? {
                break;
            }
        }
        Ok(())
    }

    /// GET of something long, to be read while it comes. Only silence ends it early.
    ///
    /// # Errors
    /// The node cannot be reached, or refuses.
    pub fn stream(&self, path: &str) -> Result<impl std::io::Read + use<>, Failure> {
        let settings = ureq::Agent::config_builder()
            .timeout_global(None)
            .timeout_connect(Some(ANSWER_MAX))
            .timeout_recv_response(Some(ANSWER_MAX))
            .timeout_per_read(Some(ANSWER_MAX))
            .http_status_as_error(false)
            .build();
        let mut request = ureq::Agent::from(settings).get(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let response = request.call();
        match response {
            Ok(response) if response.status().is_success() => Ok(response.into_body().into_reader()),
            other => {
                Err(self.answer::<serde_json::Value>(other).err().unwrap_or_else(|| Failure::new(DATA, "an answer that does not fit")))
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn answer<T: DeserializeOwned>(&self, result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<T, Failure> {
        let mut response = self.accepted(result)?;
        let read = response.body_mut().read_json();
        read.map_err(|e| Failure::new(DATA, format!("the answer of {} makes no sense: {e}", self.address)))
    }

    /// The answer, unless it is a refusal.
    fn accepted(&self, result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<ureq::http::Response<ureq::Body>, Failure> {
        let mut response = result.map_err(|error| {
            Failure::new(
                UNAVAILABLE,
                format!("the node's admin API at {} does not answer: {error}; is `holdfast serve` running?", self.address),
            )
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let said = response.body_mut().read_json::<Problem>().map_or_else(|_| status.to_string(), |problem| problem.error);
        let code = match status.as_u16() {
            401 | 403 => NO_PERMISSION,
            503 => UNAVAILABLE,
            _ => DATA,
        };
        Err(Failure::new(code, said))
    }
}
