//! TC programs as filters of a clsact qdisc, for kernels without TCX. A filter belongs to nobody: it stays when its daemon
//! ends, and anybody may take it off. So ours are known by priority, handle and name, and replaced in place, by one message.
//! It must never touch a filter or a qdisc that is somebody else's.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcHeader, TcMessage, TcOption, TcU32OptionFlags,
};

use super::route::{Item, change, list};
use super::seat::Seat;

/// The first place there is. Filters of one priority run the newest first.
const PRIORITY: u16 = 1;
/// Ours have handles from here on: the seat's number, then the turn.
const HANDLES: u32 = 0x5e9d_0000;
/// How many a seat has; a power of two.
const TURNS: u32 = 16;
/// `TC_H_CLSACT`.
const CLSACT: u32 = 0xffff_fff1;
/// `TC_H_MAJ` of it: what its qdisc is called.
const CLSACT_HANDLE: u32 = 0xffff_0000;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;

/// One filter on one side of an interface, in the order in which they run.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    handle: u32,
    /// Whose seat it is, if it is ours.
    seat: Option<Seat>,
    /// Number of its program.
    program: Option<u32>,
}

/// A seat of an interface that is taken by a filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    pub(super) ifindex: u32,
    pub(super) seat: Seat,
}

impl Filter {
    /// Puts a program there: in place of ours if one is there, and before everybody else's. No packet goes by between.
    pub(super) fn put(self, program: BorrowedFd<'_>) -> io::Result<()> {
        let there = self.standing()?;
        let is_ours = |filter: &Standing| filter.seat == Some(self.seat);
        let in_front = there.iter().position(is_ours).filter(|place| is_first(&there, *place));
        // A new one comes first among its priority.
        let (handle, flags) = match in_front {
            Some(place) => (there[place].handle, NLM_F_CREATE),
            None => (self.free(&there)?, NLM_F_CREATE | NLM_F_EXCL),
        };
        self.write(handle, program, flags)?;
        // Whatever stood behind somebody else's may go now, and so may what a daemon left that was killed in this place.
        let mut old = there.iter().filter(|filter| is_ours(filter) && filter.handle != handle);
        old.try_for_each(|filter| self.delete(filter.handle))
    }

    /// Whether the program of this number runs there, and before everybody else's; why not, if not.
    pub(super) fn state(self, program: u32) -> Result<(), &'static str> {
        let there = self.standing().map_err(|_| "cannot be asked for")?;
        let Some(place) = there.iter().position(|filter| filter.seat == Some(self.seat)) else { return Err("is gone") };
        match (there[place].program == Some(program), is_first(&there, place)) {
            (true, true) => Ok(()),
            (false, _) => Err("runs another program"),
            (true, false) => Err("stands behind somebody else's"),
        }
    }

    /// Whether a filter of ours is there at all.
    pub(super) fn is_there(self) -> io::Result<bool> {
        Ok(self.standing()?.iter().any(|filter| filter.seat == Some(self.seat)))
    }

    /// Takes ours off. Fine if it is gone, with its interface or without.
    pub(super) fn remove(self) -> io::Result<()> {
        for filter in self.standing()?.iter().filter(|filter| filter.seat == Some(self.seat)) {
            match self.delete(filter.handle) {
                Err(why) if !matches!(why.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => return Err(why),
                _ => {}
            }
        }
        Ok(())
    }

    const fn side(self) -> u32 {
        match self.seat {
            Seat::Egress => EGRESS,
            _ => INGRESS,
        }
    }

    pub(super) const fn handle(self, turn: u32) -> u32 {
        HANDLES | (self.seat as u32) << 4 | turn
    }

    /// A handle of this seat's that nobody has.
    fn free(self, there: &[Standing]) -> io::Result<u32> {
        let is_free = |handle: &u32| there.iter().all(|filter| filter.handle != *handle);
        let handles = (0..TURNS).map(|turn| self.handle(turn));
        handles
            .into_iter()
            .find(is_free)
            .ok_or_else(|| io::Error::other("somebody else has all the handles that are ours"))
    }

    fn standing(self) -> io::Result<Vec<Standing>> {
        standing(self.ifindex, self.side())
    }

    fn message(self, handle: u32) -> TcMessage {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let mut message = message(self.ifindex, self.side(), handle);
        message.header.info = u32::from(PRIORITY) << 16 | u32::from(protocol);
        message.attributes = vec![TcAttribute::Kind("bpf".into())];
        message
    }

    /// Makes the filter of this handle, or replaces its program.
    pub(super) fn write(self, handle: u32, program: BorrowedFd<'_>, flags: u16) -> io::Result<()> {
        let mut message = self.message(handle);
        let options = [
            TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned()),
            TcFilterBpfOption::ProgName(self.seat.program().into()),
            TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
            TcFilterBpfOption::FlagsGeneric(TcU32OptionFlags::SkipHw),
        ];
        message.attributes.push(TcAttribute::Options(options.into_iter().map(TcOption::Bpf).collect()));
        change(RouteNetlinkMessage::NewTrafficFilter(message), flags)
    }

    fn delete(self, handle: u32) -> io::Result<()> {
        change(RouteNetlinkMessage::DelTrafficFilter(self.message(handle)), 0)
    }
}

/// Whether nobody else's runs before this one.
fn is_first(there: &[Standing], place: usize) -> bool {
    there.iter().take(place).all(|filter| filter.seat.is_some())
}

/// What is attached on the two sides of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Qdisc {
    Clsact,
    /// The older one, which has no way out; the two exclude each other.
    Ingress,
}

/// Makes the qdisc that filters hang on, if it is not there; whether it was made.
pub(super) fn make_clsact(ifindex: u32) -> Result<bool, String> {
    let refused = |why: io::Error| match why.raw_os_error() {
        Some(libc::ENOENT) => format!("{why}: this kernel has no clsact qdisc; `modprobe sch_ingress` loads it"),
        _ => format!("its clsact qdisc can't be made: {why}"),
    };
    match qdisc(ifindex).map_err(refused)? {
        Some(Qdisc::Clsact) => return Ok(false),
        Some(Qdisc::Ingress) => {
            return Err("an ingress qdisc is in the place of clsact, which filters for both ways need: take it off \
                        (`tc qdisc del dev … ingress`), or move its filters to clsact"
                .into());
        }
        None => {}
    }
    let mut message = message(ifindex, CLSACT, CLSACT_HANDLE);
    message.attributes = vec![TcAttribute::Kind("clsact".into())];
    match change(RouteNetlinkMessage::NewQueueDiscipline(message), NLM_F_CREATE | NLM_F_EXCL) {
        Ok(()) => Ok(true),
        // Somebody was quicker.
        Err(why) if why.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(why) => Err(refused(why)),
    }
}

/// Takes the qdisc off, unless somebody has filters on it.
pub(super) fn remove_clsact(ifindex: u32) -> io::Result<()> {
    let in_use = !standing(ifindex, INGRESS)?.is_empty() || !standing(ifindex, EGRESS)?.is_empty();
    if in_use || qdisc(ifindex)? != Some(Qdisc::Clsact) {
        return Ok(());
    }
    let mut message = message(ifindex, CLSACT, CLSACT_HANDLE);
    message.attributes = vec![TcAttribute::Kind("clsact".into())];
    change(RouteNetlinkMessage::DelQueueDiscipline(message), 0)
}

fn qdisc(ifindex: u32) -> io::Result<Option<Qdisc>> {
    let all = list(RouteNetlinkMessage::GetQueueDiscipline(message(ifindex, 0, 0)))?;
    let kind = |item: &Item| {
        let Item::Read(RouteNetlinkMessage::NewQueueDiscipline(message)) = item else { return None };
        let here = message.header.index == ifindex.cast_signed() && u32::from(message.header.parent) == CLSACT;
        match kind_of(message)? {
            "clsact" if here => Some(Qdisc::Clsact),
            "ingress" if here => Some(Qdisc::Ingress),
            _ => None,
        }
    };
    Ok(all.iter().find_map(kind))
}

/// The filters that packets meet there, in their order. Other chains are only entered from one of these.
fn standing(ifindex: u32, side: u32) -> io::Result<Vec<Standing>> {
    let all = list(RouteNetlinkMessage::GetTrafficFilter(message(ifindex, side, 0)))?;
    Ok(all.iter().filter_map(read).collect())
}

/// A filter of a listing. One that says what we can't read is somebody else's. The kernel also lists each priority itself,
/// with no handle.
fn read(item: &Item) -> Option<Standing> {
    let foreign = |handle| Some(Standing { handle, seat: None, program: None });
    let Item::Read(message) = item else { return foreign(0) };
    let RouteNetlinkMessage::NewTrafficFilter(message) = message else { return None };
    let handle = u32::from(message.header.handle);
    let elsewhere = |attribute: &TcAttribute| matches!(attribute, TcAttribute::Chain(chain) if *chain != 0);
    if handle == 0 || message.attributes.iter().any(elsewhere) {
        return None;
    }
    if kind_of(message) != Some("bpf") || message.header.info >> 16 != u32::from(PRIORITY) {
        return foreign(handle);
    }
    let (mut name, mut program) = (None, None);
    for option in options(message) {
        match option {
            TcFilterBpfOption::ProgName(said) => name = Some(said.as_str()),
            TcFilterBpfOption::ProgId(id) => program = Some(*id),
            _ => {}
        }
    }
    let seat = Seat::ALL.into_iter().find(|seat| {
        let filter = Filter { ifindex: 0, seat: *seat };
        handle & !(TURNS - 1) == filter.handle(0) && name == Some(seat.program())
    });
    Some(Standing { handle, seat, program })
}

fn kind_of(message: &TcMessage) -> Option<&str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.as_str()),
        _ => None,
    })
}

fn options(message: &TcMessage) -> impl Iterator<Item = &TcFilterBpfOption> {
    let all = message.attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    all.flatten().filter_map(|option| match option {
        TcOption::Bpf(option) => Some(option),
        _ => None,
    })
}

fn message(ifindex: u32, parent: u32, handle: u32) -> TcMessage {
    let (parent, handle) = (TcHandle::from(parent), TcHandle::from(handle));
    let header = TcHeader { index: ifindex.cast_signed(), handle, parent, ..TcHeader::default() };
    TcMessage::from_parts(header, Vec::new())
}
