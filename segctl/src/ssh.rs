//! The SSH connection that whoever types came by: a change that would cut it is refused. `sudo` hides it from the
//! environment, so the processes above are asked as well. Knows nothing of policies.

use std::fs;

use segd::api::types::CallerConnection;

/// What sshd leaves in the environment of a session: address and port of the client, address and port of the server.
const VARIABLE: &str = "SSH_CONNECTION";
/// Processes above this one that are asked.
const GENERATIONS: usize = 16;

/// Of verbs that can cut whoever types them.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Insist {
    /// Even if it cuts your own SSH connection
    #[arg(long)]
    force: bool,
}

impl Insist {
    /// The connection that has to stay; none if there is none that can be found, or if it may go.
    pub(crate) fn connection(self) -> Option<CallerConnection> {
        if self.force { None } else { connection() }
    }
}

fn connection() -> Option<CallerConnection> {
    let own = std::env::var(VARIABLE).ok();
    own.or_else(above).as_deref().and_then(parsed)
}

fn above() -> Option<String> {
    let mut pid = std::process::id();
    for _ in 0..GENERATIONS {
        pid = parent(pid).filter(|parent| *parent > 1)?;
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if let Some(value) = found_in(&environment) {
            return Some(value);
        }
    }
    None
}

fn found_in(environment: &[u8]) -> Option<String> {
    let value = |entry: &[u8]| entry.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"=").map(<[u8]>::to_vec);
    String::from_utf8(environment.split(|byte| *byte == 0).find_map(value)?).ok()
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// `10.0.0.7 51122 10.0.0.1 22`; an IPv6 address of one link has its interface behind a `%`.
fn parsed(text: &str) -> Option<CallerConnection> {
    let words: Vec<&str> = text.split(' ').collect();
    let [src, _, dst, port] = words[..] else { return None };
    let address = |word: &str| Some(word.split('%').next()?.parse::<std::net::IpAddr>().ok()?.to_canonical());
    Some(CallerConnection { src: address(src)?, dst: address(dst)?, port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_as_sshd_writes_it() {
        let found = parsed("10.0.0.7 51122 10.0.0.1 22").unwrap();
        assert_eq!(
            (found.src.to_string(), found.dst.to_string(), found.port),
            ("10.0.0.7".into(), "10.0.0.1".into(), 22)
        );
        assert_eq!(parsed("fe80::1%eth0 51122 fe80::2%eth0 2222").unwrap().dst.to_string(), "fe80::2");
        assert_eq!(parsed("::ffff:10.0.0.7 51122 ::ffff:10.0.0.1 22").unwrap().src.to_string(), "10.0.0.7");
        for broken in ["", "10.0.0.7", "a 1 b 2", "10.0.0.7 1 10.0.0.1 ssh"] {
            assert_eq!(parsed(broken), None, "{broken}");
        }
    }

    #[test]
    fn it_is_found_in_the_environment_of_a_process_above() {
        assert_eq!(found_in(b"HOME=/root\0SSH_CONNECTION=1 2 3 4\0TERM=x\0"), Some("1 2 3 4".into()));
        assert_eq!(found_in(b"OLD_SSH_CONNECTION=1 2 3 4\0"), None);
        assert!(parent(std::process::id()).is_some());
    }
}
