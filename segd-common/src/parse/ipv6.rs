//! IPv6 (RFC 8200) and its extension headers.

use super::ipv4::place;
use super::{Framing, Span, held, need, reach, transport};
use crate::addr::Addr;
use crate::packet::{Essential, Fragment, Packet, Part};
use crate::reason::Reason;
use crate::view::View;

/// Extension headers that are followed. Linux follows any number; RFC 8883 lets a node stop at 8.
const MAX_EXTENSIONS: u32 = 8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const NO_NEXT: u8 = 59;
const DESTINATION: u8 = 60;

#[inline(always)]
pub(super) fn parse<V: View>(view: &V, off: u32, framing: Framing, packet: &mut Packet) -> Result<(), Reason> {
    let first = need(view.u8(off))?;
    let lengths = need(view.u32(off + 4))?;
    if first >> 4 != 6 {
        return Err(Reason::BadHeader);
    }
    packet.key.src = Addr { hi: need(view.u64(off + 8))?, lo: need(view.u64(off + 16))? };
    packet.key.dst = Addr { hi: need(view.u64(off + 24))?, lo: need(view.u64(off + 32))? };
    // `::ffff:a.b.c.d` is how this crate writes IPv4 addresses; on the wire nobody may (RFC 4942, 2.2).
    if packet.key.src.is_v4() || packet.key.dst.is_v4() {
        return Err(Reason::SpoofedSource);
    }
    packet.addressed = true;

    let available = view.frame_len().saturating_sub(off + 40);
    let mut payload = lengths >> 16;
    if framing.oversized && payload == 0 {
        payload = available;
    }
    if payload == 0 {
        return Err(Reason::BadHeader);
    }
    if payload > available {
        return Err(Reason::Truncated);
    }
    let mut chain = Chain { next: (lengths >> 8) as u8, off: off + 40, end: off + 40 + payload, fragment: None };
    chain.follow(view)?;
    packet.key.proto = chain.next;
    let fragmented = chain.fragment.is_some();
    if let Some(fragment) = chain.fragment {
        packet.fragment = fragment;
    }
    transport::parse(view, Span { off: reach(view, chain.off)?, end: chain.end }, lengths as u8, packet)?;
    // RFC 6980: neighbour discovery never comes in fragments, not even in a single one.
    if fragmented && matches!(packet.essential, Essential::Ndp | Essential::NdpRouter) {
        return Err(Reason::Fragment);
    }
    Ok(())
}

/// A walk along the extension headers, up to the transport header.
struct Chain {
    next: u8,
    off: u32,
    end: u32,
    fragment: Option<Fragment>,
}

impl Chain {
    #[inline(always)]
    fn follow<V: View>(&mut self, view: &V) -> Result<(), Reason> {
        for step in 0..=MAX_EXTENSIONS {
            self.off = reach(view, self.off)?;
            match self.next {
                HOP_BY_HOP | DESTINATION | ROUTING | FRAGMENT | AUTHENTICATION if step == MAX_EXTENSIONS => {
                    return Err(Reason::TooDeep);
                }
                HOP_BY_HOP if step != 0 => return Err(Reason::BadHeader),
                NO_NEXT => return Err(Reason::BadHeader),
                HOP_BY_HOP | DESTINATION => self.skip(view, 8)?,
                AUTHENTICATION => self.skip(view, 4)?,
                ROUTING => self.routing(view)?,
                FRAGMENT => self.fragment(view)?,
                _ => return Ok(()),
            }
            if matches!(self.fragment, Some(fragment) if fragment.part as u8 == Part::Later as u8) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What running out of the datagram means: behind a first fragment the chain was cut on purpose (RFC 7112).
    #[inline(always)]
    fn cut(&self) -> Reason {
        if matches!(self.fragment, Some(fragment) if fragment.part as u8 == Part::First as u8) {
            Reason::Fragment
        } else {
            Reason::Truncated
        }
    }

    /// Steps over a header; `unit` is 8, or 4 for the authentication header (RFC 4302), whose length also counts from 2.
    #[inline(always)]
    fn skip<V: View>(&mut self, view: &V, unit: u32) -> Result<(), Reason> {
        if self.off + 8 > self.end {
            return Err(self.cut());
        }
        let head = held(view.u16(self.off))?;
        let words = u32::from(head & 0xff);
        let size = if unit == 8 { (words + 1) * 8 } else { (words + 2) * 4 };
        if self.off + size > self.end {
            return Err(self.cut());
        }
        self.next = (head >> 8) as u8;
        self.off += size;
        Ok(())
    }

    /// Type 0 is forbidden (RFC 5095), segment routing (4, RFC 8754) and anything with segments left steers.
    #[inline(always)]
    fn routing<V: View>(&mut self, view: &V) -> Result<(), Reason> {
        if self.off + 8 > self.end {
            return Err(self.cut());
        }
        let kind = held(view.u16(self.off + 2))?;
        if kind >> 8 == 0 || kind >> 8 == 4 || kind & 0xff != 0 {
            return Err(Reason::SourceRoute);
        }
        self.skip(view, 8)
    }

    #[inline(always)]
    fn fragment<V: View>(&mut self, view: &V) -> Result<(), Reason> {
        if self.fragment.is_some() {
            return Err(Reason::Fragment);
        }
        if self.off + 8 > self.end {
            return Err(Reason::Truncated);
        }
        let head = held(view.u32(self.off))?;
        let id = held(view.u32(self.off + 4))?;
        self.next = (head >> 24) as u8;
        self.off += 8;
        let start = head & 0xfff8;
        let payload = self.end - self.off;
        let fragment = Fragment { part: Part::Whole, last: head & 1 == 0, id, start, end: start + payload };
        self.fragment = Some(place(fragment)?);
        Ok(())
    }
}
