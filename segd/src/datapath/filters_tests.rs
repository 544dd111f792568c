//! Filters in the place of links, on real interfaces in a namespace of their own. What the kernel then has is asked of `tc`,
//! which knows nothing of us.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rtnetlink::packet_core::NLM_F_CREATE;
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

use super::filters::Filter;
use super::seat::Seat;
use super::{Attachment, Datapath, Hook, Sizes};
use crate::interfaces::ground::{in_namespace, ip};
use crate::interfaces::{Kind, Link};

const SIZES: Sizes = Sizes { zones: 16, rules: 1024, pages: 1024, buckets: 64, connections: 256, half_open: 64 };

/// A folder on a bpffs that nobody else sees, and a cable whose end `x0` is to be guarded.
struct Ground {
    dir: PathBuf,
    link: Link,
}

impl Ground {
    fn lay() -> Self {
        mount_bpffs();
        ip("link add x0 address 02:00:00:00:00:01 type veth peer name y0");
        ip("link set x0 up");
        ip("link set y0 up");
        ip("address add 10.9.0.1/24 dev x0");
        Self { dir: Path::new(BPFFS).join("segd"), link: Link::sample(ifindex("x0"), "x0", Kind::Veth) }
    }

    fn open(&self) -> Datapath {
        std::fs::create_dir_all(&self.dir).unwrap();
        Datapath::open_by(&self.dir, &SIZES, Attachment::Filter).unwrap()
    }

    fn guarded(&self, hook: Hook) -> Datapath {
        let mut datapath = self.open();
        datapath.attach(&self.link, hook).unwrap();
        datapath
    }
}

const BPFFS: &str = "/sys/fs/bpf";

/// In a mount namespace of this thread: it goes with the thread.
fn mount_bpffs() {
    let none = std::ptr::null();
    // SAFETY: changes only this thread's view of the file systems; all strings are valid and terminated.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS | libc::CLONE_FS), 0);
        assert_eq!(libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()), 0);
        let kind = c"bpf".as_ptr();
        assert_eq!(libc::mount(kind, c"/sys/fs/bpf".as_ptr(), kind, 0, none.cast()), 0);
    }
}

fn ifindex(name: &str) -> u32 {
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: a valid, terminated string.
    unsafe { libc::if_nametoindex(name.as_ptr()) }
}

/// `tc` with these words, which has to succeed.
fn tc(words: &str) -> String {
    run_tc(Command::new("tc").args(words.split_whitespace()))
}

fn run_tc(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Somebody else's BPF filter that lets everything pass, in the first place.
fn step_in_front() {
    let words =
        ["filter", "add", "dev", "x0", "ingress", "pref", "1", "bpf", "bytecode", "1,6 0 0 4294967295,", "flowid"];
    run_tc(Command::new("tc").args(words).arg("1:1"));
}

/// A UDP packet for port 4000, that arrives at `x0` from its other end.
struct Flood {
    socket: Socket,
    frame: Vec<u8>,
}

impl Flood {
    fn prepare() -> Self {
        let socket = Socket::new(Domain::PACKET, Type::RAW, None).unwrap();
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: a packet address is a view that fits into the zeroed storage.
        let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = ifindex("y0").cast_signed();
        // SAFETY: the storage holds an address of exactly this kind and length.
        socket.bind(&unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as u32) }).unwrap();
        let mut packet = vec![0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 9, 0, 2, 10, 9, 0, 1];
        let words = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
        let sum: u32 = words.sum();
        let checksum = !((sum >> 16) + (sum & 0xffff)) as u16;
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        let (ports, length, no_checksum) = ([0x0f, 0xa1, 0x0f, 0xa0], [0, 12], [0, 0]);
        let frame = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0][..], &packet, &ports, &length, &no_checksum, b"seg!"];
        Self { socket, frame: frame.concat() }
    }

    fn send(&self) {
        // A full queue is no matter: there is more.
        let _ = self.socket.send(&self.frame);
    }
}

/// The programs of the filters on one side, in the order in which they run; what is no program of ours is its kind.
fn filters(side: &str) -> Vec<String> {
    let name = |line: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "handle" && *word != "fh").skip(2);
        let next = words.next()?;
        Some(if next.starts_with("segd_") { next.to_owned() } else { "foreign".to_owned() })
    };
    tc(&format!("filter show dev x0 {side}")).lines().filter_map(name).collect()
}

fn state(datapath: &Datapath) -> (bool, Option<String>) {
    let enforced = datapath.enforced();
    assert_eq!(enforced.len(), 1);
    assert_eq!(enforced[0].attachment, Attachment::Filter);
    (enforced[0].enforced, enforced[0].detail.clone())
}

#[test]
fn each_hook_has_one_filter_on_each_side_and_restarts_pile_up_none() {
    in_namespace(|| {
        let ground = Ground::lay();
        for (hook, way_in) in [(Hook::Tc, "segd_ingress"), (Hook::XdpGeneric, "segd_note"), (Hook::Tc, "segd_ingress")]
        {
            for _ in 0..2 {
                let datapath = ground.guarded(hook);
                assert_eq!(state(&datapath), (true, None));
                assert_eq!(datapath.enforced()[0].hook, hook);
                assert_eq!(
                    (filters("ingress"), filters("egress")),
                    (vec![way_in.to_owned()], vec!["segd_egress".into()])
                );
            }
        }
    });
}

#[test]
fn the_next_daemon_finds_the_filters_by_their_pins() {
    in_namespace(|| {
        let ground = Ground::lay();
        drop(ground.guarded(Hook::Tc));
        let mut next = ground.open();
        assert!(state(&next).0, "as it was left");
        next.attached.take_over(&mut next.set).unwrap();
        assert_eq!(state(&next), (true, None), "with the next one's programs");
        assert_eq!(filters("ingress"), ["segd_ingress"]);
    });
}

#[test]
fn what_somebody_takes_off_is_told_and_put_back() {
    in_namespace(|| {
        let ground = Ground::lay();
        let mut datapath = ground.guarded(Hook::Tc);
        for (words, what) in [
            ("filter del dev x0 ingress pref 1", "the filter for ingress is gone"),
            ("filter del dev x0 egress", "the filter for egress is gone"),
            ("qdisc del dev x0 clsact", "the filter for egress is gone, the filter for ingress is gone"),
        ] {
            tc(words);
            let (enforced, detail) = state(&datapath);
            assert!(!enforced && detail.as_ref().is_some_and(|detail| detail.starts_with(what)), "{words}: {detail:?}");
            datapath.attach(&ground.link, Hook::Tc).unwrap();
            assert_eq!(state(&datapath), (true, None), "after {words}");
        }
    });
}

#[test]
fn a_filter_that_steps_in_front_is_told_and_overtaken_and_left_alone() {
    in_namespace(|| {
        let ground = Ground::lay();
        let mut datapath = ground.guarded(Hook::Tc);
        for _ in 0..3 {
            step_in_front();
            let (enforced, detail) = state(&datapath);
            assert!(!enforced && detail.is_some_and(|detail| detail.contains("stands behind somebody else's")));
            datapath.attach(&ground.link, Hook::Tc).unwrap();
            assert_eq!(state(&datapath), (true, None));
        }
        assert_eq!(filters("ingress"), ["segd_ingress", "foreign", "foreign", "foreign"]);
    });
}

#[test]
fn what_a_daemon_left_that_was_killed_while_it_changed_places_is_cleaned_up() {
    in_namespace(|| {
        let ground = Ground::lay();
        let mut datapath = ground.guarded(Hook::Tc);
        let filter = Filter { ifindex: ground.link.index, seat: Seat::Ingress };
        let program = datapath.set.classifier("segd_ingress").unwrap().fd().unwrap().try_clone().unwrap();
        filter.write(filter.handle(7), program.as_fd(), NLM_F_CREATE).unwrap();
        assert_eq!(filters("ingress"), ["segd_ingress", "segd_ingress"]);
        datapath.attached.take_over(&mut datapath.set).unwrap();
        assert_eq!(filters("ingress"), ["segd_ingress"]);
        assert_eq!(state(&datapath), (true, None));
    });
}

/// The pins of everything that is attached.
fn pins(ground: &Ground) -> Vec<PathBuf> {
    let folders = ["links", "filters"].map(|folder| std::fs::read_dir(ground.dir.join(folder)));
    folders.into_iter().flatten().flatten().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn filters_whose_pins_are_gone_are_pinned_anew_and_where_that_fails_they_stay_until_they_are_let_go() {
    in_namespace(|| {
        let ground = Ground::lay();
        for hook in [Hook::Tc, Hook::XdpGeneric, Hook::Xdp] {
            let mut datapath = ground.guarded(hook);
            let there = pins(&ground);
            assert!(there.iter().any(|pin| pin.to_string_lossy().contains("/clsact_")), "{there:?}");
            for pin in &there {
                std::fs::remove_file(pin).unwrap();
            }
            let (made, failed) = datapath.mend();
            assert!(failed.is_none(), "{failed:?}");
            assert_eq!(made.len(), there.len(), "{hook}: {made:?} of {there:?}");
            assert_eq!(pins(&ground).len(), there.len());
            assert_eq!(state(&datapath), (true, None), "{hook}");
            datapath.detach(ground.link.index).unwrap();
        }
        let mut datapath = ground.guarded(Hook::Tc);
        let before = [filters("ingress"), filters("egress")];
        let nothing = std::ptr::null();
        // SAFETY: in the mount namespace of this thread; all strings are valid and terminated.
        unsafe { assert_eq!(libc::mount(nothing, c"/sys/fs/bpf".as_ptr(), c"tmpfs".as_ptr(), 0, nothing.cast()), 0) };
        assert!(datapath.mend().1.is_some(), "no pin can be made");
        datapath.attach(&ground.link, Hook::Tc).unwrap();
        let (enforced, detail) = state(&datapath);
        assert!(enforced && detail.is_some_and(|detail| detail.contains("as long as this daemon runs")));
        assert_eq!([filters("ingress"), filters("egress")], before);
        datapath.detach(ground.link.index).unwrap();
        assert_eq!([filters("ingress"), filters("egress")], [Vec::<String>::new(), Vec::new()]);
    });
}

#[test]
fn an_interface_that_is_gone_leaves_no_pin() {
    in_namespace(|| {
        let ground = Ground::lay();
        for hook in [Hook::Tc, Hook::XdpGeneric] {
            let mut datapath = ground.guarded(hook);
            if hook == Hook::XdpGeneric {
                ip("link del x0");
                datapath.detach(ground.link.index).unwrap();
                assert!(datapath.enforced().is_empty());
            }
        }
        let left: Vec<_> = std::fs::read_dir(ground.dir.join("filters")).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn unload_takes_off_ours_and_the_qdisc_that_we_made() {
    in_namespace(|| {
        let ground = Ground::lay();
        drop(ground.guarded(Hook::XdpGeneric));
        let gone = Datapath::unload(&ground.dir).unwrap();
        assert!(gone.iter().any(|what| what.starts_with("egress of interface")), "{gone:?}");
        assert_eq!((filters("ingress"), filters("egress")), (vec![], vec![]));
        assert!(!tc("qdisc show dev x0").contains("clsact"));
        assert_eq!(std::fs::read_dir(&ground.dir).unwrap().count(), 0, "no pin is left");
    });
}

#[test]
fn unload_leaves_the_qdisc_that_was_there_and_its_filters() {
    in_namespace(|| {
        let ground = Ground::lay();
        tc("qdisc add dev x0 clsact");
        tc("filter add dev x0 ingress pref 9 protocol ip u32 match u32 0 0 flowid 1:1");
        let before = tc("filter show dev x0 ingress");
        drop(ground.guarded(Hook::Tc));
        Datapath::unload(&ground.dir).unwrap();
        assert_eq!(tc("filter show dev x0 ingress"), before);
        assert!(tc("qdisc show dev x0").contains("clsact"));
    });
}

#[test]
fn a_qdisc_that_we_made_stays_if_somebody_uses_it_meanwhile() {
    in_namespace(|| {
        let ground = Ground::lay();
        drop(ground.guarded(Hook::Tc));
        tc("filter add dev x0 egress pref 9 protocol ip u32 match u32 0 0 flowid 1:1");
        let before = filters("egress").len();
        Datapath::unload(&ground.dir).unwrap();
        assert!(before > 1 && !filters("egress").contains(&"segd_egress".to_owned()));
        assert!(tc("filter show dev x0 egress").contains("u32"));
    });
}

#[test]
fn an_ingress_qdisc_in_the_way_is_named_with_the_mend() {
    in_namespace(|| {
        let ground = Ground::lay();
        tc("qdisc add dev x0 ingress");
        let why = ground.open().attach(&ground.link, Hook::Tc).unwrap_err().to_string();
        assert!(why.contains("x0") && why.contains("tc qdisc del dev"), "{why}");
        assert!(tc("qdisc show dev x0").contains("ingress"), "it is left alone");
    });
}

#[test]
fn a_filter_of_another_kind_in_the_first_place_is_named_with_the_mend() {
    in_namespace(|| {
        let ground = Ground::lay();
        tc("qdisc add dev x0 clsact");
        tc("filter add dev x0 ingress pref 1 protocol ip u32 match u32 0 0 flowid 1:1");
        let before = tc("filter show dev x0 ingress");
        let why = ground.open().attach(&ground.link, Hook::Tc).unwrap_err().to_string();
        assert!(why.contains("x0") && why.contains("pref"), "{why}");
        assert_eq!((tc("filter show dev x0 ingress"), filters("egress")), (before, vec![]), "half of it is not left");
    });
}

#[test]
fn no_packet_passes_while_programs_are_replaced() {
    in_namespace(|| {
        let ground = Ground::lay();
        let receiver = UdpSocket::bind("10.9.0.1:4000").unwrap();
        receiver.set_nonblocking(true).unwrap();
        let sender = Flood::prepare();
        // Without a policy nothing passes.
        let mut datapath = ground.guarded(Hook::Tc);
        let (stop, sent) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    sender.send();
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
            for _ in 0..200 {
                datapath.attached.take_over(&mut datapath.set).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(sent.load(Ordering::Relaxed) > 1000);
        std::thread::sleep(Duration::from_millis(50));
        assert!(receiver.recv(&mut [0; 64]).is_err(), "a packet got through");
        // The same packets do arrive where nothing is attached.
        Datapath::unload(&ground.dir).unwrap();
        sender.send();
        std::thread::sleep(Duration::from_millis(50));
        assert!(receiver.recv(&mut [0; 64]).is_ok(), "the flood reaches nobody");
    });
}
