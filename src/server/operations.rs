//! `/metrics` and `/healthz`, for those who run the server.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

use super::metrics;
use super::service;

/// The pages over HTTP.
pub(super) fn router(state: Arc<service::State>) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/healthz", get(healthz)).with_state(state)
}

async fn metrics(State(state): State<Arc<service::State>>) -> impl IntoResponse {
    let now = metrics::State {
        running: state.queries.admission.running(),
        queued: state.queries.admission.queued(),
        prepared: state.prepared.len(),
        results: state.results.len(),
        memory: state.statements.ctx.runtime_env().memory_pool.reserved(),
    };
    match state.queries.metrics.text(now) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// `ok` while new statements are taken, else 503.
async fn healthz(State(state): State<Arc<service::State>>) -> (StatusCode, &'static str) {
    if state.queries.is_closed() {
        (StatusCode::SERVICE_UNAVAILABLE, "ending\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}
