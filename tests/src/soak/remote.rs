//! A person at a desk, logged in to the gateway by a real sshd with a key, with a shell open. The server runs in the gateway's
//! network and knows no other user's keys; nothing of the machine's own ssh is read or written.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::lab::{Host, Namespace, Scratch};

/// Debian's; sshd wants to be called by its whole path.
const SSHD: &str = "/usr/sbin/sshd";
/// sshd refuses to start without it; a booted machine has it.
const PRIVSEP: &str = "/run/sshd";
const LOGIN: Duration = Duration::from_secs(20);

/// A server, and a session with it; both end when it drops.
#[derive(Debug)]
pub(super) struct Remote {
    _folder: Scratch,
    server: Child,
    client: Child,
    keys: ChildStdin,
    /// Lines of the shell.
    heard: Receiver<String>,
}

impl Remote {
    /// Starts the server in `gateway` and logs in to `address` from `desk`.
    pub(super) fn log_in(gateway: &Namespace, desk: &Host, address: IpAddr) -> Result<Self> {
        let folder = Scratch::new()?;
        let path = |name: &str| folder.path(name).display().to_string();
        for key in ["host", "own"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)]).status();
            ensure!(made.context("could not run ssh-keygen")?.success(), "ssh-keygen made no key");
        }
        let known = format!("{address} {}", fs::read_to_string(path("host.pub"))?);
        fs::write(path("known"), known)?;
        fs::create_dir_all(PRIVSEP).with_context(|| format!("could not make {PRIVSEP}"))?;
        let (host, allowed, log) = (path("host"), path("own.pub"), path("sshd.log"));
        let options = [
            format!("HostKey={host}"),
            format!("AuthorizedKeysFile={allowed}"),
            format!("ListenAddress={address}"),
            "PermitRootLogin=prohibit-password".to_owned(),
            "PasswordAuthentication=no".to_owned(),
            "StrictModes=no".to_owned(),
            "UsePAM=no".to_owned(),
            "PidFile=none".to_owned(),
            // Its half of a session that nobody takes down ends by itself.
            "ClientAliveInterval=10".to_owned(),
        ];
        let mut server = Command::new(SSHD);
        server.args(["-D", "-f", "/dev/null", "-E", &log]).args(options.iter().flat_map(|option| ["-o", option]));
        let server =
            gateway.run(|| server.stdin(Stdio::null()).spawn()).with_context(|| format!("could not run {SSHD}"))?;
        let mut client = Command::new("ssh");
        client.args(["-F", "none", "-q", "-T", "-i", &path("own"), "-o", "BatchMode=yes", "-o", "IdentityAgent=none"]);
        client.args(["-o", &format!("UserKnownHostsFile={}", path("known")), "-o", "StrictHostKeyChecking=yes"]);
        client.args(["-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=10", "-o", "ConnectionAttempts=5"]);
        client.arg(format!("root@{address}")).arg("sh").stdin(Stdio::piped()).stdout(Stdio::piped());
        let client = desk.net.run(|| client.spawn()).context("could not run ssh")?;
        let mut remote = Self::listening(folder, server, client)?;
        let in_time = remote.says("echo logged-in").is_ok() && remote.hears("logged-in", LOGIN);
        ensure!(in_time, "no login; sshd said:\n{}", fs::read_to_string(log).unwrap_or_default());
        Ok(remote)
    }

    fn listening(folder: Scratch, server: Child, mut client: Child) -> Result<Self> {
        let keys = client.stdin.take().context("ssh has an input")?;
        let output = client.stdout.take().context("ssh has an output")?;
        let (tell, heard) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { _folder: folder, server, client, keys, heard })
    }

    /// Types a line.
    pub(super) fn says(&mut self, line: &str) -> Result<()> {
        writeln!(self.keys, "{line}").and_then(|()| self.keys.flush()).context("the session is gone")
    }

    /// Waits for a line of the shell.
    #[must_use]
    pub(super) fn hears(&mut self, line: &str, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match self.heard.recv_timeout(left) {
                Ok(said) if said == line => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        false
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        for child in [&mut self.client, &mut self.server] {
            // One that has ended by itself is only waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
