//! What is asked for, and the answer.

use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use hyper::http::HeaderValue;
use hyper::{HeaderMap, Method, Response, StatusCode, Uri};
use metrics_exporter_prometheus::PrometheusHandle;
use rowtide_engine::{Environment, Monitor, observe};

use crate::gate::Gate;
use crate::health::health;

/// What all requests are answered from.
pub(crate) struct Site {
    pub(crate) gate: Gate,
    pub(crate) pipeline: String,
    pub(crate) monitor: Monitor,
    pub(crate) environment: Environment,
    pub(crate) metrics: PrometheusHandle,
}

const TEXT: &str = "text/plain; charset=utf-8";
/// The text format that Prometheus reads.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Site {
    /// Answers a request.
    pub(crate) fn answer(
        &self,
        (method, uri): (&Method, &Uri),
        headers: &HeaderMap,
    ) -> Response<String> {
        if let Err(status) = self.gate.pass(headers) {
            return refusal(status);
        }
        if method != Method::GET {
            return refusal(StatusCode::METHOD_NOT_ALLOWED);
        }
        match uri.path() {
            "/metrics" => {
                observe(&self.pipeline, &self.monitor, &self.environment);
                response(StatusCode::OK, EXPOSITION, self.metrics.render())
            }
            "/health" => {
                let (works, said) = health(&self.pipeline, &self.monitor.snapshot());
                let status = if works { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                response(status, "application/json", format!("{said}\n"))
            }
            _ => refusal(StatusCode::NOT_FOUND),
        }
    }
}

fn refusal(status: StatusCode) -> Response<String> {
    let said = match status {
        StatusCode::UNAUTHORIZED => "a token is needed: Authorization: Bearer …\n",
        StatusCode::MISDIRECTED_REQUEST => "ask for localhost or 127.0.0.1\n",
        StatusCode::METHOD_NOT_ALLOWED => "only GET is answered\n",
        _ => "there are /metrics and /health\n",
    };
    let mut response = response(status, TEXT, said.to_owned());
    match status {
        StatusCode::UNAUTHORIZED => {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        }
        _ => {}
    }
    response
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
