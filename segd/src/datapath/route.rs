//! One question to the kernel's routing netlink and its whole answer, without a runtime: what is asked here is answered at
//! once. It must never outlive its answer: a socket of its own for each.

use std::io;

use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// One message of a listing. What the library can't read is there all the same.
pub(super) enum Item {
    /// What it says.
    Read(RouteNetlinkMessage),
    /// It says something that is newer than the library.
    Unread,
}

/// Asks for a change; returns when it is made.
pub(super) fn change(message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
    exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags).map(drop)
}

/// Asks for a listing.
pub(super) fn list(message: RouteNetlinkMessage) -> io::Result<Vec<Item>> {
    exchange(message, NLM_F_REQUEST | NLM_F_DUMP)
}

fn exchange(message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<Item>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    let mut request = NetlinkMessage::from(message);
    request.header.flags = flags;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    let mut items = Vec::new();
    loop {
        let (answer, _) = socket.recv_from_full()?;
        if take(&answer, &mut items)? {
            return Ok(items);
        }
    }
}

/// Takes in what came; whether that was the end.
fn take(mut answer: &[u8], items: &mut Vec<Item>) -> io::Result<bool> {
    while let Some((message, rest)) = first(answer) {
        match NetlinkMessage::<RouteNetlinkMessage>::deserialize(message).map(|message| message.payload) {
            Ok(NetlinkPayload::Done(done)) if done.code < 0 => return Err(io::Error::from_raw_os_error(-done.code)),
            Ok(NetlinkPayload::Done(_)) => return Ok(true),
            Ok(NetlinkPayload::Error(error)) if error.code.is_none() => return Ok(true),
            Ok(NetlinkPayload::Error(error)) => return Err(error.to_io()),
            Ok(NetlinkPayload::InnerMessage(message)) => items.push(Item::Read(message)),
            Ok(_) => {}
            Err(_) => items.push(Item::Unread),
        }
        answer = rest;
    }
    Ok(false)
}

/// The first message, by the length that it begins with, and what follows it: each begins at a multiple of four.
fn first(answer: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_ne_bytes(*answer.first_chunk()?) as usize;
    let message = answer.get(..length).filter(|message| !message.is_empty())?;
    Some((message, answer.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart_by_the_lengths_in_it_and_one_that_lies_ends_there() {
        let message = |length: u32, bytes: usize| [&length.to_ne_bytes()[..], &vec![0; bytes - 4]].concat();
        let two = [message(17, 20), message(16, 16)].concat();
        let (one, rest) = first(&two).unwrap();
        assert_eq!((one.len(), rest.len()), (17, 16));
        assert_eq!(first(rest).map(|(one, rest)| (one.len(), rest.len())), Some((16, 0)));
        for broken in [vec![], vec![1, 2], message(0, 16), message(17, 16), message(u32::MAX, 16)] {
            assert!(first(&broken).is_none(), "{broken:?}");
        }
    }
}
