//! A server with a small service, and raw HTTP/2 clients.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::{Code, Status};
use turnpike_listen::{
    Budget, ClientKey, Deadlines, ListenConfig, Peer, RequestRoom, Transport, serve,
};

pub(crate) const INGEST: &str = "/turnpike.ingest.v1.IngestService/Ingest";
/// A unary method, which the test's service answers with [`ANSWER_BYTES`].
pub(crate) const SHOW: &str = "/turnpike.account.v1.AccountService/Show";
pub(crate) const ANSWER_BYTES: usize = 1 << 20;
/// A unary method, which the test's service answers with [`SHORT_ANSWER_BYTES`].
pub(crate) const STATUS: &str = "/turnpike.cluster.v1.ClusterService/Status";
/// The name of a client that is a member of the cluster.
pub(crate) const MEMBER: &str = "member";
pub(crate) const SHORT_ANSWER_BYTES: usize = 200;
/// A method whose answer never ends.
pub(crate) const WATCH: &str = "/grpc.health.v1.Health/Watch";
pub(crate) const MIB: usize = 1 << 20;

/// Answers each message of a stream with one of six bytes; answers a unary request at length.
#[derive(Clone, Default)]
pub(crate) struct Echo {
    pub(crate) peers: Arc<Mutex<Vec<Peer>>>,
}

impl tonic::codegen::Service<Request<Body>> for Echo {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.peers.lock().unwrap().push(request.extensions().get::<Peer>().unwrap().clone());
        let path = request.uri().path().to_owned();
        // As the layer that authenticates requests does.
        if path.starts_with("/turnpike.") {
            let client = request.headers().get("client").map_or("", |name| name.to_str().unwrap());
            let room = request.extensions().get::<RequestRoom>().unwrap();
            let key = if client == MEMBER { ClientKey::NONE } else { ClientKey::of(client) };
            if let Err(refusal) = room.assign(key) {
                return Box::pin(async move { Ok(refusal.into_http()) });
            }
        }
        let answer_bytes = match path.as_str() {
            SHOW => Some(ANSWER_BYTES),
            STATUS => Some(SHORT_ANSWER_BYTES),
            _ => None,
        };
        let (answers, stream) = mpsc::channel(1);
        let mut body = request.into_body();
        let answering = async move {
            let status = loop {
                match body.frame().await {
                    Some(Ok(_)) if answer_bytes.is_some() => {}
                    Some(Ok(_)) => {
                        let answer = Frame::data(Bytes::from_static(&[0, 0, 0, 0, 1, 7]));
                        if answers.send(Ok::<_, Status>(answer)).await.is_err() {
                            return;
                        }
                    }
                    Some(Err(status)) => break status,
                    None => break Status::ok(""),
                }
            };
            if path == WATCH && status.code() == Code::Ok {
                answers.closed().await;
            }
            if let (Some(bytes), Code::Ok) = (answer_bytes, status.code()) {
                let answer = Frame::data(Bytes::from(vec![0; bytes]));
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
            let mut trailers = tonic::codegen::http::HeaderMap::new();
            status.add_header(&mut trailers).unwrap();
            drop(answers.send(Ok(Frame::trailers(trailers))).await);
        };
        tokio::spawn(answering);
        let body = Body::new(StreamBody::new(ReceiverStream::new(stream)));
        Box::pin(async { Ok(Response::new(body)) })
    }
}

/// A server that runs until it is stopped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) budget: Budget,
    pub(crate) echo: Echo,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) done: JoinHandle<usize>,
}

impl Server {
    pub(crate) async fn start(config: ListenConfig, bytes: usize) -> Self {
        Self::over(Transport::Plain, config, bytes).await
    }

    pub(crate) async fn over(transport: Transport, config: ListenConfig, bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (budget, echo) = (Budget::new(bytes), Echo::default());
        let (stop, stopped) = oneshot::channel();
        let stopped = async {
            drop(stopped.await);
        };
        let serving = serve(listener, transport, echo.clone(), config, budget.clone(), stopped);
        let done = tokio::spawn(serving);
        Self { address, budget, echo, stop: Some(stop), done }
    }
}

/// Small limits, and deadlines that no test reaches unless it sets its own.
pub(crate) fn config() -> ListenConfig {
    let hour = Duration::from_secs(3_600);
    ListenConfig {
        connections_max: 100,
        connections_per_address_max: 100,
        streams_per_connection_max: 1_000,
        handshakes_max: 10,
        connection_window_bytes: 256 * 1024,
        stream_window_bytes: 64 * 1024,
        headers_bytes_max: 16 * 1024,
        deadlines: Deadlines {
            handshake: hour,
            frame: hour,
            message: hour,
            silence: hour,
            silence_min: hour,
            unassigned: hour,
            reading: hour,
            ping: hour,
            room: Duration::from_millis(50),
            age: 24 * hour,
            grace: hour,
        },
    }
}

/// A raw HTTP/2 client.
#[derive(Clone)]
pub(crate) struct Client {
    send: SendRequest<Bytes>,
    name: &'static str,
}

/// An open request.
pub(crate) struct Call {
    pub(crate) send: SendStream<Bytes>,
    answer: Option<ResponseFuture>,
    body: Option<RecvStream>,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) retry_after: Option<String>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.unwrap()
    }

    pub(crate) async fn try_connect(address: SocketAddr) -> Result<Self, h2::Error> {
        Self::on(TcpStream::connect(address).await.unwrap(), 1 << 20).await
    }

    pub(crate) async fn on(
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        window: u32,
    ) -> Result<Self, h2::Error> {
        let mut builder = h2::client::Builder::new();
        let (send, connection) = builder.initial_window_size(window).handshake(io).await?;
        tokio::spawn(connection);
        Ok(Self { send, name: "a" })
    }

    /// The same connection, whose requests are assigned to the client `name`.
    pub(crate) fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    pub(crate) async fn open(&self, path: &str) -> Call {
        self.try_open(path).await.unwrap()
    }

    pub(crate) async fn try_open(&self, path: &str) -> Result<Call, h2::Error> {
        let request = Request::post(format!("http://test{path}"));
        let request = request.header("content-type", "application/grpc");
        let request = request.header("client", self.name).body(()).unwrap();
        let (answer, send) = self.send.clone().ready().await?.send_request(request, false)?;
        Ok(Call { send, answer: Some(answer), body: None })
    }
}

impl Call {
    /// Sends `bytes` as the flow control permits.
    pub(crate) async fn send(&mut self, bytes: &[u8], end: bool) -> Result<(), h2::Error> {
        let mut bytes = Bytes::copy_from_slice(bytes);
        if bytes.is_empty() {
            return self.send.send_data(bytes, end);
        }
        while !bytes.is_empty() {
            self.send.reserve_capacity(bytes.len());
            let room = std::future::poll_fn(|cx| self.send.poll_capacity(cx)).await;
            let room = room.ok_or_else(|| h2::Error::from(h2::Reason::CANCEL))??;
            let part = bytes.split_to(room.min(bytes.len()));
            self.send.send_data(part, end && bytes.is_empty())?;
        }
        Ok(())
    }

    async fn body(&mut self) -> Result<&mut RecvStream, h2::Error> {
        if let Some(answer) = self.answer.take() {
            self.body = Some(answer.await?.into_body());
        }
        Ok(self.body.as_mut().unwrap())
    }

    /// Waits for the answers to `count` messages.
    pub(crate) async fn answers(&mut self, count: usize) {
        let mut bytes = 0;
        while bytes < 6 * count {
            let body = self.body().await.unwrap();
            let data = body.data().await.expect("an answer before the end").unwrap();
            bytes += data.len();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        assert_eq!(bytes, 6 * count);
    }

    /// Waits for the end without taking any byte of the answer.
    pub(crate) async fn unread(mut self) -> Result<(), h2::Error> {
        let body = self.body().await?;
        while let Some(data) = body.data().await {
            data?;
        }
        body.trailers().await.map(drop)
    }

    /// Reads to the end.
    pub(crate) async fn end(mut self) -> Result<End, h2::Error> {
        if let Some(answer) = self.answer.take() {
            let answer = answer.await?;
            if answer.headers().contains_key("grpc-status") {
                return Ok(End::of(answer.headers()));
            }
            self.body = Some(answer.into_body());
        }
        let body = self.body().await?;
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        Ok(End::of(&body.trailers().await?.expect("trailers")))
    }
}

impl End {
    fn of(headers: &tonic::codegen::http::HeaderMap) -> Self {
        let status = Status::from_header_map(headers).unwrap();
        let retry_after = headers.get(turnpike_listen::RETRY_AFTER);
        let retry_after = retry_after.map(|value| value.to_str().unwrap().to_owned());
        Self { code: status.code(), message: status.message().to_owned(), retry_after }
    }
}

/// A gRPC message of `length` bytes.
pub(crate) fn message(length: usize) -> Vec<u8> {
    let mut bytes = claim(length);
    bytes.resize(5 + length, 9);
    bytes
}

/// The prefix of a message of `length` bytes.
pub(crate) fn claim(length: usize) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
    bytes
}

/// Waits until the server closes the connection.
pub(crate) async fn closed(stream: &mut TcpStream) {
    let mut bytes = [0; 1024];
    let reading = async {
        // What the server sent before, such as its settings, is skipped. A reset ends it too.
        while let Ok(1..) = stream.read(&mut bytes).await {}
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("the server closes it");
}

/// Waits until `holds`.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..4_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not reached: {what}");
}
