//! Raw clients against the transport: what a client may not do, and that others are served.
