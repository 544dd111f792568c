//! The smallest compiler that lays a policy image: plain tables, a page for each byte, nothing shared.

use std::net::IpAddr;

use segd_common::image::{Locator, PAGE_RECORDS, PAGE_WORDS, Page, RECORD_WORDS, Ref, rule_set, slot};
use segd_common::packet::proto;
use segd_common::reason::Reason;

/// Pages as they are laid; page 0 is never used.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) pages: Vec<Page>,
    records: u32,
}

/// Why a slot allows, and until when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub(crate) reason: Reason,
    pub(crate) rule: u32,
    pub(crate) deadline: u64,
    pub(crate) then: Locator,
}

/// A service: protocol, and its port, type or number.
pub(crate) type Service = (u8, u16);

impl Image {
    /// Behind pages that are there already.
    pub(crate) fn onto(mut pages: Vec<Page>) -> Self {
        if pages.is_empty() {
            pages.push(Page([0; PAGE_WORDS]));
        }
        Self { pages, records: 0 }
    }

    fn page(&mut self, fill: Ref) -> u32 {
        self.pages.push(Page([fill.0; PAGE_WORDS]));
        self.pages.len() as u32 - 1
    }

    fn record(&mut self, words: [u32; RECORD_WORDS]) -> Locator {
        if self.records.is_multiple_of(PAGE_RECORDS) {
            let page = self.page(Ref(0));
            self.records = page * PAGE_RECORDS;
        }
        let at = Locator(self.records);
        self.pages[at.page() as usize].0[at.word()..at.word() + RECORD_WORDS].copy_from_slice(&words);
        self.records += 1;
        at
    }

    /// A trie that says `otherwise` where none of the entries (key, its length in bits, answer) says more.
    pub(crate) fn trie(&mut self, otherwise: u32, mut entries: Vec<(Vec<u8>, u32, u32)>) -> Ref {
        entries.sort_by_key(|(_, bits, _)| *bits);
        let mut root = Ref::leaf(otherwise);
        for (key, bits, answer) in entries {
            root = self.put(root, &key, bits, answer);
        }
        root
    }

    fn put(&mut self, at: Ref, key: &[u8], bits: u32, answer: u32) -> Ref {
        if bits == 0 {
            return Ref::leaf(answer);
        }
        let page = if let Some(page) = at.as_table() { page } else { self.page(at) };
        let first = usize::from(key[0]);
        if bits < 8 {
            for entry in &mut self.pages[page as usize].0[first..first + (1 << (8 - bits))] {
                *entry = Ref::leaf(answer).0;
            }
        } else {
            let below = Ref(self.pages[page as usize].0[first]);
            let below = self.put(below, &key[1..], bits - 8, answer);
            self.pages[page as usize].0[first] = below.0;
        }
        Ref::table(page)
    }

    pub(crate) fn slot(&mut self, grant: Grant) -> Locator {
        let Grant { reason, rule, deadline, then } = grant;
        let mut words = [0; RECORD_WORDS];
        words[slot::FLAGS] = reason as u32 | slot::VALID;
        words[slot::RULE] = rule;
        words[slot::DEADLINE] = deadline as u32;
        words[slot::DEADLINE + 1] = (deadline >> 32) as u32;
        words[slot::THEN] = then.0;
        self.record(words)
    }

    /// A rule set: what its services get, and what the rest gets.
    pub(crate) fn rule_set(&mut self, services: &[(Service, Locator)], rest: Locator, flags: u32) -> Locator {
        let classes: [(usize, &[u8], bool); 6] = [
            (rule_set::TCP, &[proto::TCP], true),
            (rule_set::UDP, &[proto::UDP], true),
            (rule_set::SCTP, &[proto::SCTP], true),
            (rule_set::ICMP, &[proto::ICMP], false),
            (rule_set::ICMPV6, &[proto::ICMPV6], false),
            (rule_set::OTHER, &[proto::TCP, proto::UDP, proto::SCTP, proto::ICMP, proto::ICMPV6], false),
        ];
        let mut words = [0; RECORD_WORDS];
        for (word, protocols, ports) in classes {
            let mine =
                services.iter().filter(|((protocol, _), _)| protocols.contains(protocol) != (word == rule_set::OTHER));
            let entries = mine.map(|((_, service), slot)| {
                let key = if ports { service.to_be_bytes().to_vec() } else { vec![*service as u8] };
                let bits = key.len() as u32 * 8;
                (key, bits, slot.0)
            });
            let entries = entries.collect();
            words[word] = self.trie(0, entries).0;
        }
        words[rule_set::DEFAULT] = rest.0;
        words[rule_set::FLAGS] = flags;
        self.record(words)
    }
}

/// A network in the form of a trie's entry, and whether it is IPv4.
pub(crate) fn network(text: &str) -> (bool, Vec<u8>, u32) {
    let (address, bits) = text.split_once('/').expect("a network");
    let bits = bits.parse().expect("a length");
    match address.parse().expect("an address") {
        IpAddr::V4(v4) => (true, v4.octets().to_vec(), bits),
        IpAddr::V6(v6) => (false, v6.octets().to_vec(), bits),
    }
}
