//! Raw clients against the transport: what a client may not do, and that others are served.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod connections;
mod decoding;
mod messages;
mod methods;
mod support;
mod tls;
mod unassigned;
