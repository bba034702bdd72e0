//! Error answers.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use persistence::StoreError;
use serde::{Deserialize, Serialize};

/// An error answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// What was wrong and what to do.
    pub error: String,
    #[serde(skip)]
    status: StatusCode,
}

/// The error text of a response, as an extension for the audit log.
#[derive(Clone)]
pub(super) struct ErrorText(pub(super) String);

impl Problem {
    /// Makes one.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { error: error.into(), status }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let said = ErrorText(self.error.clone());
        let mut response = (self.status, Json(self)).into_response();
        response.extensions_mut().insert(said);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = if matches!(error, StoreError::Refused(_)) { StatusCode::CONFLICT } else { StatusCode::SERVICE_UNAVAILABLE };
        Self::new(status, error.to_string())
    }
}
