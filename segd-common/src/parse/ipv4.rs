//! IPv4 (RFC 791), its options and its fragments.

use super::{Framing, Span, need, reach, transport};
use crate::addr::Addr;
use crate::packet::{Fragment, Packet, Part};
use crate::reason::Reason;
use crate::view::View;

const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// Options that name routers to pass (RFC 791): loose and strict.
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;
const MAX_OPTION_BYTES: u32 = 40;
const TTL_ANY: u8 = 0;

#[inline(always)]
pub(super) fn parse<V: View>(view: &V, off: u32, framing: Framing, packet: &mut Packet) -> Result<(), Reason> {
    let first = need(view.u32(off))?;
    let fragmentation = need(view.u32(off + 4))?;
    let protocol = need(view.u8(off + 9))?;
    let header = (first >> 24 & 0xf) * 4;
    if first >> 28 != 4 || header < 20 {
        return Err(Reason::BadHeader);
    }
    packet.key.src = Addr::v4(need(view.u32(off + 12))?);
    packet.key.dst = Addr::v4(need(view.u32(off + 16))?);
    packet.key.proto = protocol;
    packet.addressed = true;

    let available = view.frame_len().saturating_sub(off);
    let mut total = first & 0xffff;
    if framing.oversized && total == 0 {
        total = available;
    }
    if total < header {
        return Err(Reason::BadHeader);
    }
    if total > available {
        return Err(Reason::Truncated);
    }
    if header > 20 {
        check_options(view, off + 20, header - 20)?;
    }
    packet.fragment = fragment(fragmentation, total - header)?;
    let span = Span { off: reach(view, off + header)?, end: off + total };
    transport::parse(view, span, TTL_ANY, packet)
}

#[inline(always)]
fn fragment(word: u32, payload: u32) -> Result<Fragment, Reason> {
    let field = word as u16;
    let more = field & MORE_FRAGMENTS != 0;
    let start = u32::from(field & OFFSET) * 8;
    place(Fragment { part: Part::Whole, last: !more, id: word >> 16, start, end: start + payload })
}

/// The checks that both families share: which part it is, and that it can be one.
#[inline(always)]
pub(super) fn place(mut fragment: Fragment) -> Result<Fragment, Reason> {
    let more = !fragment.last;
    if !more && fragment.start == 0 {
        return Ok(fragment);
    }
    let payload = fragment.end - fragment.start;
    if fragment.end > 0xffff || payload == 0 || (more && !payload.is_multiple_of(8)) {
        return Err(Reason::Fragment);
    }
    fragment.part = if fragment.start == 0 { Part::First } else { Part::Later };
    Ok(fragment)
}

/// Walks the options: a source route is refused whatever the sysctl says, a length that leads nowhere too.
#[inline(always)]
fn check_options<V: View>(view: &V, off: u32, len: u32) -> Result<(), Reason> {
    let mut at = 0;
    for _ in 0..MAX_OPTION_BYTES {
        if at >= len {
            return Ok(());
        }
        at = reach(view, at)?;
        let kind = need(view.u8(off + at))?;
        match kind {
            0 => return Ok(()),
            1 => at += 1,
            LOOSE_ROUTE | STRICT_ROUTE => return Err(Reason::SourceRoute),
            _ => {
                if at + 1 >= len {
                    return Err(Reason::BadHeader);
                }
                let size = u32::from(need(view.u8(off + at + 1))?);
                if size < 2 || at + size > len {
                    return Err(Reason::BadHeader);
                }
                at += size;
            }
        }
    }
    Ok(())
}
