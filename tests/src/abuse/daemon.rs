//! By whoever has taken over the daemon: it has three capabilities and its own folders, and gets nothing else.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::calls::{LINK_GET_NEXT_ID, MAP_GET_NEXT_ID, PROG_GET_NEXT_ID, bpf, socket, told};
use super::{Abuse, Outcome, Scene, Wall, Who};

const NO: &[Outcome] = &[Outcome::Errno(libc::EACCES), Outcome::Errno(libc::EPERM), Outcome::Errno(libc::EROFS)];
/// Also for what the unit hides, and for families of sockets that it takes away.
const ABSENT: &[Outcome] = &[
    Outcome::Errno(libc::ENOENT),
    Outcome::Errno(libc::EACCES),
    Outcome::Errno(libc::EPERM),
    Outcome::Errno(libc::EAFNOSUPPORT),
];

const fn rights(name: &'static str, attempt: fn(&Scene) -> Outcome) -> Abuse {
    hidden(name, attempt, NO)
}

/// Refused by rights, and by its unit in another way.
const fn hidden(name: &'static str, attempt: fn(&Scene) -> Outcome, refusals: &'static [Outcome]) -> Abuse {
    Abuse { name, who: &[Who::Daemon], wall: Wall::Rights, attempt, refusals }
}

const fn unit(name: &'static str, attempt: fn(&Scene) -> Outcome, refusals: &'static [Outcome]) -> Abuse {
    Abuse { name, who: &[Who::Daemon], wall: Wall::Unit, attempt, refusals }
}

pub(super) const ROWS: &[Abuse] = &[
    rights("become root", |_| call(libc::SYS_setresuid, [0; 5])),
    rights("become root's group", |_| call(libc::SYS_setresgid, [0; 5])),
    rights("join other groups", |_| call(libc::SYS_setgroups, [0; 5])),
    rights("take up another capability", |_| capability(21)),
    rights("become root by a program that is set so", setuid_program),
    rights("read the passwords", |_| File::open("/etc/shadow").map(drop).into()),
    rights("write below /etc", |_| fs::write("/etc/segd-was-here", "").into()),
    rights("replace its own program", |_| File::options().append(true).open("/usr/bin/env").map(drop).into()),
    rights("give files away", give_away),
    rights("open files by handle, past their folders", |_| by_handle()),
    rights("end another's process", |_| call(libc::SYS_kill, [1, 0, 0, 0, 0])),
    rights("debug another's process", |_| trace_parent()),
    rights("find others' maps by number", |_| bpf(MAP_GET_NEXT_ID, &mut [0; 16]).map(drop).into()),
    rights("find others' programs by number", |_| bpf(PROG_GET_NEXT_ID, &mut [0; 16]).map(drop).into()),
    rights("find others' links by number", |_| bpf(LINK_GET_NEXT_ID, &mut [0; 16]).map(drop).into()),
    hidden("listen to the wire by a packet socket", |_| raw_socket(libc::AF_PACKET, 0x0300), ABSENT),
    hidden("send forged packets by a raw socket", |_| raw_socket(libc::AF_INET, libc::IPPROTO_RAW), ABSENT),
    hidden("take a port below 1024", |_| std::net::UdpSocket::bind("127.0.0.1:17").map(drop).into(), ABSENT),
    rights("mount something", |_| mount()),
    rights("make mounts of its own", |_| call(libc::SYS_unshare, [libc::CLONE_NEWNS.into(), 0, 0, 0, 0])),
    rights("leave its root", |_| call(libc::SYS_chroot, [at(c"/"), 0, 0, 0, 0])),
    rights("set the clock", |_| set_clock()),
    rights("reboot the machine", |_| call(libc::SYS_reboot, [0; 5])),
    rights("rename the machine", |_| rename_machine()),
    rights("switch swapping", |_| call(libc::SYS_swapoff, [at(c"/nowhere"), 0, 0, 0, 0])),
    rights("make a device of its own", |_| device()),
    hidden("set a sysctl of the kernel", |_| touch("/proc/sys/kernel/core_pattern"), ABSENT),
    rights("go before everybody else", |_| call(libc::SYS_setpriority, [0, 0, -20, 0, 0])),
    // What root may not do everywhere either.
    unit("load a module", |_| module(), NO),
    unit("raise its own limits", |_| raise_limits(), NO),
    unit("make namespaces of users", |_| call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0]), NO),
    unit("see the home folders", |_| fs::write("/home/new", "").into(), ABSENT),
    unit("see other pins of the bpffs", |_| other_pins(), ABSENT),
    unit("set a sysctl of the network", |_| touch("/proc/sys/net/ipv4/ip_forward"), ABSENT),
    unit("watch the whole machine by counters", |_| perf_event(), NO),
    unit("make memory that is written and run", |_| written_and_run(), NO),
    unit("open a device", |_| File::open("/dev/kmsg").map(drop).into(), ABSENT),
    unit("call a server", |_| socket(libc::AF_INET, libc::SOCK_STREAM, 0).map(drop).into(), ABSENT),
    unit("speak by a bluetooth or another odd socket", |_| socket(31, libc::SOCK_RAW, 0).map(drop).into(), ABSENT),
    unit("become a task of real time", |_| real_time(), NO),
    unit("make a program that is set to its user", set_user, NO),
    unit("write to a cgroup", |_| touch("/sys/fs/cgroup/cgroup.procs"), ABSENT),
    unit("write where only the system's programs are", |_| fs::write("/usr/local/new", "").into(), NO),
    unit("read the kernel's messages", |_| kernel_messages(), NO),
];

/// A call whose arguments are numbers, or strings as [`at`] gives them.
fn call(number: libc::c_long, with: [libc::c_long; 5]) -> Outcome {
    // SAFETY: no call of this table writes to memory by one of these arguments, and strings are static.
    told(unsafe { libc::syscall(number, with[0], with[1], with[2], with[3], with[4], 0) }).map(drop).into()
}

fn at(text: &'static CStr) -> libc::c_long {
    text.as_ptr().addr().cast_signed() as libc::c_long
}

/// Asks for one more capability in all of its sets (`linux/capability.h`, version 3).
fn capability(number: u32) -> Outcome {
    let mut header = [0x2008_0522_u32, 0];
    let mut sets = [0_u32; 6];
    // SAFETY: both are as long as version 3 has them.
    if let Err(error) = told(unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) }) {
        return Err(error).into();
    }
    sets[0] |= 1 << number;
    sets[1] |= 1 << number;
    // SAFETY: as above.
    told(unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_mut_ptr()) }).map(drop).into()
}

/// Every Debian has a program that is root's whoever runs it.
fn setuid_program(_: &Scene) -> Outcome {
    let set = ["/usr/bin/su", "/usr/bin/mount", "/usr/bin/passwd"]
        .into_iter()
        .find(|program| fs::metadata(program).is_ok_and(|there| there.permissions().mode() & 0o4000 != 0));
    let Some(program) = set else { return Outcome::Errno(libc::ENOENT) };
    // A program that was made root's by its mode is not dumpable, and tells so by the owner of its folder in /proc.
    let mut child = match Command::new(program).arg("--help").arg0("--help").stdout(std::process::Stdio::null()).spawn()
    {
        Ok(child) => child,
        Err(error) => return Err(error).into(),
    };
    let _ = child.wait();
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if text.contains("NoNewPrivs:\t1") { Outcome::Errno(libc::EPERM) } else { Outcome::Done }
}

fn give_away(scene: &Scene) -> Outcome {
    let path = scene.state.join("given");
    fs::write(&path, "").and_then(|()| std::os::unix::fs::chown(&path, Some(0), Some(0))).into()
}

/// By a handle of eight bytes that leads nowhere.
fn by_handle() -> Outcome {
    let handle = [8_u32, 1, 0, 0];
    // SAFETY: as long as its header says, and outlives the call.
    told(unsafe { libc::syscall(libc::SYS_open_by_handle_at, libc::AT_FDCWD, handle.as_ptr(), 0) }).map(drop).into()
}

/// Of who started it, which is root's. Seizing stops nobody.
fn trace_parent() -> Outcome {
    // SAFETY: a plain system call.
    let parent = unsafe { libc::getppid() };
    call(libc::SYS_ptrace, [libc::PTRACE_SEIZE.into(), parent.into(), 0, 0, 0])
}

/// There is no such file system.
fn mount() -> Outcome {
    call(libc::SYS_mount, [at(c"none"), at(c"/"), at(c"nothing"), 0, 0])
}

/// No module is at that address; the right to load one is asked first.
fn module() -> Outcome {
    call(libc::SYS_init_module, [0, 0, at(c""), 0, 0])
}

/// To tick faster than a clock may.
fn set_clock() -> Outcome {
    // SAFETY: all zeros are a value of this plain structure.
    let mut pace: libc::timex = unsafe { std::mem::zeroed() };
    (pace.modes, pace.tick) = (libc::ADJ_TICK, 1);
    // SAFETY: a structure that outlives the call.
    told(unsafe { libc::adjtimex(&raw mut pace) }.into()).map(drop).into()
}

/// To a name that is too long.
fn rename_machine() -> Outcome {
    call(libc::SYS_sethostname, [at(c"x"), 4096, 0, 0, 0])
}

fn device() -> Outcome {
    let path = CString::new(format!("/tmp/segd-abuse-{}", std::process::id())).unwrap_or_default();
    // SAFETY: a valid, terminated path.
    let made = told(unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, libc::makedev(1, 1)) }.into());
    if made.is_ok() {
        // SAFETY: as above.
        unsafe { libc::unlink(path.as_ptr()) };
    }
    made.map(drop).into()
}

fn touch(path: &str) -> Outcome {
    File::options().write(true).open(path).map(drop).into()
}

fn raise_limits() -> Outcome {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a structure that outlives the calls.
    let told_limit = told(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }.into());
    limit.rlim_max += 1;
    // SAFETY: as above.
    told_limit
        .and_then(|_| told(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }.into()))
        .map(drop)
        .into()
}

/// The bpffs is root's: what others have pinned there is not even seen.
fn other_pins() -> Outcome {
    let names =
        fs::read_dir("/sys/fs/bpf").map(|entries| entries.flatten().map(|entry| entry.file_name()).collect::<Vec<_>>());
    match names {
        Ok(names) if names == ["segd"] => Outcome::Errno(libc::ENOENT),
        Ok(_) => Outcome::Done,
        Err(error) => Err(error).into(),
    }
}

/// By a software clock on every process of a processor.
fn perf_event() -> Outcome {
    let mut attribute = [0_u64; 16];
    attribute[0] = 1 | 128 << 32;
    // SAFETY: as long as its header says, and outlives the call.
    told(unsafe { libc::syscall(libc::SYS_perf_event_open, attribute.as_mut_ptr(), -1, 0, -1, 0) }).map(drop).into()
}

/// Asked of the kernel itself: a C library may tell its refusal in other words.
fn written_and_run() -> Outcome {
    let access = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    call(libc::SYS_mmap, [0, 4096, access.into(), flags.into(), -1])
}

fn real_time() -> Outcome {
    // The least of such priorities; a structure of one number.
    let least = 1_i32;
    let (number, policy) = (libc::SYS_sched_setscheduler, libc::SCHED_FIFO);
    // SAFETY: a structure that outlives the call.
    told(unsafe { libc::syscall(number, 0, policy, &raw const least) }).map(drop).into()
}

fn raw_socket(family: i32, protocol: i32) -> Outcome {
    socket(family, libc::SOCK_RAW, protocol).map(drop).into()
}

fn set_user(scene: &Scene) -> Outcome {
    let path = scene.state.join("set");
    let made = fs::write(&path, "").and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)));
    let _ = fs::remove_file(&path);
    made.into()
}

/// Asks for their size alone.
fn kernel_messages() -> Outcome {
    call(libc::SYS_syslog, [10, 0, 0, 0, 0])
}
