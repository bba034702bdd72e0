//! The operator's HTTP: health, metrics and status for everybody who reaches the port; changes only with the node's admin token.

pub mod addresses;
pub mod backup;
pub mod certificate;
pub mod change;
pub mod events;
pub mod faults;
pub mod view;
pub mod witness;

use std::sync::Arc;

use ::witness::WitnessService;
use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use persistence::{Faults, Store, Traffic};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{config::Config, doors::Doors, life, registrations::Registrations};

/// What the admin API looks at.
pub struct Admin {
    pub(crate) store: Store,
    pub(crate) witness: Arc<WitnessService>,
    pub(crate) registrations: Arc<Registrations>,
    pub(crate) doors: Arc<Doors>,
    pub(crate) current: life::Current,
    pub(crate) config: Arc<Config>,
    /// Only where they are asked for.
    pub(crate) faults: Option<Faults>,
    metrics: PrometheusHandle,
    token: String,
}

impl Admin {
    /// Over a running node.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "the daemon calls it once, with everything that it has made")]
    pub fn new(
        config: Arc<Config>,
        store: Store,
        witness: Arc<WitnessService>,
        registrations: Arc<Registrations>,
        doors: Arc<Doors>,
        current: life::Current,
        faults: Option<Faults>,
        metrics: PrometheusHandle,
        token: String,
    ) -> Arc<Self> {
        Arc::new(Self { store, witness, registrations, doors, current, config, faults, metrics, token })
    }

    fn is_shown_token(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
        shown.is_some_and(|shown| aws_lc_rs::constant_time::verify_slices_are_equal(shown.as_bytes(), self.token.as_bytes()).is_ok())
    }
}

/// Serves until cancelled.
pub async fn serve(admin: Arc<Admin>, listener: TcpListener, stop: CancellationToken) {
    let guarded = Router::new()
        .route("/api/v1/handles", get(view::handles))
        .route("/api/v1/users", get(view::users).post(change::user_add))
        .route("/api/v1/users/password", post(change::user_password))
        .route("/api/v1/users/enable", post(change::user_enable))
        .route("/api/v1/users/remove", post(change::user_remove))
        .route("/api/v1/shares", post(change::share_add))
        .route("/api/v1/shares/remove", post(change::share_remove))
        .route("/api/v1/tokens", post(change::token_create))
        .route("/api/v1/nodes/drain", post(change::node_drain))
        .route("/api/v1/nodes/remove", post(change::node_remove))
        .route("/api/v1/nodes/lead", post(change::node_lead))
        .route("/api/v1/snapshot", post(change::snapshot))
        .route("/api/v1/nodes/promote", post(change::node_promote))
        .route("/api/v1/nodes/replace", post(change::node_replace))
        .route("/api/v1/nodes/address", post(change::node_address))
        .route("/api/v1/nodes/addresses", post(addresses::change))
        .route("/api/v1/certificates", get(certificate::list))
        .route("/api/v1/certificates/rotate", post(certificate::rotate))
        .route("/api/v1/authority/renew", post(certificate::renew_authority))
        .route("/api/v1/authority/retire", post(certificate::retire_authority))
        .route("/api/v1/backup", get(backup::stream))
        .route("/api/v1/faults/links", post(faults::links))
        .route("/api/v1/witness", get(witness::list))
        .route("/api/v1/witness/move", post(witness::client_move))
        .route("/api/v1/witness/move-share", post(witness::share_move))
        .route("/api/v1/witness/unregister", post(witness::unregister))
        .route("/api/v1/witness/notify", post(witness::notify))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&admin), require_token));
    let app = Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(view::status))
        .route("/api/v1/shares", get(view::shares))
        .merge(guarded)
        .merge(events::router(Arc::clone(&admin), stop.clone()))
        .with_state(admin);
    let served = axum::serve(listener, app).with_graceful_shutdown(async move { stop.cancelled().await }).await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin API ended");
    }
}

/// 200 while the node may answer clients, else 503.
async fn health(State(admin): State<Arc<Admin>>) -> Response {
    if admin.store.lease_valid() {
        (StatusCode::OK, "serving\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not serving\n").into_response()
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> String {
    metrics::gauge!("holdfast_lease_valid").set(if admin.store.lease_valid() { 1.0 } else { 0.0 });
    let (opens, sessions) = admin.store.with_state(|state| (state.open_count(), state.session_count()));
    #[expect(clippy::cast_precision_loss, reason = "gauges are floating point")]
    {
        metrics::gauge!("holdfast_opens").set(opens as f64);
        metrics::gauge!("holdfast_sessions").set(sessions as f64);
        metrics::gauge!("holdfast_applied_index").set(admin.store.status().raft.applied as f64);
    }
    count_traffic(admin.store.traffic());
    admin.metrics.render()
}

/// What this node has sent to other nodes, by the kind of connection.
fn count_traffic(traffic: Traffic) {
    let lanes = [("raft", traffic.raft), ("bulk", traffic.bulk), ("requests", traffic.requests), ("answers", traffic.answers)];
    for (lane, sent) in lanes {
        metrics::counter!("holdfast_peer_messages_total", "lane" => lane).absolute(sent.messages);
        metrics::counter!("holdfast_peer_bytes_total", "lane" => lane).absolute(sent.bytes);
    }
}

async fn require_token(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    if admin.is_shown_token(request.headers()) { next.run(request).await } else { Problem::token_missing().into_response() }
}

/// An answer that is an error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Problem {
    /// What was wrong and what to do.
    pub error: String,
    #[serde(skip)]
    status: StatusCode,
}

impl Problem {
    /// Makes one.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { error: error.into(), status }
    }

    fn token_missing() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "this needs the node's admin token (admin.token in its data directory)")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}
