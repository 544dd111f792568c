//! Who is asking: the credentials of the process at the other end of the Unix socket, as the kernel knows them,
//! and what they may do. The decision is pure; only [`Peer::of`] and [`Groups::of_machine`] ask the system.

use std::ffi::{CString, c_void};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Instant;

use super::types::CallerConnection;
use crate::engine::{Acting, Engine};
use crate::history::Who;

/// Members may change the policy.
pub const ADMIN_GROUP: &str = "segd-admin";
/// Members may read.
pub const READER_GROUP: &str = "segd";

/// A process at the other end of the socket, at the time it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id, in the daemon's namespace.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id and the supplementary ones.
    pub gids: Vec<u32>,
}

/// What a peer may do. Each includes the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Metrics and health only.
    Nothing,
    /// Everything that changes nothing.
    Read,
    /// Everything.
    Change,
}

/// A peer and what it may do; goes along with each request of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub peer: Peer,
    /// What it may do.
    pub access: Access,
    /// In whose name it does it.
    pub who: Who,
    /// When it connected.
    pub opened: Instant,
    /// How it reaches this machine, if it said so with its request: no change may cut that.
    pub connection: Option<CallerConnection>,
    /// Which policies it will have changed, in the words of `If-Match` (RFC 9110, 13.1.1); `None`: any.
    pub seen: Option<String>,
}

impl Caller {
    /// The engine in its hands.
    #[must_use]
    pub fn with(self, engine: &Engine) -> Acting<'_> {
        engine.by(self.who).over(self.connection).having_seen(self.seen)
    }

    /// A peer that has just connected.
    #[must_use]
    pub fn new(peer: Peer, access: Access) -> Self {
        let who = Who::of(peer.pid, peer.uid);
        Self { peer, access, who, opened: Instant::now(), connection: None, seen: None }
    }
}

/// Numbers of the two groups on this machine; a group that does not exist has no members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// Of [`ADMIN_GROUP`].
    pub admin: Option<u32>,
    /// Of [`READER_GROUP`].
    pub reader: Option<u32>,
}

impl Groups {
    /// Looks the groups up. Asked for each connection, so that a new group counts at once.
    #[must_use]
    pub fn of_machine() -> Self {
        Self { admin: group_id(ADMIN_GROUP), reader: group_id(READER_GROUP) }
    }
}

impl Peer {
    /// Asks the kernel who connected.
    pub fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let credentials = credentials(socket)?;
        let mut gids = supplementary_groups(socket)?;
        gids.push(credentials.gid);
        Ok(Self { pid: credentials.pid, uid: credentials.uid, gids })
    }

    /// What this peer may do: root and [`ADMIN_GROUP`] change, [`READER_GROUP`] reads.
    #[must_use]
    pub fn access(&self, groups: Groups) -> Access {
        let member = |group: Option<u32>| group.is_some_and(|gid| self.gids.contains(&gid));
        if self.uid == 0 || member(groups.admin) {
            Access::Change
        } else if member(groups.reader) {
            Access::Read
        } else {
            Access::Nothing
        }
    }
}

fn credentials(socket: BorrowedFd<'_>) -> io::Result<libc::ucred> {
    let mut credentials = MaybeUninit::<libc::ucred>::zeroed();
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the buffer is a `ucred` and `length` is its size; the kernel writes no more than that.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            credentials.as_mut_ptr().cast::<c_void>(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a `ucred` is three integers, for which the zeroes it began with are valid as well.
    Ok(unsafe { credentials.assume_init() })
}

/// Most groups that Linux gives a process (`NGROUPS_MAX`).
const GROUPS_MAX: usize = 65_536;

fn supplementary_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut room = 64;
    loop {
        let mut gids = vec![0_u32; room];
        let mut length = (room * size_of::<u32>()) as libc::socklen_t;
        // SAFETY: the buffer holds `length` bytes; the kernel writes no more than that and says how much it wrote.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                gids.as_mut_ptr().cast::<c_void>(),
                &raw mut length,
            )
        };
        let error = io::Error::last_os_error();
        let told = length as usize / size_of::<u32>();
        if result == 0 {
            gids.truncate(told);
            return Ok(gids);
        }
        if error.raw_os_error() != Some(libc::ERANGE) || room > GROUPS_MAX {
            return Err(error);
        }
        room = told.max(room * 2);
    }
}

/// The number of a group, or `None` if there is no such group or it can't be looked up.
fn group_id(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    let mut room = 1024;
    while room <= 1 << 20 {
        let mut group = MaybeUninit::<libc::group>::zeroed();
        let mut strings = vec![0_u8; room];
        let mut found = ptr::null_mut();
        // SAFETY: every pointer is to a live buffer of the size that is told; `found` is read only after success.
        let result = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                group.as_mut_ptr(),
                strings.as_mut_ptr().cast(),
                strings.len(),
                &raw mut found,
            )
        };
        if result != libc::ERANGE {
            // SAFETY: when `found` is not null it points at `group`, which the call has filled in.
            return (result == 0 && !found.is_null()).then(|| unsafe { (*found).gr_gid });
        }
        room *= 2;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    const GROUPS: Groups = Groups { admin: Some(500), reader: Some(501) };

    fn access(uid: u32, gids: &[u32], groups: Groups) -> Access {
        Peer { pid: 1, uid, gids: gids.to_vec() }.access(groups)
    }

    #[test]
    fn root_and_admins_change_readers_read_and_nobody_else_may_anything() {
        assert_eq!(access(0, &[0], GROUPS), Access::Change);
        assert_eq!(access(1000, &[1000, 500], GROUPS), Access::Change);
        assert_eq!(access(1000, &[501, 500], GROUPS), Access::Change);
        assert_eq!(access(1000, &[1000, 501], GROUPS), Access::Read);
        assert_eq!(access(1000, &[1000, 0], GROUPS), Access::Nothing);
    }

    #[test]
    fn groups_that_do_not_exist_have_no_members() {
        assert_eq!(access(1000, &[500, 501], Groups::default()), Access::Nothing);
        assert_eq!(group_id("no-such-group-here"), None);
        assert_eq!(group_id("root"), Some(0));
    }

    #[test]
    fn the_kernel_names_this_process_as_the_peer_of_its_own_socket() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::of(ours.as_fd()).unwrap();
        // SAFETY: these calls have no arguments and cannot fail.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        assert_eq!((peer.uid, peer.pid), (uid, std::process::id().cast_signed()));
        assert!(peer.gids.contains(&gid));
    }
}
