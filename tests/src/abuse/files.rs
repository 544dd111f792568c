//! By files, pins and signals: what belongs to the daemon is nobody else's to read, write, replace or end.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::Command;

use super::calls::{
    LINK_GET_NEXT_ID, MAP_GET_NEXT_ID, PROG_GET_NEXT_ID, bpf, load_program, open_pin, pin, some_pin, told,
};
use super::{Abuse, Outcome, Scene, Wall, Who};

const OTHERS: &[Who] = &[Who::Stranger, Who::Reader, Who::Admin];
const OUTSIDERS: &[Who] = &[Who::Stranger];
const NO: &[Outcome] = &[Outcome::Errno(libc::EACCES), Outcome::Errno(libc::EPERM)];

const fn row(name: &'static str, who: &'static [Who], attempt: fn(&Scene) -> Outcome) -> Abuse {
    Abuse { name, who, wall: Wall::Rights, attempt, refusals: NO }
}

pub(super) const ROWS: &[Abuse] = &[
    row("list the pins", OTHERS, |scene| fs::read_dir(&scene.pins).map(drop).into()),
    row("open a pinned map, program or link", OTHERS, open_any_pin),
    row("open a pin whose name is known", OTHERS, |scene| open_pin(&scene.pins.join("events")).map(drop).into()),
    row("pin something beside the daemon's pins", OTHERS, pin_beside),
    row("remove a pin", OTHERS, |scene| fs::remove_dir(scene.pins.join("maps")).into()),
    row("move the pins away", OTHERS, |scene| away_and_back(&scene.pins).into()),
    row("open the pins to everybody", OTHERS, |scene| fs::set_permissions(&scene.pins, mode(&scene.pins)).into()),
    row("hold the lock that the next daemon needs", OTHERS, |scene| File::open(&scene.pins).map(drop).into()),
    row("hold the lock of the state", OTHERS, |scene| File::open(&scene.state).map(drop).into()),
    row("read what was seen", OTHERS, |scene| fs::read(scene.state.join("seen.db")).map(drop).into()),
    row("read the kept policy", OTHERS, |scene| fs::read(scene.state.join("image.bin")).map(drop).into()),
    row("replace the policy of the next boot", OTHERS, |scene| touch(&scene.state.join("image.bin"))),
    row("alter the history", OTHERS, |scene| touch(&scene.state.join("history.jsonl"))),
    row("remove a file of the state", OTHERS, |scene| fs::remove_file(scene.state.join("no-such-file")).into()),
    row("write the zone file", OTHERS, |scene| touch(&scene.etc.join("zones.yaml"))),
    row("put a file beside the zone file", OTHERS, |scene| fs::write(scene.etc.join("new"), "").into()),
    row("put a drop-in beside the others", OTHERS, |scene| fs::write(scene.etc.join("zones.d/zz"), "").into()),
    row("read the zone file", OUTSIDERS, |scene| fs::read(scene.etc.join("zones.yaml")).map(drop).into()),
    row("take the control socket away", OTHERS, |scene| away_and_back(&scene.socket).into()),
    row("put another socket in its folder", OTHERS, another_socket),
    row("end the daemon", OTHERS, |scene| kill(scene.pid)),
    row("stop the daemon with a debugger", OTHERS, |scene| trace(scene.pid)),
    row("read the daemon's memory", OTHERS, |scene| File::open(of(scene, "mem")).map(drop).into()),
    row("read the daemon's environment", OTHERS, |scene| fs::read(of(scene, "environ")).map(drop).into()),
    row("use the daemon's open files", OTHERS, |scene| fs::read_dir(of(scene, "fd")).map(drop).into()),
    row("find its maps by number", OTHERS, |_| bpf(MAP_GET_NEXT_ID, &mut [0; 16]).map(drop).into()),
    row("find its programs by number", OTHERS, |_| bpf(PROG_GET_NEXT_ID, &mut [0; 16]).map(drop).into()),
    row("find its links by number", OTHERS, |_| bpf(LINK_GET_NEXT_ID, &mut [0; 16]).map(drop).into()),
    row("load a program that passes everything", OTHERS, |_| load_program().map(drop).into()),
    row("take an interface down", OTHERS, |_| ip(&["link", "set", "lo", "up"])),
    row("put a program of one's own on an interface", OTHERS, |_| ip(&["link", "set", "lo", "xdp", "off"])),
    row("change the tables of nftables", OTHERS, |_| nft()),
];

fn open_any_pin(scene: &Scene) -> Outcome {
    some_pin(&scene.pins).and_then(|path| open_pin(&path)).map(drop).into()
}

fn pin_beside(scene: &Scene) -> Outcome {
    // Whoever may load no program may still try the folder.
    let outcome = load_program().and_then(|program| pin(&program, &scene.pins.join("beside")));
    let made = fs::create_dir(scene.pins.join("beside"));
    if made.is_ok() {
        let _ = fs::remove_dir(scene.pins.join("beside"));
    }
    outcome.and(made).into()
}

/// The mode that it has: who may not set that may set none.
fn mode(path: &Path) -> fs::Permissions {
    let there = fs::metadata(path).map(|there| there.permissions());
    there.unwrap_or_else(|_| std::os::unix::fs::PermissionsExt::from_mode(0o700))
}

fn away_and_back(path: &Path) -> io::Result<()> {
    let away = path.with_file_name("away");
    fs::rename(path, &away)?;
    fs::rename(&away, path)
}

/// Opens a file for writing and leaves it as it is.
fn touch(path: &Path) -> Outcome {
    File::options().append(true).open(path).map(drop).into()
}

fn another_socket(scene: &Scene) -> Outcome {
    let path = scene.socket.with_file_name("another.sock");
    std::os::unix::net::UnixListener::bind(&path).and_then(|_| fs::remove_file(&path)).into()
}

fn of(scene: &Scene, what: &str) -> String {
    format!("/proc/{}/{what}", scene.pid)
}

/// Asks for the right to, and sends nothing.
fn kill(pid: i32) -> Outcome {
    // SAFETY: signal 0 is sent to nobody.
    told(unsafe { libc::kill(pid, 0) }.into()).map(drop).into()
}

fn trace(pid: i32) -> Outcome {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: seizing stops nobody; the kernel lets go when this process ends.
    told(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, none, none) }).map(drop).into()
}

fn ip(words: &[&str]) -> Outcome {
    refused(Command::new("ip").args(words))
}

fn nft() -> Outcome {
    refused(Command::new("nft").args(["-c", "add table inet not_made"]))
}

/// Both programs say the kernel's words.
fn refused(command: &mut Command) -> Outcome {
    let out = match command.output() {
        Ok(out) => out,
        Err(error) => return Err(error).into(),
    };
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    match out.status.code() {
        Some(0) => Outcome::Done,
        _ if said.contains("not permitted") || said.contains("Permission denied") => Outcome::Errno(libc::EPERM),
        code => Outcome::Exit(code.unwrap_or(-1)),
    }
}
