//! Free ports.

use std::io;
use std::net::TcpListener;

/// A port of 127.0.0.1 on which no process listens. Another process may take it before the caller
/// does.
///
/// # Errors
/// There is no free port.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
