//! What a fuzzer begins with: frames of the table of odd ones, valid zone files, files of a state folder.

use crate::rows;

const EXAMPLE: &str = include_str!("../../../zones.example.yaml");

/// Of a target; none where the kept cases are enough.
#[must_use]
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "parser" => rows::all().into_iter().map(|row| row.frame).collect(),
        "flows" => (0..32).map(flows).collect(),
        "loader" => loader(),
        "state" => vec![super::state::kept_image()],
        _ => Vec::new(),
    }
}

/// A scene's frames in their order; then some of them changed, and other policies in between.
fn flows(scene: u8) -> Vec<u8> {
    let mut bytes = vec![scene, scene / 16];
    for step in 0..60_u8 {
        match (scene + step) % 20 {
            17 => bytes.extend([7, step]),
            18 => bytes.extend([3, step, 0, 23, step]),
            19 => bytes.extend([5, step, 30]),
            _ => bytes.extend([0, step]),
        }
    }
    bytes
}

fn loader() -> Vec<Vec<u8>> {
    let between = super::loader::BETWEEN as char;
    let dropin = "version: 1\nrules:\n  - { id: more, from: dev, to: internet, services: [tcp/9100-9200], \
        reason: r, approved_by: a, expires: 2999-01-01T00:00:00Z }\n";
    let services = "version: 1\nservices:\n  dropped-in: [tcp/9100-9200, sctp/38412, icmpv6/echo-request, proto/47]\n";
    let small = "version: 1\nzones:\n  a: { networks: [10.0.0.0/8] }\n";
    [
        EXAMPLE.to_owned(),
        format!("{EXAMPLE}{between}{dropin}{between}{services}"),
        small.to_owned(),
        services.to_owned(),
    ]
    .map(String::into_bytes)
    .to_vec()
}
