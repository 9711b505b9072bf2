//! One gRPC channel for each address, shared by all senders, and the room for what is in flight on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tonic::transport::Channel;
use turnpike_proto::dial::{Dial, DialError};
use turnpike_proto::node::v1::node_service_client::NodeServiceClient;
use turnpike_shares::Shares;
use turnpike_types::limits::MESSAGE_BYTES_MAX;

/// At this many addresses all channels are dropped from the map. They are opened again on demand.
const CHANNELS_MAX: usize = 1024;

/// One gRPC channel for each address, shared by all senders.
pub(crate) struct Nodes {
    dial: Dial,
    /// The bytes in flight to one node.
    window_bytes: usize,
    links: Mutex<HashMap<String, Link>>,
}

/// The connection to one node.
#[derive(Clone)]
struct Link {
    channel: Channel,
    room: Arc<Shares>,
}

impl Nodes {
    pub(crate) fn new(dial: Dial, window_bytes: usize) -> Self {
        Self { dial, window_bytes, links: Mutex::default() }
    }

    /// A client for the node at `address`.
    pub(crate) fn client(&self, address: &str) -> Result<NodeServiceClient<Channel>, DialError> {
        Ok(NodeServiceClient::new(self.link(address)?.channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// The room for sub-batches in flight to the node at `address`.
    pub(crate) fn room(&self, address: &str) -> Result<Arc<Shares>, DialError> {
        Ok(self.link(address)?.room)
    }

    fn link(&self, address: &str) -> Result<Link, DialError> {
        // No code panics while it holds this lock.
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(address) {
            return Ok(link.clone());
        }
        let link =
            Link { channel: self.dial.channel(address)?, room: Shares::new(self.window_bytes) };
        if links.len() >= CHANNELS_MAX {
            links.clear();
        }
        links.insert(address.to_owned(), link.clone());
        Ok(link)
    }
}
