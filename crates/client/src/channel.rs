//! The connection to a front, with the token that authenticates its requests.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tonic::body::Body;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tonic::codegen::{Context, Poll, Service};
use tonic::transport::Channel;
use tonic::transport::channel::ResponseFuture;

/// A token file is not longer than this.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;

/// A token that authenticates requests (`turnpike access token issue`). Clones share it.
#[derive(Clone)]
pub struct ClientToken(Arc<Source>);

enum Source {
    Text(HeaderValue),
    /// The file, and the token that was last read from it.
    File(PathBuf, Mutex<HeaderValue>),
}

impl std::fmt::Debug for ClientToken {
    /// Does not show the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientToken")
    }
}

impl ClientToken {
    /// This token.
    ///
    /// # Errors
    /// The text can't be a token.
    pub fn from_text(token: &str) -> Result<Self, String> {
        Ok(Self(Arc::new(Source::Text(header(token)?))))
    }

    /// The token in a file. The file is read again for each request, so that a new token takes
    /// effect when the file is replaced.
    ///
    /// # Errors
    /// The file can't be read, or holds no token.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, String> {
        let path = path.into();
        let token = read(&path)?;
        Ok(Self(Arc::new(Source::File(path, Mutex::new(token)))))
    }

    /// The present token. If the file can't be read any more, the last token stays.
    fn current(&self) -> HeaderValue {
        match self.0.as_ref() {
            Source::Text(token) => token.clone(),
            Source::File(path, last) => {
                // A poisoned lock is used too, because no code panics while it holds this lock.
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                match read(path) {
                    Ok(token) => *last = token,
                    Err(why) => tracing::warn!(why, "the token of the last request is used"),
                }
                last.clone()
            }
        }
    }
}

fn read(path: &PathBuf) -> Result<HeaderValue, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let file = File::open(path).map_err(|why| wrong(&why))?;
    let mut text = String::new();
    let reading = file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text);
    reading.map_err(|why| wrong(&why))?;
    header(text.trim()).map_err(|why| wrong(&why))
}

fn header(token: &str) -> Result<HeaderValue, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if token.is_empty() || !token.bytes().all(is_plain) {
        return Err("not a token of `turnpike access token issue`".to_owned());
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| "not a token of `turnpike access token issue`".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// A connection to a front. Its requests carry the client's token, if it has one.
#[derive(Clone, Debug)]
pub struct FrontChannel {
    channel: Channel,
    token: Option<ClientToken>,
}

impl FrontChannel {
    pub(crate) const fn new(channel: Channel, token: Option<ClientToken>) -> Self {
        Self { channel, token }
    }
}

impl Service<Request<Body>> for FrontChannel {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> ResponseFuture {
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.current());
        }
        self.channel.call(request)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_gives_the_new_token_and_a_lost_one_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(ClientToken::from_file(&path).unwrap_err().contains("token: "));
        for wrong in ["", "\n", "a b", "a\nb"] {
            std::fs::write(&path, wrong).unwrap();
            assert!(ClientToken::from_file(&path).is_err(), "{wrong:?}");
        }
        std::fs::write(&path, "tpt1.first\n").unwrap();
        let token = ClientToken::from_file(&path).unwrap();
        assert_eq!(token.current(), "Bearer tpt1.first");
        std::fs::write(&path, "tpt1.second").unwrap();
        assert_eq!(token.current(), "Bearer tpt1.second");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(token.current(), "Bearer tpt1.second");
        assert_eq!(format!("{token:?}"), "ClientToken");
    }
}
