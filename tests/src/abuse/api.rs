//! By the control socket: who may not read, who may not change, and that nobody keeps the others out.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Abuse, Outcome, Scene, Wall, Who};

const OUTSIDERS: &[Who] = &[Who::Stranger];
const LOOKERS: &[Who] = &[Who::Stranger, Who::Reader];
const FORBIDDEN: &[Outcome] = &[Outcome::Status(403)];
/// segctl's and segd's word for it.
const NOT_PERMITTED: &[Outcome] = &[Outcome::Exit(4)];

const fn row(
    name: &'static str,
    who: &'static [Who],
    attempt: fn(&Scene) -> Outcome,
    refusals: &'static [Outcome],
) -> Abuse {
    Abuse { name, who, wall: Wall::Rights, attempt, refusals }
}

pub(super) const ROWS: &[Abuse] = &[
    row("read the status", OUTSIDERS, |scene| asks(scene, "GET /v1/status", ""), FORBIDDEN),
    row("read the policy", OUTSIDERS, |scene| asks(scene, "GET /v1/policy", ""), FORBIDDEN),
    row("read who talks to whom", OUTSIDERS, |scene| asks(scene, "GET /v1/flows?since=1h", ""), FORBIDDEN),
    row("read the history", OUTSIDERS, |scene| asks(scene, "GET /v1/history", ""), FORBIDDEN),
    row("have a policy checked", OUTSIDERS, |scene| asks(scene, "POST /v1/check", "{}"), FORBIDDEN),
    row("allow a connection", LOOKERS, |scene| asks(scene, "POST /v1/rules", "{}"), FORBIDDEN),
    row("revoke a rule", LOOKERS, |scene| asks(scene, "DELETE /v1/rules/no-such-rule?reason=x", ""), FORBIDDEN),
    row("extend a rule", LOOKERS, |scene| asks(scene, "PATCH /v1/rules/no-such-rule", "{}"), FORBIDDEN),
    row("apply another policy", LOOKERS, |scene| asks(scene, "POST /v1/apply", "{}"), FORBIDDEN),
    row("confirm a policy on trial", LOOKERS, |scene| asks(scene, "POST /v1/confirm", ""), FORBIDDEN),
    row("roll a policy back", LOOKERS, |scene| asks(scene, "POST /v1/rollback", ""), FORBIDDEN),
    row("end a pair's enforcement", LOOKERS, |scene| asks(scene, "PUT /v1/pairs", "{}"), FORBIDDEN),
    row("cut a host off", LOOKERS, |scene| asks(scene, "POST /v1/quarantine", "{}"), FORBIDDEN),
    row("let a cut-off host back", LOOKERS, |scene| asks(scene, "DELETE /v1/quarantine?target=none", ""), FORBIDDEN),
    row("have the zone files read again", LOOKERS, |scene| asks(scene, "POST /v1/reload", ""), FORBIDDEN),
    row("send frames through the programs", LOOKERS, |scene| asks(scene, "POST /v1/selftest", "{}"), FORBIDDEN),
    row("change the policy by a tool that overrides the verb", LOOKERS, overriding, FORBIDDEN),
    row("take enforcement off", &[Who::Stranger, Who::Reader, Who::Admin], unload, NOT_PERMITTED),
    row("run a daemon on the same folders", &[Who::Stranger, Who::Reader, Who::Admin], second_daemon, NOT_PERMITTED),
];

/// The status of the answer.
fn asks(scene: &Scene, request: &str, body: &str) -> Outcome {
    answered(scene, request, "", body)
}

fn answered(scene: &Scene, request: &str, header: &str, body: &str) -> Outcome {
    match exchange(scene, request, header, body) {
        Ok(status) => Outcome::Status(status),
        Err(error) => Outcome::Errno(error.raw_os_error().unwrap_or(0)),
    }
}

fn exchange(scene: &Scene, request: &str, header: &str, body: &str) -> io::Result<u16> {
    let mut stream = UnixStream::connect(&scene.socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let length = body.len();
    // In one piece: whoever is refused at the head is not listened to any further.
    let text = format!(
        "{request} HTTP/1.1\r\nhost: segd\r\n{header}content-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))
}

/// A reader's verb outside, a changer's in a header; and a header that says who one would like to be.
fn overriding(scene: &Scene) -> Outcome {
    let header = "x-http-method-override: GET\r\nx-forwarded-user: root\r\nauthorization: Basic cm9vdDo=\r\n";
    answered(scene, "POST /v1/rules", header, "{}")
}

fn unload(scene: &Scene) -> Outcome {
    ends(Command::new(&scene.segd).arg("unload").arg("--bpffs").arg(&scene.pins))
}

fn second_daemon(scene: &Scene) -> Outcome {
    // The folder's own zone file is closed to most; what a daemon may do is asked before that is read.
    let arguments = [("--state-dir", &scene.state), ("--bpffs", &scene.pins)];
    let mut command = Command::new(&scene.segd);
    command.arg("arm");
    for (word, path) in arguments {
        command.arg(word).arg(path);
    }
    ends(&mut command)
}

fn ends(command: &mut Command) -> Outcome {
    match command.output().map(|out| out.status.code().unwrap_or(-1)) {
        Ok(0) => Outcome::Done,
        Ok(code) => Outcome::Exit(code),
        Err(error) => Outcome::Errno(error.raw_os_error().unwrap_or(0)),
    }
}

/// Connects as often as it is let, says nothing, and stays for so long: whoever asks meanwhile has to be answered.
/// Gives how many stood.
#[must_use]
pub fn crowd(socket: &Path, stay: Duration) -> usize {
    let standing: Vec<_> = (0..400).map_while(|_| UnixStream::connect(socket).ok()).collect();
    std::thread::sleep(stay);
    standing.len()
}
