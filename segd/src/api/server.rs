//! Listens: on the Unix socket for the control API, on a TCP address for metrics and health. Every connection has a
//! limit of time for its headers, and there is a limit of connections.

use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::peer::{Access, Caller, Groups, Peer};
use super::routes;
use crate::engine::Engine;

/// Connections that are served at one time on the metrics address. Nobody is known there: the oldest one makes room for a
/// new one, for whoever came to read metrics is done in a moment.
const CONNECTIONS: usize = 128;
/// The same on the control socket, for those who may change the policy, who may read, and who may neither. Each has its own:
/// whoever connects and says nothing keeps nobody out who may do more.
const ADMINS: usize = 128;
const READERS: usize = 64;
const STRANGERS: usize = 16;
/// What a connection gets that finds no room.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
/// How long a request line and its headers may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait when accepting fails, which it does when descriptors run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The control socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers at it.
    #[error("another segd answers at {0}; stop that one, or give this one a socket of its own with --socket")]
    Taken(PathBuf),
    /// It could not be made.
    #[error("cannot listen on {path}: {source}; look at the folder's owner and mode, or name another with --socket")]
    Failed {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Listens on a Unix socket that everybody may connect to: who connects is asked of the kernel, and judged then.
/// A socket that nobody answers at any more is replaced.
pub fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    if UnixStream::connect(path).is_ok() {
        return Err(SocketError::Taken(path.to_owned()));
    }
    let bind = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        match fs::symlink_metadata(path) {
            Ok(there) if std::os::unix::fs::FileTypeExt::is_socket(&there.file_type()) => fs::remove_file(path)?,
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o666))?;
        Ok(listener)
    };
    bind().map_err(|source| SocketError::Failed { path: path.to_owned(), source })
}

/// Room on the control socket, by what callers may do.
struct Rooms([Arc<Semaphore>; 3]);

impl Rooms {
    fn new() -> Self {
        Self([STRANGERS, READERS, ADMINS].map(|room| Arc::new(Semaphore::new(room))))
    }

    /// A slot, if one is free.
    fn slot(&self, access: Access) -> Option<OwnedSemaphorePermit> {
        let [strangers, readers, admins] = &self.0;
        let room = match access {
            Access::Nothing => strangers,
            Access::Read => readers,
            Access::Change => admins,
        };
        Arc::clone(room).try_acquire_owned().ok()
    }
}

/// Answers the control API for as long as it is polled.
pub async fn serve_control(listener: UnixListener, engine: Arc<Engine>) {
    let router = routes::control(engine);
    let rooms = Rooms::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => match Peer::of(stream.as_fd()) {
                Ok(peer) => {
                    let access = peer.access(Groups::of_machine());
                    if let Some(slot) = rooms.slot(access) {
                        serve(stream, router.clone().layer(Extension(Caller::new(peer, access))), slot);
                    } else {
                        tracing::debug!("user {} has no room for another connection", peer.uid);
                        // Who does not take it has what it wants: none.
                        let _ = stream.try_write(FULL);
                    }
                }
                Err(error) => {
                    tracing::warn!("a connection was closed, for the kernel does not say whose it is: {error}");
                }
            },
            Err(error) => refused(&error).await,
        }
    }
}

/// Answers metrics and health for as long as it is polled.
pub async fn serve_metrics(listener: TcpListener, engine: Arc<Engine>) {
    let router = routes::public(engine);
    let mut served: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                served.retain(|connection| !connection.is_finished());
                while served.len() >= CONNECTIONS {
                    let Some(oldest) = served.pop_front() else { break };
                    tracing::debug!("there are {CONNECTIONS} connections for metrics; the oldest is closed");
                    oldest.abort();
                }
                served.push_back(serve(stream, router.clone(), ()));
            }
            Err(error) => refused(&error).await,
        }
    }
}

async fn refused(error: &io::Error) {
    tracing::warn!("cannot accept a connection: {error}");
    tokio::time::sleep(ACCEPT_RETRY).await;
}

/// Answers on one connection. `held` is let go when it ends.
pub(super) fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    held: impl Send + 'static,
) -> AbortHandle {
    let serving = tokio::spawn(async move {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await;
        if let Err(error) = served {
            tracing::debug!("a connection ended early: {error}");
        }
        drop(held);
    });
    serving.abort_handle()
}
