//! Packets of chance, in sequences that mean something: connections that are opened, answered, reported on, cut to pieces
//! and ended, in between what no connection sends, and all of it mutated now and then.

use std::net::IpAddr;

use super::case::{Case, Step};
use super::ground::INTERFACES;
use super::policies::{self, PORTS, address, address_near, member};
use super::random::Random;
use crate::model::{Hook, Policy, Service, Who};
use crate::packet::{
    ACK, BROADCAST, DESTINATION_OPTIONS, DOT1AD, DOT1Q, FIN, FRAGMENT, HOP_BY_HOP, PSH, Packet, ROUTING, RST, SYN,
    arp_reply, arp_request, echo_reply, echo_request, icmp, neighbour_advertisement, neighbour_solicitation, protocol,
    router_advertisement, sctp, tcp, udp,
};
use crate::rows;

/// What two ends say to each other.
#[derive(Clone, Copy, Debug)]
struct Talk {
    src: IpAddr,
    dst: IpAddr,
    sport: u16,
    dport: u16,
    protocol: u8,
    /// ICMP: the type of the query.
    kind: u8,
    seq: [u32; 2],
    at: [(Hook, u8); 2],
}

/// How a case is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Steps.
    pub steps: usize,
    /// Frames on their way in go to TC; frames on their way out are drawn too.
    pub tc: bool,
}

struct Traffic<'a> {
    random: &'a mut Random,
    policy: Policy,
    style: Style,
    talks: Vec<Talk>,
    odd: &'a [Vec<u8>],
    datagram: u32,
    steps: Vec<Step>,
}

/// A case.
#[must_use]
pub fn case(random: &mut Random, style: Style) -> Case {
    let adopting = random.percent(8);
    let mut all = vec![policies::policy(random)];
    for _ in 0..2 {
        let last = all.last().cloned().unwrap_or_else(|| policies::policy(random));
        all.push(policies::changed(random, &last));
    }
    let odd: Vec<Vec<u8>> = rows::all().into_iter().map(|row| row.frame).collect();
    let policy = all[0].clone();
    let mut traffic = Traffic {
        random,
        policy,
        style,
        talks: Vec::new(),
        odd: &odd,
        datagram: 0,
        steps: Vec::with_capacity(style.steps),
    };
    for (number, policy) in all.iter().enumerate() {
        if number > 0 {
            traffic.steps.push(Step::Publish(number));
        }
        traffic.policy = policy.clone();
        traffic.settles();
        let end = style.steps * (number + 1) / all.len();
        while traffic.steps.len() < end {
            traffic.happens();
        }
    }
    let steps = traffic.steps;
    Case { policies: all, adopting, tc: style.tc, steps }
}

const NOWHERE: [u8; 6] = [2, 0, 0, 0, 0, 9];

impl Traffic<'_> {
    /// What is no longer this machine's address does not go on to be sent by it.
    fn settles(&mut self) {
        for number in 0..self.talks.len() {
            let Talk { src, dst, .. } = self.talks[number];
            for (side, address) in [src, dst].into_iter().enumerate() {
                if self.talks[number].at[side].0 == Hook::Local && self.policy.zone_of(address) != Who::Host {
                    self.talks[number].at[side] = self.place(address);
                }
            }
        }
    }

    fn happens(&mut self) {
        match self.random.below(100) {
            0..=29 => self.opens(),
            30..=69 => self.goes_on(),
            70..=77 => self.reports(),
            78..=85 => self.comes_in_parts(),
            86..=91 => self.needs(),
            92..=94 => self.is_odd(),
            _ => self.strays(),
        }
    }

    fn port(&mut self) -> u16 {
        if self.random.percent(80) { *self.random.pick(&PORTS) } else { self.random.number() as u16 }
    }

    /// Where a packet from this address is seen.
    fn place(&mut self, src: IpAddr) -> (Hook, u8) {
        let mut interface = self.random.below(INTERFACES.len()) as u8;
        let zone = self.policy.zone_of(src);
        if self.random.percent(90)
            && let Some(fit) = (0..INTERFACES.len()).find(|at| self.policy.may_be_seen(zone, INTERFACES[*at]))
            && !self.policy.may_be_seen(zone, INTERFACES[usize::from(interface)])
        {
            interface = fit as u8;
        }
        let hook = match (self.style.tc, zone) {
            (true, Who::Host) if self.random.percent(95) => Hook::Local,
            // Not forwarded with our own address: a test run can't carry the note that tells where such a packet is from.
            (true, Who::Zone(_) | Who::Unzoned) if self.random.percent(10) => Hook::Forward,
            _ => Hook::Ingress,
        };
        (hook, interface)
    }

    fn push(&mut self, (hook, interface): (Hook, u8), frame: Vec<u8>) {
        let bytes = if self.random.percent(8) { self.mutant(frame) } else { frame };
        // A test run takes no less than a link header, and TC no less than an IP header behind it (Linux 6.18).
        let least = match bytes.get(12..14) {
            Some([0x86, 0xdd]) if self.style.tc => 54,
            _ if self.style.tc => 34,
            _ => 14,
        };
        if bytes.len() >= least {
            self.steps.push(Step::Frame { hook, interface, bytes });
        }
    }

    fn mutant(&mut self, mut frame: Vec<u8>) -> Vec<u8> {
        match self.random.below(8) {
            0 => frame.truncate(self.random.between(14, frame.len().max(14))),
            1 => frame.extend(vec![0xa5; self.random.between(1, 40)]),
            2 => {
                let tpid = *self.random.pick(&[DOT1Q, DOT1AD, 0x9100]);
                for _ in 0..self.random.between(1, 5) {
                    frame.splice(12..12, [(tpid >> 8) as u8, tpid as u8, 0, 0]);
                }
            }
            3 => {
                let at = self.random.below(frame.len().min(100));
                frame[at] = *self.random.pick(&[0, 1, 4, 5, 6, 0x0f, 0x45, 0x60, 0x7f, 0x80, 0xff]);
            }
            _ => {
                for _ in 0..self.random.between(1, 3) {
                    let at = self.random.between(12, frame.len().clamp(13, 90) - 1);
                    frame[at] ^= 1 << self.random.below(8);
                }
            }
        }
        frame
    }

    /// A first packet, often one that a rule allows.
    fn opens(&mut self) {
        let ipv4 = self.random.percent(50);
        let rule = self.random.maybe(&self.policy.rules).cloned().filter(|_| self.random.percent(65));
        let talk = if let Some(rule) = rule {
            let (from, to) = (*self.random.pick(&rule.from), *self.random.pick(&rule.to));
            let service = *self.random.pick(&rule.services);
            let ipv4 = match service {
                Service::Icmp(_) => true,
                Service::Icmpv6(_) => false,
                _ => ipv4,
            };
            let src = member(self.random, &self.policy, from, ipv4);
            let dst = member(self.random, &self.policy, to, ipv4);
            self.talk(src, dst, Some(service))
        } else {
            let src = address_near(self.random, &self.policy, ipv4);
            let dst = address_near(self.random, &self.policy, ipv4);
            self.talk(src, dst, None)
        };
        let first = self.first(&talk);
        self.push(talk.at[0], first.frame());
        if self.talks.len() < 40 {
            self.talks.push(talk);
        } else {
            let place = self.random.below(self.talks.len());
            self.talks[place] = talk;
        }
    }

    fn talk(&mut self, src: IpAddr, dst: IpAddr, service: Option<Service>) -> Talk {
        let any = *self.random.pick(&[6, 6, 6, 17, 17, 132, 47, 50, 1, 1]);
        let (protocol, dport, kind) = match service {
            Some(Service::Ports(protocol, low, high)) => {
                let port = match self.random.below(8) {
                    0 => low.wrapping_sub(1),
                    1 => high.wrapping_add(1),
                    2 => low,
                    3 => high,
                    _ => self.random.between(low.into(), high.into()) as u16,
                };
                (protocol, port, 0)
            }
            Some(Service::Icmp(Some(kind)) | Service::Icmpv6(Some(kind))) => (1, 0, kind),
            Some(Service::Icmp(None) | Service::Icmpv6(None)) => (1, 0, *self.random.pick(&[8, 128, 13, 40])),
            Some(Service::Protocol(number)) => (number, 0, 0),
            Some(Service::Any) | None => (any, self.port(), *self.random.pick(&[8, 128, 13, 15, 17, 40, 5, 200])),
        };
        let kind = match (kind, src.is_ipv4()) {
            (8, false) => 128,
            (128, true) => 8,
            (kind, _) => kind,
        };
        let sport = if self.random.percent(90) { 1024 + (self.random.number() as u16 >> 1) } else { self.port() };
        // An id may look like a port that stands for a type.
        let sport = if protocol == 1 && self.random.percent(5) { u16::from_be_bytes([kind, 0xff]) } else { sport };
        let seq = [self.random.number() as u32, self.random.number() as u32];
        let at = [self.place(src), self.place(dst)];
        Talk { src, dst, sport, dport, protocol, kind, seq, at }
    }

    fn first(&mut self, talk: &Talk) -> Packet {
        let packet = match talk.protocol {
            6 => {
                let odd = if self.random.percent(8) { self.random.number() as u8 } else { SYN };
                tcp(talk.sport, talk.dport).flags(odd).sequence(talk.seq[0], 0)
            }
            17 => udp(talk.sport, talk.dport).data(b"question"),
            132 => sctp(talk.sport, talk.dport, 1).data(&[0; 16]),
            1 if matches!(talk.kind, 8 | 128) => echo_request(talk.sport, 1),
            1 => {
                let [high, low] = talk.sport.to_be_bytes();
                icmp(talk.kind, 0, [high, low, 0, 1]).data(&[0; 24])
            }
            other => protocol(other).data(&[0; 24]),
        };
        self.dressed(packet.between(talk.src, talk.dst))
    }

    /// With options and extension headers, now and then.
    fn dressed(&mut self, packet: Packet) -> Packet {
        if !self.random.percent(10) {
            return packet;
        }
        let kinds = [HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING, 51, DESTINATION_OPTIONS];
        if packet.is_ipv4() {
            let options: [&[u8]; 5] =
                [&[1, 1, 1, 1], &[7, 7, 4, 0, 0, 0, 0, 0], &[131, 7, 4, 10, 20, 0, 99, 0], &[68, 0, 0, 0], &[1; 40]];
            return packet.options(self.random.pick::<&[u8]>(&options));
        }
        let mut packet = packet;
        for _ in 0..self.random.between(1, 9) {
            packet = match self.random.below(12) {
                0 => packet.extension_bytes(FRAGMENT, &[0, 0, 0, 0, 0, 0, 9]),
                1 => packet.extension_bytes(
                    ROUTING,
                    &[0, *self.random.pick(&[0, 2, 4]), *self.random.pick(&[0, 1]), 0, 0, 0, 0],
                ),
                2 => {
                    let words = self.random.between(1, 30);
                    let mut rest = vec![0; words * 8 + 7];
                    rest[0] = words as u8;
                    packet.extension_bytes(DESTINATION_OPTIONS, &rest)
                }
                3 => packet.extension(HOP_BY_HOP),
                _ => packet.extension(*self.random.pick(&kinds[1..])),
            };
        }
        packet
    }

    /// A further packet of a talk, from one side or the other.
    fn goes_on(&mut self) {
        if self.talks.is_empty() {
            return self.opens();
        }
        let number = self.random.below(self.talks.len());
        let mut talk = self.talks[number];
        let reply = self.random.percent(55);
        let packet = self.next(&mut talk, reply);
        self.talks[number] = talk;
        let mut at = talk.at[usize::from(reply)];
        if self.random.percent(6) {
            at = self.place(if reply { talk.dst } else { talk.src });
        }
        let packet = self.dressed(packet);
        self.push(at, packet.frame());
    }

    fn next(&mut self, talk: &mut Talk, reply: bool) -> Packet {
        let (src, dst) = if reply { (talk.dst, talk.src) } else { (talk.src, talk.dst) };
        let (sport, dport) = if reply { (talk.dport, talk.sport) } else { (talk.sport, talk.dport) };
        let packet = match talk.protocol {
            6 => {
                let flags = match self.random.below(16) {
                    0 => SYN,
                    1 => RST,
                    2 => RST | ACK,
                    3 | 4 => FIN | ACK,
                    5..=8 if reply => SYN | ACK,
                    5 => SYN | ACK,
                    9 => ACK | PSH,
                    _ => ACK,
                };
                let mine = &mut talk.seq[usize::from(reply)];
                let far = self.random.percent(10);
                *mine = mine.wrapping_add(if far { 0 } else { self.random.below(1000) as u32 });
                tcp(sport, dport).flags(flags).sequence(if far { mine.wrapping_add(0x3000_0000) } else { *mine }, 1)
            }
            17 => udp(sport, dport).data(b"answer"),
            132 => sctp(sport, dport, 2).data(&[0; 8]),
            1 if matches!(talk.kind, 8 | 128) => {
                let asks = self.random.percent(30) || !reply;
                if asks { echo_request(talk.sport, 2) } else { echo_reply(talk.sport, 2) }
            }
            1 => {
                let kind = if reply && matches!(talk.kind, 13 | 15 | 17) { talk.kind + 1 } else { talk.kind };
                let [high, low] = talk.sport.to_be_bytes();
                icmp(kind, 0, [high, low, 0, 2]).data(&[0; 24])
            }
            other => protocol(other).data(&[0; 24]),
        };
        packet.between(src, dst)
    }

    /// An ICMP error about a talk, from one of its ends or from anywhere.
    fn reports(&mut self) {
        if self.talks.is_empty() {
            return self.opens();
        }
        let number = self.random.below(self.talks.len());
        let mut talk = self.talks[number];
        let reply = self.random.percent(50);
        let about = self.next(&mut talk, reply);
        let about = self.dressed(about);
        let (quoted_src, quoted_dst) = if reply { (talk.dst, talk.src) } else { (talk.src, talk.dst) };
        let ipv4 = quoted_src.is_ipv4();
        let src = if self.random.percent(50) { quoted_dst } else { address(self.random, ipv4) };
        let dst = if self.random.percent(92) { quoted_src } else { address_near(self.random, &self.policy, ipv4) };
        let kind = if ipv4 { *self.random.pick(&[3, 11, 12, 3, 4, 5]) } else { *self.random.pick(&[1, 2, 3, 4]) };
        let quoted = about.packet();
        let most = quoted.len().min(if ipv4 { 28 } else { 128 });
        let size =
            if self.random.percent(70) { quoted.len().min(400) } else { self.random.between(20.min(most), most) };
        let at = self.place(src);
        self.push(at, icmp(kind, 0, [0; 4]).between(src, dst).data(&quoted[..size]).frame());
    }

    /// A datagram that is cut to pieces: in order or not, doubled, overlapping, or with another first one.
    fn comes_in_parts(&mut self) {
        let mut talk = match self.random.maybe(&self.talks).copied() {
            Some(talk) if self.random.percent(60) => talk,
            _ => {
                let ipv4 = self.random.percent(50);
                let src = address_near(self.random, &self.policy, ipv4);
                let dst = address_near(self.random, &self.policy, ipv4);
                self.talk(src, dst, None)
            }
        };
        let reply = self.random.percent(40);
        let size = self.random.between(40, 300);
        let packet = self.next(&mut talk, reply).data(&vec![7; size]);
        if self.random.percent(90) {
            self.datagram = self.datagram.wrapping_add(1);
        }
        let part = *self.random.pick(&[8, 16, 24, 32, 48, 64]);
        let mut frames = packet.fragments(self.datagram, part);
        match self.random.below(8) {
            0 => self.random.shuffle(&mut frames),
            1 if frames.len() > 2 => {
                let rest = frames.len() - 1;
                self.random.shuffle(&mut frames[1..=rest]);
            }
            2 => {
                let (from, to) = (self.random.below(frames.len()), self.random.below(frames.len() + 1));
                frames.insert(to, frames[from].clone());
            }
            3 => frames.extend(packet.fragments(self.datagram, *self.random.pick(&[8, 24, 40]))),
            4 => {
                let other = self.next(&mut Talk { dport: 22, ..talk }, reply).data(&vec![7; size]);
                frames.extend(other.fragments(self.datagram, part));
            }
            5 => drop(frames.remove(self.random.below(frames.len()))),
            _ => {}
        }
        let (at, src) = (talk.at[usize::from(reply)], if reply { talk.dst } else { talk.src });
        for frame in frames {
            let at = if self.random.percent(3) { self.place(src) } else { at };
            self.push(at, frame);
            if self.random.percent(5) {
                self.goes_on();
            }
        }
    }

    /// What a network needs to work at all, and what looks like it.
    fn needs(&mut self) {
        let ipv4 = self.random.percent(50);
        let (mut src, mut dst) =
            (address_near(self.random, &self.policy, ipv4), address_near(self.random, &self.policy, ipv4));
        let local: IpAddr = [0xfe80, 0, 0, 0, 0, 0, 0, 5].into();
        if self.random.percent(20) {
            src = if ipv4 { [0; 4].into() } else { [0u16; 8].into() };
        } else if !ipv4 && self.random.percent(40) {
            src = local;
        }
        if self.random.percent(30) {
            dst = if ipv4 { [255; 4].into() } else { [0xff02, 0, 0, 0, 0, 0, 0, 1].into() };
        }
        let hops = if self.random.percent(80) { None } else { Some(*self.random.pick(&[0, 1, 64, 254])) };
        let packet = match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => match self.random.below(4) {
                0 => return self.push_from(src.into(), arp_request(NOWHERE, src, dst)),
                1 => return self.push_from(src.into(), arp_reply(NOWHERE, src, (BROADCAST, dst))),
                2 => udp(68, 67).between(src, dst),
                _ => udp(67, 68).between(src, dst),
            },
            (IpAddr::V6(src), IpAddr::V6(dst)) => match self.random.below(9) {
                0 => neighbour_solicitation(NOWHERE, src, dst),
                1 => neighbour_advertisement(NOWHERE, src, dst),
                2 => {
                    let claims = address_near(self.random, &self.policy, false);
                    let IpAddr::V6(claims) = claims else { return };
                    neighbour_advertisement(NOWHERE, claims, dst).between(src, dst)
                }
                3 => router_advertisement(NOWHERE, src),
                4 => icmp(133, 0, [0; 4]).between(src, dst).hops(255),
                5 => icmp(143, 0, [0; 4]).between(src, dst).hops(1),
                6 => icmp(137, 0, [0; 4]).between(src, dst).hops(255).data(&[0; 32]),
                7 => udp(546, 547).between(src, dst),
                _ => udp(547, 546).between(src, dst),
            },
            _ => return,
        };
        let packet = hops.into_iter().fold(packet, Packet::hops);
        self.push_from(src, packet.frame());
    }

    fn push_from(&mut self, src: IpAddr, frame: Vec<u8>) {
        let at = self.place(src);
        self.push(at, frame);
    }

    /// A row of the table of odd frames.
    fn is_odd(&mut self) {
        let frame = self.random.pick(self.odd).clone();
        let at = (Hook::Ingress, self.random.below(INTERFACES.len()) as u8);
        self.push(at, frame);
    }

    /// Addresses that are on no wire, and packets that belong to nothing.
    fn strays(&mut self) {
        let ipv4 = self.random.percent(50);
        let strange: [&str; 8] = if ipv4 {
            ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.5", "240.0.0.1", "255.255.255.255", "10.1.0.1", "169.254.1.1"]
        } else {
            ["::", "::1", "ff02::1", "::ffff:10.1.0.5", "fe80::5", "2002:a01:5::1", "fd00:1::1", "::10.1.0.5"]
        };
        let strange: IpAddr = self.random.pick(&strange).parse().expect("an address");
        let other = address_near(self.random, &self.policy, ipv4);
        let (src, dst) = match self.random.below(4) {
            0 | 1 => (strange, other),
            2 => (other, strange),
            _ => (other, other),
        };
        let talk = self.talk(src, dst, None);
        let packet = if self.random.percent(50) { self.first(&talk) } else { self.next(&mut talk.clone(), false) };
        self.push(talk.at[0], packet.frame());
    }
}
