//! Links between nodes that are cut on purpose, for tests on real clusters. Only a node that was started with [`FAULTS_VARIABLE`] set has it.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use persistence::Faults;
use serde::{Deserialize, Serialize};

use super::{Admin, Problem, change::Done};

/// The environment variable that makes a node offer POST /api/v1/faults/links.
pub const FAULTS_VARIABLE: &str = "HOLDFAST_FAULTS";

/// Links that are cut; all others are mended.
#[derive(Debug, Serialize, Deserialize)]
pub struct Links {
    /// From which node to which.
    pub cut: Vec<(u64, u64)>,
}

/// The faults that this process was told to offer.
#[must_use]
pub fn offered() -> Option<Faults> {
    std::env::var_os(FAULTS_VARIABLE).map(|_| {
        tracing::warn!("{FAULTS_VARIABLE} is set: an operator can cut this node off from the others");
        Faults::default()
    })
}

pub(super) async fn links(State(admin): State<Arc<Admin>>, Json(links): Json<Links>) -> Result<Json<Done>, Problem> {
    let Some(faults) = &admin.faults else {
        let because = format!("this node was started without {FAULTS_VARIABLE}: it cuts no links");
        return Err(Problem::new(StatusCode::NOT_FOUND, because));
    };
    faults.heal();
    links.cut.iter().for_each(|(from, to)| faults.cut(*from, *to));
    Ok(Json(Done { done: true }))
}
