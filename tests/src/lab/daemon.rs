//! The real `segd` in the gateway's namespace, with a configuration, state, socket and bpffs of its own, and the
//! real `segctl` beside it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::metrics::Metrics;
use super::namespace::Namespace;
use super::scratch::Scratch;

/// How long a daemon may take to be ready, or to be gone. An emulated machine verifies the programs for minutes: there the
/// environment says how many seconds it is given.
fn patience() -> Duration {
    let given = std::env::var("SEGD_TEST_PATIENCE").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(60))
}

/// The group `segd-admin`, where a daemon runs as its unit's user; `segd` has the user's number.
pub const ADMINS: u32 = 47_112;

const METRICS_PORT: u16 = 9798;

/// The paths of one instance, and the process while it runs.
#[derive(Debug)]
pub struct Daemon {
    scratch: Scratch,
    child: Option<Child>,
    /// Whom it runs as, with the service's capabilities; root with all of them if none.
    user: Option<u32>,
    /// Another build of `segd`, if it is not the one beside the tests.
    build: Option<PathBuf>,
}

impl Daemon {
    /// Lays out the directories with this zone file; nothing runs yet.
    pub fn new(zones: &str) -> Result<Self> {
        let daemon = Self { scratch: Scratch::new()?, child: None, user: None, build: None };
        fs::create_dir_all(daemon.config().parent().context("the zone file stands in a directory")?)?;
        daemon.write_zones(zones)?;
        Ok(daemon)
    }

    /// The hand-written zone file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.scratch.path("etc/zones.yaml")
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.scratch.path("segd.sock")
    }

    /// What it keeps over restarts.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.scratch.path("state")
    }

    /// What it said on standard error, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Where [`Daemon::log`] reads from.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.scratch.path("segd.log")
    }

    /// Its directory of pins, in a bpffs that nobody else uses.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.scratch.bpffs().join("segd")
    }

    /// Takes the bpffs away under it.
    pub fn loses_its_bpffs(&self) {
        self.scratch.no_bpffs();
    }

    /// Gives it an empty one.
    pub fn gets_a_bpffs(&self) -> Result<()> {
        self.scratch.fresh_bpffs()
    }

    /// Puts another zone file in the place of the old one, all or nothing.
    pub fn write_zones(&self, zones: &str) -> Result<()> {
        let next = self.scratch.path("etc/zones.yaml.next");
        fs::write(&next, zones)?;
        fs::rename(&next, self.config())?;
        Ok(())
    }

    /// Puts another zone file in place, makes the daemon that runs in `net` read it, and waits until it is in force.
    pub fn reload_to(&self, net: &Namespace, zones: &str) -> Result<()> {
        let generation = || self.metrics(net).map(|metrics| metrics.sum("segd_policy_generation", &[]));
        let before = generation()?;
        self.write_zones(zones)?;
        self.reload()?;
        let applied = until(patience(), || generation().is_ok_and(|now| now > before));
        ensure!(applied, "the daemon did not take the new zone file; it said:\n{}", self.log());
        Ok(())
    }

    /// From its next start on it is this build.
    pub fn becomes(&mut self, build: &Path) {
        self.build = Some(build.to_owned());
    }

    /// Starts it in `net` and waits until it says that it is ready.
    pub fn start(&mut self, net: &Namespace) -> Result<()> {
        let ready = self.begin(net)?;
        self.wait_until_ready(&ready)
    }

    /// Starts it in `net`, and waits for nothing. The socket hears when it is ready.
    pub fn begin(&mut self, net: &Namespace) -> Result<UnixDatagram> {
        ensure!(self.child.is_none(), "the daemon runs already");
        let notify = self.scratch.path("notify.sock");
        // A socket of an earlier start is in the way.
        let _ = fs::remove_file(&notify);
        let ready = UnixDatagram::bind(&notify).context("could not make the readiness socket")?;
        // Whoever it runs as may tell.
        fs::set_permissions(&notify, fs::Permissions::from_mode(0o666))?;
        ready.set_read_timeout(Some(Duration::from_millis(20)))?;
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let mut command = self.run_command();
        command.env("NOTIFY_SOCKET", &notify).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = net.run(|| command.spawn()).with_context(|| format!("could not start {command:?}"))?;
        fs::write(self.scratch.path("segd.pid"), child.id().to_string())?;
        self.child = Some(child);
        Ok(ready)
    }

    /// Runs it to its end: for a start that has to be refused.
    pub fn start_refused(&mut self, net: &Namespace) -> Result<Output> {
        let mut command = self.run_command();
        let mut child =
            net.run(|| command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn())?;
        if !until(patience(), || matches!(child.try_wait(), Ok(Some(_)))) {
            child.kill()?;
            bail!("the daemon was to refuse its start, but runs: {:?}", child.wait_with_output()?);
        }
        Ok(child.wait_with_output()?)
    }

    /// Asks it to end, and waits.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(libc::SIGTERM)?;
        self.wait()
    }

    /// `kill -9`, and waits.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(libc::SIGKILL)?;
        self.wait()
    }

    /// SIGHUP: it reads the zone files again, soon.
    pub fn reload(&self) -> Result<()> {
        self.signal(libc::SIGHUP)
    }

    /// The process's number, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether the process lives.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// `segctl` with these words.
    pub fn segctl(&self, words: &[&str]) -> Result<Output> {
        Command::new(binary("segctl")?)
            .arg("--socket")
            .arg(self.socket())
            .args(words)
            .stdin(Stdio::null())
            .output()
            .context("could not run segctl")
    }

    /// `segctl` that has to succeed; gives its standard output.
    pub fn ctl(&self, words: &[&str]) -> Result<String> {
        let out = self.segctl(words)?;
        let stdout = String::from_utf8_lossy(&out.stdout).into_owned();
        if !out.status.success() {
            bail!("segctl {}: {}: {stdout}{}", words.join(" "), out.status, String::from_utf8_lossy(&out.stderr));
        }
        Ok(stdout)
    }

    /// `segctl -o json` that has to succeed (or, for `explain`, to say no).
    pub fn json(&self, words: &[&str]) -> Result<serde_json::Value> {
        let out = self.segctl(&[&["-o", "json"], words].concat())?;
        ensure!(
            matches!(out.status.code(), Some(0 | 1)),
            "segctl {}: {}: {}",
            words.join(" "),
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
        serde_json::from_slice(&out.stdout)
            .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(&out.stdout)))
    }

    /// From here on it runs as this user, with no more capabilities than its unit gives it; folders are its own, as
    /// tmpfiles makes them.
    pub fn run_as(&mut self, user: u32) -> Result<()> {
        // Where it was built may be nobody else's to look into.
        copy_program(&binary("segd")?, &self.scratch.path("segd"))?;
        let config = self.config();
        let etc = config.parent().context("the zone file stands in a directory")?;
        let (state, pins, dropins) = (self.state(), self.pins(), etc.join("zones.d"));
        for (folder, mode) in
            [(etc, 0o750), (&dropins, 0o750), (&state, 0o700), (&pins, 0o700), (&self.scratch.path(""), 0o755)]
        {
            fs::create_dir_all(folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(mode))?;
            chown(folder, Some(user), Some(user))?;
        }
        let groups = fs::read_to_string("/etc/group")? + &format!("segd:x:{user}:\nsegd-admin:x:{ADMINS}:\n");
        fs::write(self.scratch.path("group"), groups)?;
        self.user = Some(user);
        Ok(())
    }

    /// Where `segd` lies for whoever it runs as.
    #[must_use]
    pub fn copied_program(&self) -> PathBuf {
        self.scratch.path("segd")
    }

    /// `segd`, as whom it runs.
    fn program(&self) -> Result<Command> {
        let build = self.build.as_ref().map_or_else(|| binary("segd"), |build| Ok(build.clone()))?;
        let Some(user) = self.user else { return Ok(Command::new(build)) };
        // The machine need not have the groups: this process, and no other, sees them.
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/group && exec setpriv \"$@\""])
            .arg(self.scratch.path("group"))
            .arg(format!("--reuid={user}"))
            .arg(format!("--regid={user}"))
            .args(["--clear-groups", "--no-new-privs"]);
        for set in ["inh-caps", "ambient-caps", "bounding-set"] {
            command.arg(format!("--{set}=-all,+bpf,+net_admin,+perfmon"));
        }
        command.arg(self.scratch.path("segd"));
        Ok(command)
    }

    /// `segd arm` of this instance.
    pub fn arm(&self, net: &Namespace) -> Result<Output> {
        self.arm_with(net, &[])
    }

    /// The same with more words behind it.
    pub fn arm_with(&self, net: &Namespace, words: &[&str]) -> Result<Output> {
        let mut command = self.program()?;
        command.arg("arm").arg("--state-dir").arg(self.state()).arg("--bpffs").arg(self.pins()).args(words);
        Ok(net.run(|| command.output())?)
    }

    /// `segd unload` of this instance.
    pub fn unload(&self, net: &Namespace) -> Result<Output> {
        self.unload_with(net, &[])
    }

    /// The same with more words behind it.
    pub fn unload_with(&self, net: &Namespace, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary("segd")?);
        command.arg("unload").arg("--bpffs").arg(self.pins()).args(words);
        Ok(net.run(|| command.output())?)
    }

    /// The Prometheus page.
    pub fn page(&self, net: &Namespace) -> Result<String> {
        http_get(net, METRICS_PORT, "/metrics").map(|(_, body)| body)
    }

    /// The Prometheus page as values.
    pub fn metrics(&self, net: &Namespace) -> Result<Metrics> {
        Metrics::parse(&self.page(net)?)
    }

    /// Status code of `/healthz`.
    pub fn health(&self, net: &Namespace) -> Result<u16> {
        http_get(net, METRICS_PORT, "/healthz").map(|(status, _)| status)
    }

    /// Leaves directories and process standing when it drops; gives the directory.
    pub fn keep(&mut self) -> Result<PathBuf> {
        fs::write(self.scratch.path("kept"), "")?;
        self.scratch.keep();
        // Dropping a `Child` does not end the process.
        self.child = None;
        Ok(self.scratch.path(""))
    }

    fn run_command(&self) -> Command {
        let mut command = self.program().unwrap_or_else(|_| Command::new("segd"));
        command.arg("run").arg("--config").arg(self.config()).arg("--state-dir").arg(self.state());
        command.arg("--bpffs").arg(self.pins()).arg("--socket").arg(self.socket());
        command.arg("--metrics").arg(format!("{}:{METRICS_PORT}", Ipv4Addr::LOCALHOST));
        command
    }

    fn wait_until_ready(&mut self, ready: &UnixDatagram) -> Result<()> {
        let end = Instant::now() + patience();
        let mut message = [0; 4096];
        while Instant::now() < end && self.runs() {
            if let Ok(length) = ready.recv(&mut message)
                && message[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
            {
                return Ok(());
            }
        }
        let alive = self.runs();
        bail!(
            "the daemon {} before it was ready; it said:\n{}",
            if alive { "took too long" } else { "ended" },
            self.log()
        )
    }

    fn signal(&self, signal: i32) -> Result<()> {
        let child = self.child.as_ref().context("the daemon does not run")?;
        // SAFETY: a plain system call; the process is our child and not yet waited for, so the number is its own.
        let sent = unsafe { libc::kill(child.id().cast_signed(), signal) };
        ensure!(sent == 0, "could not signal the daemon: {}", std::io::Error::last_os_error());
        Ok(())
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context("the daemon does not run")?;
        let mut status = None;
        if !until(patience(), || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        }) {
            child.kill()?;
            bail!("the daemon did not end in {:?}; it said:\n{}", patience(), self.log());
        }
        status.context("the daemon ended without a status")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; both calls then fail or return at once.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- what the daemon said ---\n{}---", self.log());
        }
    }
}

/// Asks again every few milliseconds until `done` or out of patience; whether it was done.
pub fn until(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Copies a program that is to be run. By a process of its own: a test beside this one that starts something in the
/// moment of an open file to write would hand it on, and Linux runs no program that is open to be written (ETXTBSY).
pub fn copy_program(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp").arg("--").args([from, to]).status().context("cp")?;
    ensure!(copied.success(), "cp {} {}: {copied}", from.display(), to.display());
    Ok(())
}

/// A program of the workspace, built beside the one that runs.
pub fn binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|dir: &Path| dir.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not built beside {}; run `cargo build` first", own.display()))
}

fn http_get(net: &Namespace, port: u16, path: &str) -> Result<(u16, String)> {
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let mut stream = net
        .run(|| TcpStream::connect_timeout(&address, Duration::from_secs(2)))
        .with_context(|| format!("could not connect to the metrics at {address}"))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: segd\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).context("no HTTP status")?.parse()?;
    Ok((status, body.to_owned()))
}
