//! The guard on a real kernel: packets between two neighbours through a gateway of the test's own.

use std::collections::BTreeSet;
use std::fs;

use crate::policy::{Forward, HookChoice, InterfaceSelector};

use super::ground::{Neighbour, in_namespace, ip, run};
use super::{Admission, Guard, Instance};

/// A gateway, which is the test's namespace, between two neighbours.
struct Gateway {
    lan: Neighbour,
    wan: Neighbour,
}

impl Gateway {
    fn new() -> Self {
        let (lan, wan) = (Neighbour::new(), Neighbour::new());
        ip("link set lo up");
        lan.connect("lan0", "10.1.0.1/24", "10.1.0.2/24");
        wan.connect("wan0", "10.2.0.1/24", "10.2.0.2/24");
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        Self { lan, wan }
    }

    /// (through the gateway, to the gateway, the gateway to the neighbour)
    fn passes(&self) -> (bool, bool, bool) {
        let outward = run("ping", "-c 1 -W 1 10.1.0.2").is_ok();
        (self.lan.reaches("10.2.0.2"), self.lan.reaches("10.1.0.1"), outward)
    }
}

const OPEN: (bool, bool, bool) = (true, true, true);
const SHUT: (bool, bool, bool) = (false, false, false);

fn admit(selectors: &[InterfaceSelector], names: &[&str]) -> Admission {
    Admission::new(selectors, names.iter().map(|name| index_of(name)).collect())
}

/// Asked of the kernel by name; /sys shows another namespace's devices.
fn index_of(name: &str) -> u32 {
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: the pointer is to a string with its end, and lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert_ne!(index, 0, "no interface {name:?}");
    index
}

fn selector(glob: &str) -> InterfaceSelector {
    InterfaceSelector { name: glob::Pattern::new(glob).unwrap(), hook: HookChoice::Auto, forward: Forward::Kernel }
}

fn instance() -> Instance {
    "test".parse().unwrap()
}

fn loopback_answers() -> bool {
    run("ping", "-c 1 -W 1 127.0.0.1").is_ok()
}

#[test]
fn only_admitted_interfaces_carry_traffic_and_loopback_always_does() {
    in_namespace(|| {
        let gateway = Gateway::new();
        assert_eq!(gateway.passes(), OPEN);
        let mut guard = Guard::install(instance(), &admit(&[], &[]));
        assert_eq!((guard.unavailable(), guard.present()), (None, true));
        assert_eq!(gateway.passes(), SHUT);
        assert!(loopback_answers());
        guard.update(&admit(&[], &["lan0"])).unwrap();
        assert_eq!(gateway.passes(), (false, true, true));
        guard.update(&admit(&[], &["wan0"])).unwrap();
        assert_eq!(gateway.passes(), SHUT);
        guard.update(&admit(&[], &["lan0", "wan0"])).unwrap();
        assert_eq!(gateway.passes(), OPEN);
        Guard::remove(&instance()).unwrap();
        assert!(!guard.present());
    });
}

#[test]
fn an_interface_that_comes_again_under_its_old_name_is_stopped_and_a_renamed_one_is_not() {
    in_namespace(|| {
        let gateway = Gateway::new();
        let _guard = Guard::install(instance(), &admit(&[], &["lan0", "wan0"]));
        ip("link set wan0 down");
        ip("link set wan0 name uplink");
        ip("link set uplink up");
        assert_eq!(gateway.passes(), OPEN);
        ip("link delete lan0");
        gateway.lan.connect("lan0", "10.1.0.1/24", "10.1.0.2/24");
        assert_eq!(gateway.passes(), SHUT);
    });
}

#[test]
fn what_the_policy_does_not_speak_of_is_left_alone() {
    in_namespace(|| {
        let gateway = Gateway::new();
        let mut guard = Guard::install(instance(), &admit(&[selector("dmz*")], &[]));
        assert_eq!(gateway.passes(), OPEN);
        guard.update(&admit(&[selector("dmz*"), selector("wan0")], &[])).unwrap();
        assert_eq!(gateway.passes(), (false, true, true));
        // A glob that nft cannot say reaches further; the admitted set makes up for it.
        guard.update(&admit(&[selector("[lw]an1")], &[])).unwrap();
        assert_eq!(gateway.passes(), SHUT);
        guard.update(&admit(&[selector("[lw]an1")], &["lan0", "wan0"])).unwrap();
        assert_eq!(gateway.passes(), OPEN);
    });
}

#[test]
fn frames_from_bridge_port_to_bridge_port_are_stopped_too() {
    in_namespace(|| {
        let (left, right) = (Neighbour::new(), Neighbour::new());
        ip("link add br0 type bridge");
        ip("link set br0 up");
        left.connect("p0", "10.3.0.251/24", "10.3.0.1/24");
        right.connect("p1", "10.3.0.252/24", "10.3.0.2/24");
        ip("link set p0 master br0");
        ip("link set p1 master br0");
        let mut guard = Guard::install(instance(), &admit(&[], &["br0", "p0", "p1"]));
        assert!(guard.covers_bridges());
        assert!(left.reaches("10.3.0.2"));
        guard.update(&admit(&[], &["br0", "p0"])).unwrap();
        assert!(!left.reaches("10.3.0.2"));
    });
}

#[test]
fn a_flushed_ruleset_is_seen_and_set_again() {
    in_namespace(|| {
        let gateway = Gateway::new();
        let mut guard = Guard::install(instance(), &admit(&[], &[]));
        run("nft", "flush ruleset").unwrap();
        assert!(!guard.present());
        assert_eq!(gateway.passes(), OPEN);
        guard.update(&admit(&[], &[])).unwrap();
        assert_eq!((guard.present(), gateway.passes()), (true, SHUT));
    });
}

#[test]
fn other_tables_and_other_instances_are_left_alone() {
    in_namespace(|| {
        let other: Instance = "other".parse().unwrap();
        run("nft", "add table inet admins").unwrap();
        let theirs = Guard::install(other, &admit(&[], &[]));
        let ours = Guard::install(instance(), &admit(&[], &[]));
        Guard::remove(&instance()).unwrap();
        assert_eq!((ours.present(), theirs.present()), (false, true));
        run("nft", "list table inet admins").unwrap();
        Guard::remove(&instance()).expect("removing what is not there is fine");
    });
}

#[test]
fn the_guard_is_never_away_while_it_is_replaced() {
    in_namespace(|| {
        let gateway = Gateway::new();
        let mut guard = Guard::install(instance(), &admit(&[], &["lan0"]));
        let wan = gateway.wan.pid();
        // 400 echoes in two seconds, while the tables are replaced all the time.
        let pings =
            std::thread::spawn(move || run("nsenter", &format!("-t {wan} -n ping -q -i 0.005 -c 400 -W 1 10.1.0.2")));
        let mut flip = false;
        while !pings.is_finished() {
            flip = !flip;
            guard.update(&admit(&[], if flip { &["lan0"] } else { &[] })).unwrap();
        }
        assert!(pings.join().unwrap().is_err(), "an echo came through");
    });
}

#[test]
fn interfaces_with_a_number_for_a_name_are_not_taken_for_an_index() {
    in_namespace(|| {
        let gateway = Gateway::new();
        let lan = index_of("lan0");
        ip(&format!("link add {lan} type bridge"));
        let _guard = Guard::install(instance(), &Admission::new(&[], BTreeSet::from([lan])));
        assert_eq!(gateway.passes(), (false, true, true));
    });
}
