//! The admin API: TLS on the admin port, and a Unix socket in the data directory.
//!
//! Health, metrics and a short status need no authentication and name no share, user, client or
//! file. All other reading needs the role *viewer*, every change the role *operator*. [`listen`]
//! holds the connections, `caller` the authentication.

pub mod addresses;
pub mod audit;
pub mod backup;
mod caller;
pub mod certificate;
pub mod change;
pub mod events;
pub mod faults;
pub mod groups;
pub mod in_use;
pub mod listen;
mod problem;
pub mod settings;
pub mod shares;
pub mod token;
pub mod view;
pub mod witness;

use std::sync::Arc;

use ::witness::WitnessService;
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    middleware::from_fn_with_state,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::Mutex;
use persistence::{Faults, Store, Traffic};
use persistence_model::AdminRole;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{audit::AuditLog, config::Config, doors::Doors, life, rate_limit::PerMinute, registrations::Registrations};
use listen::tls::ServerCertificates;

use caller::Guard;
pub use caller::Peer;
pub use problem::Problem;

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
    pub(crate) metrics: PrometheusHandle,
    /// Certificates of the port.
    pub(crate) shown: Arc<ServerCertificates>,
    pub(crate) audit: AuditLog,
    /// Running changes; shutdown waits for them.
    pub(crate) tasks: TaskTracker,
    /// Limit of log lines about invalid tokens.
    pub(crate) invalid_tokens: Mutex<PerMinute>,
}

/// The limit of log lines about invalid tokens.
#[must_use]
pub fn invalid_token_lines() -> PerMinute {
    PerMinute::new(caller::INVALID_TOKEN_LINES_PER_MINUTE)
}

/// All routes. Endless answers end when `stop` fires.
pub fn router(admin: &Arc<Admin>, stop: CancellationToken) -> Router {
    let guarded =
        |routes: Router<Arc<Admin>>, guard: Guard| routes.route_layer(from_fn_with_state((Arc::clone(admin), guard), caller::check_role));
    let for_viewers = for_viewers().merge(events::router(Arc::clone(admin), stop));
    Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(view::status))
        .merge(guarded(for_viewers, Guard { role: AdminRole::Viewer, is_audited: false }))
        .merge(guarded(for_operators(), Guard { role: AdminRole::Operator, is_audited: false }))
        .merge(guarded(changes(), Guard { role: AdminRole::Operator, is_audited: true }))
        .layer(from_fn_with_state(Arc::clone(admin), caller::check_token))
        .with_state(Arc::clone(admin))
}

fn for_viewers() -> Router<Arc<Admin>> {
    Router::new()
        .route("/api/v1/sessions", get(in_use::sessions))
        .route("/api/v1/handles", get(in_use::handles))
        .route("/api/v1/locks", get(in_use::locks))
        .route("/api/v1/clients/blocked", get(in_use::blocks))
        .route("/api/v1/users", get(view::users))
        .route("/api/v1/groups", get(groups::list))
        .route("/api/v1/settings", get(settings::show))
        .route("/api/v1/shares", get(shares::list))
        .route("/api/v1/shares/acl", get(shares::acl))
        .route("/api/v1/certificates", get(certificate::list))
        .route("/api/v1/witness", get(witness::list))
        .route("/api/v1/authorities", get(token::authorities))
        .route("/api/v1/admin/tokens", get(token::list))
}

fn for_operators() -> Router<Arc<Admin>> {
    Router::new().route("/api/v1/audit", get(audit::list))
}

/// What changes something, or takes password hashes out of the cluster.
fn changes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/api/v1/users", post(change::user_add))
        .route("/api/v1/users/password", post(change::user_password))
        .route("/api/v1/users/enable", post(change::user_enable))
        .route("/api/v1/users/unlock", post(change::user_unlock))
        .route("/api/v1/users/remove", post(change::user_remove))
        .route("/api/v1/settings", post(settings::set))
        .route("/api/v1/users/map", post(groups::user_map))
        .route("/api/v1/groups", post(groups::add))
        .route("/api/v1/groups/set", post(groups::set))
        .route("/api/v1/groups/remove", post(groups::remove))
        .route("/api/v1/groups/member", post(groups::member))
        .route("/api/v1/shares", post(shares::add))
        .route("/api/v1/shares/set", post(shares::set))
        .route("/api/v1/shares/acl", post(shares::change_acl))
        .route("/api/v1/shares/remove", post(shares::remove))
        .route("/api/v1/sessions/close", post(in_use::close_sessions))
        .route("/api/v1/handles/close", post(in_use::close_handles))
        .route("/api/v1/clients/block", post(in_use::block))
        .route("/api/v1/clients/unblock", post(in_use::unblock))
        .route("/api/v1/tokens", post(change::token_create))
        .route("/api/v1/nodes/drain", post(change::node_drain))
        .route("/api/v1/nodes/remove", post(change::node_remove))
        .route("/api/v1/nodes/lead", post(change::node_lead))
        .route("/api/v1/snapshot", post(change::snapshot))
        .route("/api/v1/nodes/promote", post(change::node_promote))
        .route("/api/v1/nodes/replace", post(change::node_replace))
        .route("/api/v1/nodes/address", post(change::node_address))
        .route("/api/v1/nodes/addresses", post(addresses::change))
        .route("/api/v1/certificates/rotate", post(certificate::rotate))
        .route("/api/v1/authority/renew", post(certificate::renew_authority))
        .route("/api/v1/authority/retire", post(certificate::retire_authority))
        .route("/api/v1/backup", get(backup::stream))
        .route("/api/v1/faults/links", post(faults::links))
        .route("/api/v1/witness/move", post(witness::client_move))
        .route("/api/v1/witness/move-share", post(witness::share_move))
        .route("/api/v1/witness/unregister", post(witness::unregister))
        .route("/api/v1/witness/notify", post(witness::notify))
        .route("/api/v1/admin/tokens", post(token::create))
        .route("/api/v1/admin/tokens/remove", post(token::remove))
        .route("/api/v1/audit/commands", post(audit::note))
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
