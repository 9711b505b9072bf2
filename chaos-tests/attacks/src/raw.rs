//! A raw HTTP/2 client: half messages, requests that are never finished, answers that are never
//! read.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::net::{TcpSocket, TcpStream};
use tonic::{Code, Status};

/// The address from which attacks come. The fair share of a client without a certificate or a token
/// is that of its address, and the other client has 127.0.0.1.
pub const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));

/// How long an attacker waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a front or a node.
#[derive(Clone, Debug)]
pub struct RawClient(SendRequest<Bytes>);

/// An open request.
#[derive(Debug)]
pub struct RawCall {
    send: SendStream<Bytes>,
    answer: Option<ResponseFuture>,
    body: Option<RecvStream>,
}

/// Opens a TCP connection from [`ATTACKER`] to `to` (`HOST:PORT`).
///
/// # Errors
/// The server refuses the connection.
pub async fn connect(to: &str) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(ATTACKER, 0))?;
    Ok(socket.connect(to.parse()?).await?)
}

impl RawClient {
    /// Connects to `to` (`HOST:PORT`). The server may send `window` bytes of each answer.
    ///
    /// # Errors
    /// The server refuses the connection.
    pub async fn connect(to: &str, window: u32) -> Result<Self> {
        let stream = connect(to).await?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).max_concurrent_streams(0).enable_push(false);
        let (send, connection) = builder.handshake(stream).await?;
        // The requests of a connection that ended fail.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self(send))
    }

    /// Opens a request to the method at `path`, as `/package.Service/Method`.
    ///
    /// # Errors
    /// The connection has ended, or the server permits no further request on it.
    pub async fn open(&self, path: &str) -> Result<RawCall> {
        self.open_as(path, None).await
    }

    /// As [`Self::open`], with this token.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_as(&self, path: &str, token: Option<&str>) -> Result<RawCall> {
        let mut request = Request::post(format!("http://test{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(())?;
        let ready = tokio::time::timeout(PATIENCE, self.0.clone().ready()).await;
        let mut sender = ready.context("the server permits no further request")??;
        let (answer, send) = sender.send_request(request, false)?;
        Ok(RawCall { send, answer: Some(answer), body: None })
    }
}

impl RawCall {
    /// Sends `bytes` without ending the request, as fast as the server takes them.
    ///
    /// # Errors
    /// The server ended the request.
    pub async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        self.write(bytes.into(), false).await
    }

    /// Sends `bytes`, and ends the request.
    ///
    /// # Errors
    /// The server ended the request.
    pub async fn finish(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        self.write(bytes.into(), true).await
    }

    async fn write(&mut self, mut bytes: Bytes, is_end: bool) -> Result<()> {
        while !bytes.is_empty() {
            self.send.reserve_capacity(bytes.len());
            let room = tokio::time::timeout(PATIENCE, poll_fn(|cx| self.send.poll_capacity(cx)));
            let room = room.await.context("the server takes nothing")?;
            let room = room.context("the server ended the request")??;
            let part = bytes.split_to(room.min(bytes.len()));
            self.send.send_data(part, is_end && bytes.is_empty())?;
        }
        Ok(())
    }

    /// Waits for the first part of the answer, without permitting the server to send more.
    ///
    /// # Errors
    /// There is no answer, or the request was refused; the message has the code.
    pub async fn begun(&mut self) -> Result<()> {
        if let Some(status) = self.headers().await? {
            bail!("{:?}: {}", status.code(), status.message());
        }
        Ok(())
    }

    /// Reads the answer to its end, and returns its status and its data.
    ///
    /// # Errors
    /// The connection ended, or there is no end within the time limit.
    pub async fn answer(&mut self) -> Result<(Status, Vec<u8>)> {
        let reading = tokio::time::timeout(PATIENCE, self.read()).await;
        reading.context("there is no end of the answer")?
    }

    /// As [`Self::answer`]; a connection that the server ended counts as `Unavailable`.
    pub async fn code(&mut self) -> Code {
        match self.answer().await {
            Ok((status, _)) => status.code(),
            Err(_) => Code::Unavailable,
        }
    }

    /// The status, if the whole answer is in its headers.
    async fn headers(&mut self) -> Result<Option<Status>> {
        let Some(answer) = self.answer.take() else { return Ok(None) };
        let answer =
            tokio::time::timeout(PATIENCE, answer).await.context("there is no answer")??;
        if answer.headers().contains_key("grpc-status") {
            return Ok(Some(status(answer.headers())));
        }
        self.body = Some(answer.into_body());
        Ok(None)
    }

    async fn read(&mut self) -> Result<(Status, Vec<u8>)> {
        let mut bytes = Vec::new();
        if let Some(status) = self.headers().await? {
            return Ok((status, bytes));
        }
        let body = self.body.as_mut().context("the answer was read")?;
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            bytes.extend_from_slice(&data);
        }
        let trailers = body.trailers().await?.context("an answer without a status")?;
        Ok((status(&trailers), bytes))
    }
}

fn status(headers: &HeaderMap) -> Status {
    let unknown = || Status::unknown("an answer without a status");
    Status::from_header_map(headers).unwrap_or_else(unknown)
}

/// The prefix of a message that claims `length` bytes.
pub fn claim(length: u32) -> Vec<u8> {
    [&[0][..], &length.to_be_bytes()].concat()
}

/// A whole message.
///
/// # Errors
/// It is larger than 4 GiB.
pub fn message(body: &[u8]) -> Result<Vec<u8>> {
    Ok([&claim(u32::try_from(body.len())?)[..], body].concat())
}
