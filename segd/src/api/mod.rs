//! The control API: HTTP/1.1 and JSON over a Unix socket. `types` is what goes over it, `peer` who may ask, `routes`
//! what can be asked, `server` the listening. Holds no state of its own.

#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod peer;
mod reply;
mod routes;
pub mod server;
#[cfg(test)]
mod tests;
pub mod types;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/segd/segd.sock";
