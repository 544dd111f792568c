//! News of the machine's interfaces and addresses, from netlink. It subscribes first and lists then, so that
//! nothing is missed between; it never decides what a change means.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::os::linux::fs::MetadataExt;
use std::pin::Pin;
use std::{collections::BTreeSet, fs};

use futures_util::{Stream, StreamExt};
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep, sleep_until};

use super::Link;
use super::address::{self, Address};
use super::machine::{Event, Listing, Machine};

/// How long a burst of address changes is gathered before it is told as one.
const GATHER: Duration = Duration::from_millis(20);

/// How long to wait before a listing that failed or was overtaken by changes is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link that is new, or is not as it was last told (another name under the same index included).
    Link(Link),
    /// A link that went away, or into another namespace. All that was attached to it is gone as well, even if a
    /// `Link` with the same index follows.
    Gone {
        /// Its index.
        index: u32,
    },
    /// All addresses of this machine as they are now, without 127/8 and `::1`.
    Addresses(BTreeSet<IpAddr>),
}

/// Netlink did not answer.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// No socket, or not these groups.
    #[error(
        "cannot subscribe to link and address changes: {0}; netlink must be allowed for the process \
         (systemd: RestrictAddressFamilies=AF_NETLINK) and descriptors must be left (LimitNOFILE=)"
    )]
    Subscribe(#[source] io::Error),
    /// The kernel refused to list.
    #[error("cannot list {what} through netlink: {reason}; the watcher tries again when asked for the next change")]
    List {
        /// Links, addresses or all.
        what: &'static str,
        /// The kernel's or the library's words.
        reason: String,
    },
    /// A thread of another network namespace asks for changes of this one.
    #[error(
        "the watcher was opened in another network namespace than the one it has to subscribe in again; \
         open and poll it on threads of one namespace"
    )]
    OtherNamespace,
}

/// Watches the links and addresses of the network namespace in which it was opened.
pub struct Watcher {
    namespace: (u64, u64),
    subscription: Option<Subscription>,
    /// Whether a listing was taken since the subscription began.
    listed: bool,
    machine: Machine,
    ready: VecDeque<Change>,
    /// When gathered address changes are told.
    tell_at: Option<Instant>,
}

impl Watcher {
    /// Subscribes in the network namespace of the calling thread. Has to be called within a tokio runtime whose
    /// threads are all in that namespace.
    pub fn open() -> Result<Self, WatchError> {
        Ok(Self {
            namespace: namespace().map_err(WatchError::Subscribe)?,
            subscription: Some(Subscription::open(Duration::ZERO)?),
            listed: false,
            machine: Machine::default(),
            ready: VecDeque::new(),
            tell_at: None,
        })
    }

    /// Waits for the next change. First come all links there are, then all addresses, then what changes.
    /// May be dropped at any time without losing a change; after an error it may be called again.
    pub async fn next(&mut self) -> Result<Change, WatchError> {
        loop {
            if let Some(change) = self.ready.pop_front() {
                return Ok(change);
            }
            if !self.listed {
                self.list().await?;
                continue;
            }
            tokio::select! {
                message = next_message(self.subscription.as_mut()) => self.take(message),
                () = wait_until(self.tell_at) => self.tell_addresses(),
            }
        }
    }

    fn take(&mut self, message: Option<RouteMessage>) {
        match message.map(|message| message.payload) {
            Some(NetlinkPayload::InnerMessage(message)) => {
                let Some(event) = event(&message) else { return };
                self.ready.extend(self.machine.apply(event));
                // A link that goes takes its addresses along, so each event may have changed them.
                self.tell_at.get_or_insert_with(|| Instant::now() + GATHER);
            }
            // Events were lost. Those still queued are older than the lost ones and would bring back what is gone:
            // they go away with their socket, and a new one begins with a listing.
            Some(NetlinkPayload::Overrun(_)) | None => {
                tracing::warn!("netlink lost changes of interfaces; listing them again");
                self.subscription = None;
                self.listed = false;
            }
            Some(_) => {}
        }
    }

    /// May be left while it waits: the listing itself goes on in a task of its own.
    async fn list(&mut self) -> Result<(), WatchError> {
        if self.subscription.is_none() {
            if namespace().map_err(WatchError::Subscribe)? != self.namespace {
                return Err(WatchError::OtherNamespace);
            }
            self.subscription = Some(Subscription::open(RETRY)?);
        }
        let Some(subscription) = self.subscription.as_mut() else { return Ok(()) };
        match (&mut subscription.listing).await.unwrap_or_else(|stopped| Err(failed("all", &stopped))) {
            Ok(Some(listing)) => {
                self.ready.extend(self.machine.replace(listing));
                self.listed = true;
                self.tell_addresses();
                Ok(())
            }
            Ok(None) => {
                subscription.listing = tokio::spawn(list(subscription.handle.clone(), RETRY));
                Ok(())
            }
            Err(error) => {
                self.subscription = None;
                Err(error)
            }
        }
    }

    fn tell_addresses(&mut self) {
        self.tell_at = None;
        self.ready.extend(self.machine.tell_addresses());
    }
}

type RouteMessage = NetlinkMessage<RouteNetlinkMessage>;

/// One socket: events come in, listings are asked for.
struct Subscription {
    events: Pin<Box<dyn Stream<Item = RouteMessage> + Send>>,
    handle: Handle,
    driver: JoinHandle<()>,
    /// Takes the listing that this subscription begins with.
    listing: JoinHandle<Result<Option<Listing>, WatchError>>,
}

impl Subscription {
    /// Subscribes at once, and lists after `delay`.
    fn open(delay: Duration) -> Result<Self, WatchError> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (mut connection, handle, events) = new_multicast_connection(&groups).map_err(WatchError::Subscribe)?;
        // The end of a dump may be what tells that the dump was overtaken by a change.
        connection.set_forward_done(true);
        let events = Box::pin(events.map(|(message, _)| message));
        let driver = tokio::spawn(connection);
        let listing = tokio::spawn(list(handle.clone(), delay));
        Ok(Self { events, handle, driver, listing })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.listing.abort();
        self.driver.abort();
    }
}

/// Everything there is, or `None` if something changed while the kernel was counting it up.
async fn list(mut handle: Handle, delay: Duration) -> Result<Option<Listing>, WatchError> {
    sleep(delay).await;
    let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let mut listing = Listing::default();
    let mut whole = true;
    for (what, request) in [("links", links), ("addresses", addresses)] {
        let (messages, consistent) = dump(&mut handle, what, request).await?;
        whole &= consistent;
        for event in messages.iter().filter_map(event) {
            match event {
                Event::Link(link) => listing.links.push(link),
                Event::AddressAdded(address) => _ = listing.addresses.insert(address),
                Event::Gone(_) | Event::AddressRemoved(_) => {}
            }
        }
    }
    Ok(whole.then_some(listing))
}

/// All that the kernel has to say to `request`, and whether nothing changed meanwhile.
async fn dump(
    handle: &mut Handle,
    what: &'static str,
    request: RouteNetlinkMessage,
) -> Result<(Vec<RouteNetlinkMessage>, bool), WatchError> {
    let mut request = NetlinkMessage::from(request);
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut answers = handle.request(request).map_err(|error| failed(what, &error))?;
    let (mut messages, mut consistent, mut done) = (Vec::new(), true, false);
    while let Some(answer) = answers.next().await {
        consistent &= answer.header.flags & NLM_F_DUMP_INTR == 0;
        match answer.payload {
            NetlinkPayload::InnerMessage(message) => messages.push(message),
            NetlinkPayload::Error(error) => return Err(failed(what, &error.to_io())),
            NetlinkPayload::Done(_) => done = true,
            _ => {}
        }
    }
    if done { Ok((messages, consistent)) } else { Err(failed(what, &"the socket closed before the end")) }
}

fn failed(what: &'static str, reason: &dyn std::fmt::Display) -> WatchError {
    WatchError::List { what, reason: reason.to_string() }
}

/// `None` when the socket is no more.
async fn next_message(subscription: Option<&mut Subscription>) -> Option<RouteMessage> {
    subscription?.events.next().await
}

async fn wait_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}

/// What a message says of links and addresses. Bridges speak of their ports in the same groups, by another
/// family: a port that leaves its bridge is no link that went away.
fn event(message: &RouteNetlinkMessage) -> Option<Event> {
    let is_link = |link: &LinkMessage| link.header.interface_family == AddressFamily::Unspec;
    match message {
        RouteNetlinkMessage::NewLink(link) if is_link(link) => Link::from_message(link).map(Event::Link),
        RouteNetlinkMessage::DelLink(link) if is_link(link) => Some(Event::Gone(link.header.index)),
        RouteNetlinkMessage::NewAddress(message) => Address::from_message(message).map(|address| {
            if address::is_lost(message) { Event::AddressRemoved(address) } else { Event::AddressAdded(address) }
        }),
        RouteNetlinkMessage::DelAddress(message) => Address::from_message(message).map(Event::AddressRemoved),
        _ => None,
    }
}

/// What tells this thread's network namespace from others.
fn namespace() -> io::Result<(u64, u64)> {
    let namespace = fs::metadata("/proc/thread-self/ns/net")?;
    Ok((namespace.st_dev(), namespace.st_ino()))
}
