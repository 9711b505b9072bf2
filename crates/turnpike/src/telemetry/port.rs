//! The monitoring port: `/metrics`, `/healthz`, `/readyz`.
//!
//! Clients are bounded: a maximum number of connections, one request per connection, a maximum
//! request size, and a time limit.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Probe;

/// Maximum number of concurrent connections; further ones wait.
const CONNECTIONS_MAX: usize = 32;
/// Time limit for the head of a request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Time limit for a request and its answer.
const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(10);
/// The interval at which the recorder drops histogram data that is no longer needed.
const UPKEEP: Duration = Duration::from_secs(5);
/// The wait after a failed accept, such as with too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
/// The content type of the Prometheus text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const UNKNOWN: &str = "not found: /metrics, /healthz and /readyz are served here";

/// Listens at `address`, and serves until the process ends.
///
/// # Errors
/// The address can't be bound.
pub(super) async fn serve(
    address: SocketAddr,
    metrics: PrometheusHandle,
    probe: Probe,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        let mut rounds = tokio::time::interval(UPKEEP);
        loop {
            rounds.tick().await;
            upkeep.run_upkeep();
        }
    });
    tokio::spawn(accept(listener, metrics, probe));
    Ok(address)
}

async fn accept(listener: TcpListener, metrics: PrometheusHandle, probe: Probe) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (metrics, probe) = (metrics.clone(), probe.clone());
                tokio::spawn(async move {
                    exchange(stream, metrics, probe).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the metrics port can't accept a connection");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Serves one request. Errors are ignored, because they affect only the client.
async fn exchange(stream: TcpStream, metrics: PrometheusHandle, probe: Probe) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(&request, &metrics, &probe);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // The client notices a broken or slow exchange, and asks again.
    let _ = tokio::time::timeout(EXCHANGE_TIME_MAX, connection).await;
}

fn answer<B>(
    request: &Request<B>,
    metrics: &PrometheusHandle,
    probe: &Probe,
) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".into());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match request.uri().path() {
        "/metrics" => text(StatusCode::OK, EXPOSITION, metrics.render()),
        "/healthz" => text(StatusCode::OK, TEXT, "the process runs\n".to_owned()),
        "/readyz" => match probe.ready() {
            Ok(what) => text(StatusCode::OK, TEXT, format!("ready: {what}\n")),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("not ready: {why}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, TEXT, format!("{UNKNOWN}\n")),
    }
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
