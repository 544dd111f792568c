//! The shortcut on the whole table of odd frames, inside connections that are redirected: the server hears what it hears by the
//! kernel's way, byte for byte.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use segd_tests::lab::{Lab, Port, Zones};
use segd_tests::needs_root;
use segd_tests::packet::{ACK, Packet, SYN, ethernet, tcp, udp};
use segd_tests::rows::{self, V4, V6};

const QUIET: &str = "table inet quiet { chain out { type filter hook output priority 0; policy drop; }; }";
/// The last frame of a row, on a port that nobody answers from: always the kernel's to forward.
const SENTINEL: &[u8] = b"this row is over";

/// Frames as they were heard, by how often.
type Heard = BTreeMap<Vec<u8>, usize>;

#[test]
fn every_odd_frame_is_delivered_as_by_the_kernel() -> Result<()> {
    needs_root!();
    let open = Zones::new().rule("open", "dev", "accounting", "tcp/5432, udp/5432, udp/9");
    let (kernel, by_kernel) = heard(&open.clone().hooks("xdp"))?;
    let (shortcut, by_shortcut) = heard(&open.shortcut())?;
    let missing = differing(&kernel, &shortcut);
    assert!(missing.is_empty(), "{} frames arrive otherwise by the shortcut:\n{}", missing.len(), missing.join("\n"));
    assert!(
        by_shortcut * 2 < by_kernel,
        "the kernel forwarded {by_shortcut} frames, and {by_kernel} without a shortcut"
    );
    Ok(())
}

/// What the server hears, and what the kernel forwarded for it.
fn heard(zones: &Zones) -> Result<(Heard, u64)> {
    let mut lab = Lab::prepared(zones)?;
    let office = &lab.office;
    office.like_cards()?;
    office.know_each_other()?;
    for host in [&office.dev, &office.accounting] {
        host.net.nft(QUIET)?;
    }
    lab.daemon.start(&office.gateway)?;
    let mut dev = Port::open(&office.dev.net, "eth0")?;
    let mut accounting = Port::open(&office.accounting.net, "eth0")?;
    let mut heard = Heard::new();
    for opening in openings(true) {
        exchange(&mut dev, &mut accounting, &opening, &mut heard)?;
    }
    let before = office.gateway.forwarded()?;
    for (number, frame) in frames().into_iter().enumerate() {
        for renewal in openings(false) {
            exchange(&mut dev, &mut accounting, &renewal, &mut heard)?;
        }
        dev.send(&frame)?;
        // Twice: what XDP redirects leaves when the batch does that it came in.
        for _ in 0..2 {
            dev.send(&udp(41000 + number as u16, 9).between(V4.0, V4.1).data(SENTINEL).frame())?;
            listen(&mut accounting, SENTINEL, &mut heard)?;
        }
    }
    let forwarded = office.gateway.forwarded()? - before;
    Ok((heard, forwarded))
}

/// One frame from each side, dev's first.
type Exchange = (Vec<u8>, Vec<u8>, Vec<u8>);

/// What brings the four connections up, or only shows the kernel that they are alive.
fn openings(first: bool) -> Vec<Exchange> {
    let both = |packet: fn(u16, u16) -> Packet, (dev, accounting): (&str, &str)| {
        (packet(40000, 5432).between(dev, accounting), packet(5432, 40000).between(accounting, dev))
    };
    let mut all = Vec::new();
    for ends in [V4, V6] {
        let (there, back) = both(tcp, ends);
        let with_end =
            |packet: Packet, marker: &str| (packet.data(marker.as_bytes()).frame(), marker.as_bytes().to_vec());
        if first {
            let (syn, answer) = (there.clone().syn().sequence(100, 0).frame(), back.clone().flags(SYN | ACK));
            all.push((syn, answer.sequence(500, 101).frame(), Vec::new()));
        }
        let (data, marker) = with_end(there.flags(ACK).sequence(101, 501), "tcp data there");
        all.push((data, back.flags(ACK).sequence(501, 101).data(b"tcp data back").frame(), marker));
        let (there, back) = both(udp, ends);
        let (data, marker) = with_end(there, "udp data there");
        all.push((data, back.data(b"udp data back").frame(), marker));
    }
    all
}

fn exchange(dev: &mut Port, accounting: &mut Port, (there, back, marker): &Exchange, heard: &mut Heard) -> Result<()> {
    dev.send(there)?;
    let marker = if marker.is_empty() { &there[34..40] } else { marker };
    listen(accounting, marker, heard)?;
    accounting.send(back)?;
    let patience = Duration::from_secs(2);
    dev.hears(&back[back.len() - 6..], patience)?.context("dev hears no answer")?;
    Ok(())
}

fn listen(accounting: &mut Port, marker: &[u8], heard: &mut Heard) -> Result<()> {
    let frames = accounting.hears_all(marker, Duration::from_secs(2))?.context("accounting hears nothing")?;
    for frame in frames.into_iter().filter(|frame| is_ours(frame)).map(trimmed) {
        *heard.entry(frame).or_default() += 1;
    }
    Ok(())
}

/// Between the two; what hosts say to each other on their own is no row's.
fn is_ours(frame: &[u8]) -> bool {
    let between = |(src, dst): (&str, &str)| {
        let bytes = |text: &str| match text.parse() {
            Ok(IpAddr::V4(address)) => address.octets().to_vec(),
            Ok(IpAddr::V6(address)) => address.octets().to_vec(),
            Err(_) => Vec::new(),
        };
        let has = |address: &[u8]| frame.windows(address.len()).any(|window| window == address);
        has(&bytes(src)) && has(&bytes(dst))
    };
    between(V4) || between(V6)
}

/// Without what a link fills up short frames with: the kernel cuts it off, who redirects does not. And without the time that the
/// kernel writes into an IPv4 timestamp option.
fn trimmed(mut frame: Vec<u8>) -> Vec<u8> {
    if let Some(at) = frame.windows(4).position(|window| window == [0x44, 8, 9, 0]) {
        frame[24..26].fill(0);
        frame[at + 4..at + 8].fill(0);
    }
    let at = |place: usize| usize::from(frame[place]) << 8 | usize::from(frame[place + 1]);
    let length = match at(12) {
        0x0800 => 14 + at(16),
        0x86dd => 54 + at(18),
        _ => frame.len(),
    };
    frame.truncate(length);
    frame
}

/// The table's rows, and plain frames of the connections at the edges of what may be redirected.
fn frames() -> Vec<Vec<u8>> {
    let mut frames: Vec<_> = rows::all().into_iter().map(|row| row.frame).collect();
    for ends in [V4, V6] {
        for plain in [tcp(40000, 5432).flags(ACK).sequence(102, 502), udp(40000, 5432)] {
            let plain = plain.between(ends.0, ends.1);
            for hops in [0, 1, 2, 64, 255] {
                frames.push(plain.clone().hops(hops).data(format!("{hops} hops").as_bytes()).frame());
            }
            frames.push([plain.clone().data(b"filled up").frame(), vec![0xaa; 8]].concat());
            frames.push(plain.clone().data(b"to another").macs([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9]).frame());
            frames.push(plain.clone().data(&[b'l'; 1400]).frame());
            let mut unfinished = plain.clone().data(b"with a wrong checksum").frame();
            let (ip, transport) = if plain.is_ipv4() { (20, 6) } else { (40, 6) };
            unfinished[14 + ip + transport] ^= 0x55;
            frames.push(unfinished);
            let mut broken = plain.data(b"with a wrong header").frame();
            broken[24] ^= 0x55;
            frames.push(broken);
        }
    }
    frames.push(ethernet([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], &[], 0x0800, &[0x45; 10]));
    frames
}

fn differing(kernel: &Heard, shortcut: &Heard) -> Vec<String> {
    let all = kernel.keys().chain(shortcut.keys().filter(|frame| !kernel.contains_key(*frame)));
    all.filter_map(|frame| {
        let told: Vec<_> = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        let (one, other) = (kernel.get(frame).copied().unwrap_or(0), shortcut.get(frame).copied().unwrap_or(0));
        (one != other).then(|| format!("{one} by the kernel, {other} by the shortcut: {}", told.join("")))
    })
    .collect()
}
