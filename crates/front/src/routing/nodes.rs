//! One gRPC channel for each address, shared by all senders.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tonic::transport::Channel;
use turnpike_proto::dial::{Dial, DialError};
use turnpike_proto::node::v1::node_service_client::NodeServiceClient;
use turnpike_types::limits::MESSAGE_BYTES_MAX;

/// At this many addresses all channels are dropped from the map. They are opened again on demand.
const CHANNELS_MAX: usize = 1024;

/// One gRPC channel for each address, shared by all senders.
pub(crate) struct Nodes {
    dial: Dial,
    channels: Mutex<HashMap<String, Channel>>,
}

impl Nodes {
    pub(crate) fn new(dial: Dial) -> Self {
        Self { dial, channels: Mutex::default() }
    }

    /// A client for the node at `address`.
    pub(crate) fn client(&self, address: &str) -> Result<NodeServiceClient<Channel>, DialError> {
        // No code panics while it holds this lock.
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = match channels.get(address) {
            Some(channel) => channel.clone(),
            None => {
                let channel = self.dial.channel(address)?;
                if channels.len() >= CHANNELS_MAX {
                    channels.clear();
                }
                channels.insert(address.to_owned(), channel.clone());
                channel
            }
        };
        Ok(NodeServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }
}
