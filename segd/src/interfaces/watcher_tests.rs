//! The watcher on a real kernel: links and addresses come, change and go in a namespace of the test's own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::ground::{Neighbour, in_namespace, ip, ip_batch, ip_if_kernel_can};
use super::{Change, Kind, Link, Watcher};

/// What a listener who heard every change believes.
struct Listener {
    watcher: Watcher,
    links: BTreeMap<u32, Link>,
    addresses: BTreeSet<IpAddr>,
}

impl Listener {
    async fn open() -> Self {
        let watcher = Watcher::open().unwrap();
        let mut listener = Self { watcher, links: BTreeMap::new(), addresses: BTreeSet::new() };
        listener.settle().await;
        listener
    }

    /// Listens until nothing was told for a while; what was told.
    async fn settle(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Ok(change) = timeout(Duration::from_millis(150), self.watcher.next()).await {
            let change = change.unwrap();
            match &change {
                Change::Link(link) => _ = self.links.insert(link.index, link.clone()),
                Change::Gone { index } => _ = self.links.remove(index),
                Change::Addresses(addresses) => self.addresses.clone_from(addresses),
            }
            changes.push(change);
        }
        changes
    }

    fn link(&self, name: &str) -> &Link {
        self.links.values().find(|link| link.name == name).unwrap_or_else(|| panic!("no {name}: {:?}", self.names()))
    }

    fn names(&self) -> BTreeSet<&str> {
        self.links.values().map(|link| link.name.as_str()).collect()
    }
}

fn listen<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    in_namespace(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
}

fn addresses(changes: &[Change]) -> Vec<BTreeSet<IpAddr>> {
    let told = |change: &Change| if let Change::Addresses(set) = change { Some(set.clone()) } else { None };
    changes.iter().filter_map(told).collect()
}

fn set(ips: &[&str]) -> BTreeSet<IpAddr> {
    ips.iter().map(|ip| ip.parse().unwrap()).collect()
}

#[test]
fn the_watcher_runs_in_a_task_of_its_own_and_loses_nothing_to_a_listener_that_gives_up() {
    in_namespace(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let told = runtime.block_on(async {
            ip("link add va type veth peer name vb");
            let mut watcher = Watcher::open().unwrap();
            let task = tokio::spawn(async move {
                let mut told = Vec::new();
                // Each wait is given up at once, over and over, first listing included.
                while told.len() < 4 {
                    if let Ok(change) = timeout(Duration::from_micros(50), watcher.next()).await {
                        told.push(change.unwrap());
                    }
                }
                told
            });
            timeout(Duration::from_secs(10), task).await.expect("the first changes never came").unwrap()
        });
        let names: Vec<&str> = told
            .iter()
            .filter_map(|change| if let Change::Link(link) = change { Some(&*link.name) } else { None })
            .collect();
        assert_eq!((names, addresses(&told)), (vec!["lo", "vb", "va"], vec![set(&[])]));
    });
}

#[test]
fn links_come_with_their_kind_their_master_and_their_parent() {
    listen(|| async {
        ip("link add va type veth peer name vb");
        let mut listener = Listener::open().await;
        assert_eq!(listener.names(), BTreeSet::from(["lo", "va", "vb"]));
        let (va, vb) = (listener.link("va").index, listener.link("vb").index);
        assert_eq!((&listener.link("va").kind, listener.link("va").parent), (&Kind::Veth, Some(vb)));
        assert!(listener.link("lo").loopback && listener.link("lo").kind == Kind::Loopback);

        ip("link add br0 type bridge");
        ip("link set va master br0 mtu 1400 up");
        ip("tuntap add dev tun0 mode tun");
        ip("tuntap add dev tap0 mode tap");
        listener.settle().await;
        assert_eq!(listener.link("br0").kind, Kind::Bridge);
        let address = listener.link("va").address;
        assert!(address.is_some_and(|address| address != [0; 6]), "{address:?}");
        let port = Link {
            parent: Some(vb),
            address,
            master: Some(listener.link("br0").index),
            mtu: 1400,
            ..Link::sample(va, "va", Kind::Veth)
        };
        assert_eq!(*listener.link("va"), port);
        assert_eq!((&listener.link("tun0").kind, listener.link("tun0").ethernet), (&Kind::Tun, false));
        assert_eq!((&listener.link("tap0").kind, listener.link("tap0").ethernet), (&Kind::Tap, true));
    });
}

#[test]
fn the_kinds_that_a_kernel_may_lack_are_told_apart() {
    listen(|| async {
        let mut listener = Listener::open().await;
        ip("link add va type veth peer name vb");
        for (words, kind) in [
            ("link add link va name x0 type vlan id 5", Kind::Vlan),
            ("link add link va name x0 type macvlan", Kind::Macvlan),
            ("link add name x0 type vxlan id 5 dstport 4789", Kind::Vxlan),
            ("link add name x0 type wireguard", Kind::Wireguard),
            ("link add name x0 type dummy", Kind::Dummy),
            ("link add name x0 type bond", Kind::Bond),
            ("link add name x0 type vrf table 10", Kind::Other("vrf".into())),
        ] {
            if !ip_if_kernel_can(words) {
                continue;
            }
            listener.settle().await;
            assert_eq!(listener.link("x0").kind, kind);
            assert_eq!(listener.link("x0").ethernet, kind != Kind::Wireguard);
            ip("link delete x0");
        }
    });
}

#[test]
fn a_port_that_leaves_its_bridge_is_not_gone() {
    listen(|| async {
        ip("link add va type veth peer name vb");
        ip("link add br0 type bridge");
        ip("link set va master br0");
        let mut listener = Listener::open().await;
        assert!(listener.link("va").master.is_some());
        ip("link set va nomaster");
        let changes = listener.settle().await;
        assert_eq!(listener.link("va").master, None);
        assert!(!changes.iter().any(|change| matches!(change, Change::Gone { .. })), "{changes:?}");
    });
}

#[test]
fn a_rename_replaces_and_a_deletion_takes_both_ends_of_a_cable() {
    listen(|| async {
        ip("link add va type veth peer name vb");
        let mut listener = Listener::open().await;
        let index = listener.link("va").index;
        ip("link set va name other");
        listener.settle().await;
        assert_eq!(listener.link("other").index, index);
        assert_eq!(listener.names(), BTreeSet::from(["lo", "other", "vb"]));
        ip("link delete other");
        listener.settle().await;
        assert_eq!(listener.names(), BTreeSet::from(["lo"]));
    });
}

#[test]
fn a_link_that_moves_away_is_gone_and_one_that_comes_back_is_told_again() {
    listen(|| async {
        let neighbour = Neighbour::new();
        ip("link add va type veth peer name vb");
        let mut listener = Listener::open().await;
        let index = listener.link("va").index;
        ip(&format!("link set va netns {}", neighbour.pid()));
        assert!(listener.settle().await.contains(&Change::Gone { index }));
        assert_eq!(listener.names(), BTreeSet::from(["lo", "vb"]));
        // The kernel says nothing of the end that stayed until something else changes there.
        ip("link set vb mtu 1400");
        listener.settle().await;
        assert_eq!(listener.link("vb").parent, None, "its peer is elsewhere now");

        let thread = std::fs::read_link("/proc/thread-self").unwrap();
        let thread = thread.file_name().unwrap().to_str().unwrap();
        neighbour.run(&format!("ip link set va netns {thread}")).unwrap();
        listener.settle().await;
        assert_eq!(listener.names(), BTreeSet::from(["lo", "va", "vb"]));
    });
}

#[test]
fn a_number_that_is_used_again_is_told_as_gone_first() {
    listen(|| async {
        ip("link add va index 77 type veth peer name vb");
        let mut listener = Listener::open().await;
        ip_batch(["link delete va".to_owned(), "link add br0 index 77 type bridge".to_owned()]);
        let changes = listener.settle().await;
        let gone = changes.iter().position(|change| *change == Change::Gone { index: 77 }).unwrap();
        let came = changes.iter().position(|change| matches!(change, Change::Link(link) if link.index == 77)).unwrap();
        assert!(gone < came, "{changes:?}");
        assert_eq!(listener.link("br0").index, 77);
    });
}

#[test]
fn addresses_are_told_as_one_set_without_loopback_s_own() {
    listen(|| async {
        ip("link add va type veth peer name vb");
        ip("link set lo up");
        let mut listener = Listener::open().await;
        assert_eq!(listener.addresses, set(&[]));
        ip("address add 10.9.9.9/32 dev lo");
        ip("address add 10.0.0.1 peer 10.0.0.2 dev va");
        ip("-6 address add fd00::1/64 dev va nodad");
        listener.settle().await;
        assert_eq!(listener.addresses, set(&["10.9.9.9", "10.0.0.1", "fd00::1"]));
        ip("address delete 10.9.9.9/32 dev lo");
        listener.settle().await;
        assert_eq!(listener.addresses, set(&["10.0.0.1", "fd00::1"]));
        ip("link delete va");
        listener.settle().await;
        assert_eq!(listener.addresses, set(&[]));
    });
}

#[test]
fn a_burst_of_addresses_is_told_in_few_sets_and_the_last_one_is_whole() {
    listen(|| async {
        ip("link add va type veth peer name vb");
        let mut listener = Listener::open().await;
        ip_batch((1..=200).map(|n| format!("address add 10.1.0.{n}/16 dev va")));
        let told = addresses(&listener.settle().await);
        assert!(told.len() <= 3, "{} sets for 200 addresses", told.len());
        assert_eq!(listener.addresses, (1..=200).map(|n| IpAddr::from([10, 1, 0, n])).collect());
    });
}

#[test]
fn of_five_hundred_quick_creations_none_is_missed() {
    listen(|| async {
        let mut listener = Listener::open().await;
        // A thread inherits the namespace of the one that starts it.
        let maker = std::thread::spawn(|| {
            ip_batch((0..250).map(|n| format!("link add va{n} type veth peer name vb{n}")));
        });
        while !maker.is_finished() {
            listener.settle().await;
        }
        maker.join().unwrap();
        listener.settle().await;
        assert_eq!(listener.links.len(), 501, "{:?}", listener.names());
    });
}

#[test]
fn after_an_overrun_nothing_that_came_is_missed_and_nothing_that_went_stays() {
    listen(|| async {
        ip_batch((0..50).map(|n| format!("link add old{n} type veth peer name dlo{n}")));
        let mut listener = Listener::open().await;
        assert_eq!(listener.links.len(), 101);
        // Nobody reads while this runs, since the runtime has this thread only: the socket's buffer overflows.
        let churn = (0..250).flat_map(|n| {
            [
                format!("link add va{n} type veth peer name vb{n}"),
                format!("link set va{n} mtu 1400"),
                format!("link delete va{n}"),
            ]
        });
        let end = (0..50).flat_map(|n| {
            [
                format!("link delete old{n}"),
                format!("link add new{n} type veth peer name wen{n}"),
                format!("address add 10.2.0.{n}/32 dev new{n}"),
            ]
        });
        ip_batch(churn.chain(end));
        let overran = overran();
        listener.settle().await;
        let names: BTreeSet<String> =
            (0..50).flat_map(|n| [format!("new{n}"), format!("wen{n}")]).chain(["lo".to_owned()]).collect();
        assert_eq!(listener.names().into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), names);
        assert_eq!(listener.addresses, (0..50).map(|n| IpAddr::from([10, 2, 0, n])).collect());
        assert!(overran, "the test did not overrun the socket, so it shows nothing");
    });
}

/// Whether the kernel counts drops on a netlink socket of this namespace.
fn overran() -> bool {
    let sockets = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let drops = |line: &str| line.split_whitespace().nth(8).and_then(|drops| drops.parse::<u64>().ok());
    sockets.lines().filter_map(drops).any(|drops| drops > 0)
}
