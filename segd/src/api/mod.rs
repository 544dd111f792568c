//! The control API: HTTP/1.1 and JSON over a Unix socket. `types` is what goes over it, `peer` who may ask.

pub mod peer;
pub mod types;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/segd/segd.sock";
