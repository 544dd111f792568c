//! `segd run`: sockets, signals and news of the machine, each handed to the engine as it comes. Decides nothing about
//! policy, and leaves enforcement in place however it ends.

use std::net::SocketAddr;
use std::os::fd::FromRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use segd::api::server::{listen, serve_control, serve_metrics};
use segd::engine::{CheckedPolicy, Engine, FirstBoot, Folders, Machine, Started, read_policy};
use segd::history::Who;
use segd::interfaces::{Change, Watcher};
use segd::state::boot::BootNote;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{interval, timeout};

use crate::cli::Run;

/// How often the engine looks at what nobody tells.
const TICK: Duration = Duration::from_secs(3);
/// How often what was seen is written down.
const KEEP: Duration = Duration::from_secs(5);
/// A burst of changes is over when nothing came for so long: a link that comes up tells several things at once.
const QUIET: Duration = Duration::from_millis(20);
/// A burst is not waited out for longer than this: a new interface is closed until it is guarded.
const BURST: Duration = Duration::from_millis(100);

struct Sockets {
    control: UnixListener,
    metrics: TcpListener,
}

struct Signals {
    reload: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// Runs until it is told to end.
pub(crate) async fn run(options: Run) -> anyhow::Result<()> {
    let Run { first, config, state_dir, bpffs, socket, metrics, log_level: _ } = options;
    let folders = Folders { config, state: state_dir, bpffs };
    let policy = read_policy(&folders)?;
    // Signals that come from here on are not lost, nor do they end a daemon that is half started.
    let signals = Signals::listen()?;
    // An address that is taken is found before the kernel is touched; answers come when there is something to tell.
    let sockets = Sockets { metrics: listen_for_metrics(metrics).await?, control: listen(&socket)? };
    if let Err(error) = BootNote::remove(&socket) {
        tracing::warn!("cannot remove {}: {error}", BootNote::path(&socket).display());
    }
    let outcome = enforce(folders, policy, first.choice(), sockets, signals).await;
    if let Err(error) = std::fs::remove_file(&socket) {
        tracing::warn!("cannot remove {}: {error}", socket.display());
    }
    outcome
}

/// The socket that the service manager holds for us, so that we need none of our own; else a fresh one at `address`.
async fn listen_for_metrics(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let handed = sd_notify::listen_fds().context("what the service manager handed over can't be read")?.next();
    let Some(handed) = handed else {
        let bound = TcpListener::bind(address).await;
        return bound.with_context(|| format!("cannot listen on {address}; name another address with --metrics"));
    };
    // SAFETY: the service manager opened it for this process, and nobody else here takes it.
    let socket = unsafe { std::net::TcpListener::from_raw_fd(handed) };
    let ready =
        socket.local_addr().and_then(|_| socket.set_nonblocking(true)).and_then(|()| TcpListener::from_std(socket));
    ready.context("what the service manager handed over is no listening TCP socket; look at segd-metrics.socket")
}

/// Starts the engine and serves it, until the daemon is told to end.
async fn enforce(
    folders: Folders,
    policy: CheckedPolicy,
    first_boot: FirstBoot,
    sockets: Sockets,
    signals: Signals,
) -> anyhow::Result<()> {
    let mut watcher = Watcher::open()?;
    let machine = take_stock(&mut watcher).await?;
    let started = tokio::task::spawn_blocking(move || Engine::start(&folders, policy, machine, first_boot)).await??;
    let Started { engine, mut events, adopted, locks: _locks } = started;
    let engine = Arc::new(engine);
    let reader = Arc::clone(&engine);
    tokio::spawn(async move {
        loop {
            let batch = events.next().await;
            reader.take_events(&batch);
        }
    });
    tokio::spawn(keep_seen(Arc::clone(&engine)));
    tokio::spawn(serve_control(sockets.control, Arc::clone(&engine)));
    tokio::spawn(serve_metrics(sockets.metrics, Arc::clone(&engine)));
    tell_ready(&engine, adopted).await?;
    attend(Arc::clone(&engine), watcher, signals).await?;
    blocking(move || engine.keep_seen()).await?;
    tracing::info!("segd ends; what is enforced stays enforced");
    Ok(())
}

/// Writes down what was seen, now and then. Ends with an engine that failed.
async fn keep_seen(engine: Arc<Engine>) {
    let mut ticks = interval(KEEP);
    loop {
        ticks.tick().await;
        let engine = Arc::clone(&engine);
        if blocking(move || engine.keep_seen()).await.is_err() {
            return;
        }
    }
}

/// Hands signals and news of the machine to the engine, until the daemon is told to end.
async fn attend(engine: Arc<Engine>, mut watcher: Watcher, mut signals: Signals) -> anyhow::Result<()> {
    let mut ticks = interval(TICK);
    loop {
        let engine = Arc::clone(&engine);
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            // A refusal is counted and logged by the engine; the policy in force stays.
            _ = signals.reload.recv() => drop(blocking(move || engine.by(Who::daemon()).reload()).await?),
            _ = ticks.tick() => {
                let vital = blocking(move || {
                    engine.tick();
                    engine.is_vital()
                });
                if vital.await? {
                    tell_alive();
                }
            }
            change = watcher.next() => match change {
                Ok(change) => {
                    let changes = gather(&mut watcher, change).await;
                    blocking(move || engine.machine_changed(changes)).await?;
                }
                Err(error) => {
                    tracing::error!("{error}");
                    tokio::time::sleep(TICK).await;
                }
            },
        }
    }
}

/// An engine that panicked is not to be trusted: the daemon ends, and its service starts it anew.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("the engine failed; enforcement goes on, restart segd")
}

/// The links and addresses that are there: all links come first, then all addresses.
pub(crate) async fn take_stock(watcher: &mut Watcher) -> anyhow::Result<Machine> {
    let mut machine = Machine::default();
    loop {
        let change = watcher.next().await?;
        let complete = matches!(change, Change::Addresses(_));
        machine.apply(change);
        if complete {
            return Ok(machine);
        }
    }
}

/// `first`, and what else comes in the next moment.
async fn gather(watcher: &mut Watcher, first: Change) -> Vec<Change> {
    let mut changes = vec![first];
    let more = async {
        // An error comes again at the next call, where it is told.
        while let Ok(Ok(change)) = timeout(QUIET, watcher.next()).await {
            changes.push(change);
        }
    };
    // What is over time comes at the next call: the watcher may be left at any time.
    let _ = timeout(BURST, more).await;
    changes
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            reload: on(SignalKind::hangup())?,
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }
}

/// The service manager's watchdog, where it has one: a daemon that hangs, or that has lost hold of the kernel, does not get
/// here, and is started anew.
fn tell_alive() {
    if sd_notify::watchdog_enabled().is_some()
        && let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Watchdog])
    {
        tracing::warn!("cannot tell the service manager's watchdog: {error}");
    }
}

/// One line for people, one datagram for the service manager.
async fn tell_ready(engine: &Arc<Engine>, adopted: bool) -> anyhow::Result<()> {
    let asked = Arc::clone(engine);
    let status = blocking(move || asked.status()).await?.value;
    let enforced = status.interfaces.iter().filter(|interface| interface.enforced).count();
    let guarded = status.interfaces.len();
    let taken_over = if adopted { ", taken over from an earlier daemon" } else { "" };
    let line =
        format!("{}: generation {} on {enforced} of {guarded} interfaces{taken_over}", status.state, status.generation);
    eprintln!("segd is ready, {line}");
    let told = [sd_notify::NotifyState::Ready, sd_notify::NotifyState::Status(&line)];
    if let Err(error) = sd_notify::notify(&told) {
        tracing::warn!("cannot tell the service manager: {error}");
    }
    Ok(())
}
