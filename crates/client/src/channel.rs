//! The connection to a front, with the token that authenticates its requests.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::future::{BoxFuture, Either};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{HeaderValue, Request, Response};
use tonic::codegen::{Context, Poll, Service};
use tonic::transport::Channel;
use tonic::transport::channel::ResponseFuture;

/// A token file is not longer than this.
const TOKEN_FILE_BYTES_MAX: u64 = 4096;
/// How often a token file is looked at, while requests are sent.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A token that authenticates requests (`turnpike access token issue`). Clones share it.
#[derive(Clone)]
pub struct ClientToken(Arc<Source>);

enum Source {
    Text(HeaderValue),
    File(PathBuf, Mutex<Last>),
}

/// What was last read from a token file.
struct Last {
    token: HeaderValue,
    version: FileVersion,
    looked_at: Instant,
}

/// What differs when a file was replaced or written: the time of its last change, and its size.
type FileVersion = (SystemTime, u64);

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

    /// The token in a file. While requests are sent the file is looked at every second, and read again
    /// when it has changed, so that a new token takes effect when the file is replaced.
    ///
    /// # Errors
    /// The file can't be read, can be read by others than its owner, or holds no token.
    pub fn from_file(path: impl Into<PathBuf>) -> Result<Self, String> {
        let path = path.into();
        let (token, version) = read(&path, None)?.ok_or("the file has no token")?;
        let last = Last { token, version, looked_at: Instant::now() };
        Ok(Self(Arc::new(Source::File(path, Mutex::new(last)))))
    }

    /// The present token; `None` if the file has to be looked at first.
    fn fresh(&self) -> Option<HeaderValue> {
        match self.0.as_ref() {
            Source::Text(token) => Some(token.clone()),
            Source::File(_, last) => {
                let last = locked(last);
                (last.looked_at.elapsed() < LOOK_EVERY).then(|| last.token.clone())
            }
        }
    }

    /// The token after a look at the file. If the file can't be read any more, the last token stays.
    fn look(&self) -> HeaderValue {
        match self.0.as_ref() {
            Source::Text(token) => token.clone(),
            Source::File(path, last) => {
                let known = locked(last).version;
                let read = read(path, Some(known));
                let mut last = locked(last);
                last.looked_at = Instant::now();
                match read {
                    Ok(Some((token, version))) => (last.token, last.version) = (token, version),
                    Ok(None) => {}
                    Err(why) => tracing::warn!(why, "the token of the last request is used"),
                }
                last.token.clone()
            }
        }
    }
}

/// A poisoned lock is used too, because no code panics while it holds this lock.
fn locked(last: &Mutex<Last>) -> MutexGuard<'_, Last> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The token in the file and the file's version; `None` if it has the version `known`.
fn read(
    path: &Path,
    known: Option<FileVersion>,
) -> Result<Option<(HeaderValue, FileVersion)>, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let file = File::open(path).map_err(|why| wrong(&why))?;
    let metadata = file.metadata().map_err(|why| wrong(&why))?;
    let version = version(&metadata).map_err(|why| wrong(&why))?;
    if known == Some(version) {
        return Ok(None);
    }
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        return Err(wrong(&"others can read this token: run chmod 600 on it"));
    }
    let mut text = String::new();
    let reading = file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text);
    reading.map_err(|why| wrong(&why))?;
    Ok(Some((header(text.trim()).map_err(|why| wrong(&why))?, version)))
}

fn version(metadata: &Metadata) -> std::io::Result<FileVersion> {
    Ok((metadata.modified()?, metadata.len()))
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
    type Future =
        Either<ResponseFuture, BoxFuture<'static, Result<Response<Body>, tonic::transport::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some(token) = &self.token else { return Either::Left(self.channel.call(request)) };
        if let Some(token) = token.fresh() {
            request.headers_mut().insert(AUTHORIZATION, token);
            return Either::Left(self.channel.call(request));
        }
        // A file system may block, so the file is not read on a thread of the runtime. The channel
        // that is ready goes with the request.
        let unready = self.channel.clone();
        let mut channel = std::mem::replace(&mut self.channel, unready);
        let token = token.clone();
        Either::Right(Box::pin(async move {
            let last = token.clone();
            // The task ends early only while the runtime is shut down.
            let looked = tokio::task::spawn_blocking(move || token.look()).await;
            if let Some(token) = looked.ok().or_else(|| last.fresh()) {
                request.headers_mut().insert(AUTHORIZATION, token);
            }
            channel.call(request).await
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_replaced_file_gives_the_new_token_within_a_second_and_a_lost_one_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        assert!(ClientToken::from_file(&path).unwrap_err().contains("token: "));
        for wrong in ["", "\n", "a b", "a\nb"] {
            write(&path, wrong, 0o600);
            assert!(ClientToken::from_file(&path).is_err(), "{wrong:?}");
        }
        write(&path, "tpt1.first\n", 0o600);
        let token = ClientToken::from_file(&path).unwrap();
        assert_eq!(token.fresh().unwrap(), "Bearer tpt1.first");
        write(&path, "tpt1.second", 0o600);
        assert_eq!(token.fresh().unwrap(), "Bearer tpt1.first");
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(token.fresh(), None, "the file has to be looked at");
        assert_eq!(token.look(), "Bearer tpt1.second");
        assert_eq!(token.fresh().unwrap(), "Bearer tpt1.second");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(token.look(), "Bearer tpt1.second");
        assert_eq!(format!("{token:?}"), "ClientToken");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for mode in [0o644, 0o640, 0o604] {
            write(&path, "tpt1.first", mode);
            let refused = ClientToken::from_file(&path).unwrap_err();
            assert!(refused.contains("chmod 600"), "{refused}");
        }
        write(&path, "tpt1.first", 0o600);
        let token = ClientToken::from_file(&path).unwrap();
        write(&path, "tpt1.second!", 0o644);
        assert_eq!(token.look(), "Bearer tpt1.first", "the last one stays");
    }
}
