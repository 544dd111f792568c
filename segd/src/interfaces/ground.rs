//! Network namespaces for this room's tests. Each lives as long as its thread or its process, so nothing is left
//! behind; nothing here ever touches the namespace the tests were started in.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::{fs, thread, time::Duration};

/// Runs `test` on a thread with a network namespace of its own; commands that it starts are in it too.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    // SAFETY: geteuid takes nothing and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        skipped(&format!("needs root: {}", thread::current().name().unwrap_or("a test")));
        return;
    }
    let outcome = thread::spawn(|| {
        // SAFETY: changes only which network namespace this thread is in, and the thread ends here.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "{}", std::io::Error::last_os_error());
        test();
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Says so past the test runner, which keeps what a passing test prints to itself.
fn skipped(why: &str) {
    writeln!(std::io::stderr(), "SKIPPED: {why}").unwrap();
}

/// Runs `ip` with these words, and insists.
pub(crate) fn ip(words: &str) {
    let outcome = run("ip", words);
    assert!(outcome.is_ok(), "ip {words}: {outcome:?}");
}

/// Runs `ip` with these words; `false`, loudly, if this kernel has no such kind of device.
pub(super) fn ip_if_kernel_can(words: &str) -> bool {
    match run("ip", words) {
        Ok(()) => true,
        Err(reason) if reason.contains("Unknown device type") => {
            skipped(&format!("this kernel cannot do: ip {words}"));
            false
        }
        Err(reason) => panic!("ip {words}: {reason}"),
    }
}

/// Runs many lines of `ip` in one process.
pub(super) fn ip_batch(lines: impl IntoIterator<Item = String>) {
    let lines: Vec<String> = lines.into_iter().collect();
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "ip -batch failed");
}

/// Runs a program; its error output if it fails.
pub(super) fn run(program: &str, words: &str) -> Result<(), String> {
    let output = Command::new(program).args(words.split_whitespace()).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// A network namespace beside the test's own, kept by a process that sleeps.
pub(super) struct Neighbour(Child);

impl Neighbour {
    pub(super) fn new() -> Self {
        let child = Command::new("unshare").args(["-n", "sleep", "300"]).spawn().unwrap();
        let neighbour = Self(child);
        let ours = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", neighbour.pid());
        while fs::read_link(&theirs).unwrap() == ours {
            thread::sleep(Duration::from_millis(1));
        }
        neighbour
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Runs a program there.
    pub(super) fn run(&self, words: &str) -> Result<(), String> {
        run("nsenter", &format!("-t {} -n {words}", self.pid()))
    }

    /// Gives it one end of a cable to us: `name` here, `eth0` there, with these addresses.
    pub(super) fn connect(&self, name: &str, here: &str, there: &str) {
        ip(&format!("link add {name} type veth peer name eth0 netns {}", self.pid()));
        ip(&format!("address add {here} dev {name}"));
        ip(&format!("link set {name} up"));
        let gateway = here.split('/').next().unwrap();
        for words in [
            format!("ip address add {there} dev eth0"),
            "ip link set eth0 up".to_owned(),
            format!("ip route add default via {gateway}"),
        ] {
            self.run(&words).unwrap();
        }
    }

    /// Whether an echo comes back within a second.
    pub(super) fn reaches(&self, address: &str) -> bool {
        self.run(&format!("ping -c 1 -W 1 {address}")).is_ok()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
