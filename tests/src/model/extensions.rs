//! IPv6 extension headers (RFC 8200), up to the transport header.

use super::frame::{Body, Bytes, Part, check_part};
use super::why::Why;

/// RFC 8883 lets a node stop here.
const LIMIT: usize = 8;

/// The body behind the extension headers, and whether there was a fragment header.
pub(super) fn follow(bytes: Bytes<'_>, mut body: Body) -> Result<(Body, bool), Why> {
    let mut fragmented = false;
    for number in 0.. {
        if body.start >= 512 {
            return Err(Why::TooDeep);
        }
        match body.protocol {
            59 => return Err(Why::BadHeader),
            0 | 43 | 44 | 51 | 60 if number == LIMIT => return Err(Why::TooDeep),
            0 if number > 0 => return Err(Why::BadHeader),
            43 => {
                inside(&body, 8)?;
                let [kind, left] = bytes.at(body.start + 2)?;
                // Type 0 is forbidden (RFC 5095), 4 is segment routing (RFC 8754), and whatever has segments left steers.
                if kind == 0 || kind == 4 || left != 0 {
                    return Err(Why::SourceRoute);
                }
                step(bytes, &mut body, 8)?;
            }
            0 | 60 => step(bytes, &mut body, 8)?,
            // RFC 4302: words of four bytes.
            51 => step(bytes, &mut body, 4)?,
            44 if fragmented => return Err(Why::Fragment),
            44 => {
                fragmented = true;
                if body.start + 8 > body.end {
                    return Err(Why::Truncated);
                }
                let place = usize::from(bytes.pair(body.start + 2)?);
                let id = bytes.word(body.start + 4)?;
                body.protocol = bytes.byte(body.start)?;
                body.start += 8;
                let start = place & 0xfff8;
                let part = Part { id, start, end: start + body.end - body.start, more: place & 1 != 0 };
                body.part = check_part(part)?;
                if body.part.is_some_and(|part| part.start > 0) {
                    return Ok((body, true));
                }
            }
            _ => break,
        }
    }
    Ok((body, fragmented))
}

/// A first fragment that does not hold all headers hides something on purpose (RFC 7112).
fn inside(body: &Body, size: usize) -> Result<(), Why> {
    if body.start + size > body.end { Err(body.short(Why::Truncated)) } else { Ok(()) }
}

fn step(bytes: Bytes<'_>, body: &mut Body, unit: usize) -> Result<(), Why> {
    inside(body, 8)?;
    let [next, length] = bytes.at(body.start)?;
    let size = if unit == 8 { (usize::from(length) + 1) * 8 } else { (usize::from(length) + 2) * 4 };
    inside(body, size)?;
    body.protocol = next;
    body.start += size;
    Ok(())
}
