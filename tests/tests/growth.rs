//! A policy that outgrows the kernel's maps: larger ones take their place, and nobody notices.

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use segd_common::ABI;
use segd_tests::lab::{Lab, Metrics, Office, Port, Session, Zones, is_silence, until};
use segd_tests::needs_root;
use segd_tests::packet::udp;

const SOON: Duration = Duration::from_secs(10);

fn small() -> Zones {
    Zones::new().rule("ledger", "dev", "accounting", "tcp/5432")
}

/// More rules than the maps of a small policy have counters for.
fn large() -> Zones {
    let grow = |zones: Zones, number: u32| {
        zones.rule(&format!("extra-{number}"), "dev", "accounting", &format!("udp/{}", 10_000 + number))
    };
    (0..3000).fold(small(), grow)
}

/// Opens a session, lets `grow` make the policy large, and looks at the session, at both policies and at the counters.
fn nobody_notices(grow: impl FnOnce(&mut Lab) -> Result<()>) -> Result<()> {
    let mut lab = Lab::enforcing(small())?;
    let (dev, accounting) = (&lab.office.dev, &lab.office.accounting);
    let to = accounting.v4();
    let _server = accounting.serves_tcp(5432)?;
    let mut live = dev.connects(to, 5432)?;
    live.says("hello\n")?;
    assert!(is_silence(&lab.office.guest.connects(to, 5432)));
    let before = lab.metrics()?;
    grow(&mut lab)?;
    live.says("still there?\n")?;
    assert!(lab.office.dev.reaches_tcp(to, 5432), "a new session");
    assert!(is_silence(&lab.office.guest.connects(to, 5432)), "what was forbidden stays so");
    let after = lab.metrics()?;
    let guest = [("from_zone", "guest"), ("to_zone", "accounting"), ("reason", "no-rule")];
    let blocked = |metrics: &Metrics| metrics.count("segd_blocked_flows_total", &guest);
    assert_eq!((blocked(&before), blocked(&after)), (1, 2), "blocked connections go on being counted");
    let packets = |metrics: &Metrics| metrics.count("segd_rule_packets_total", &[("rule", "ledger")]);
    assert!(packets(&after) > packets(&before), "so do the packets of a rule");
    assert_eq!(after.count("segd_policy_rules", &[]), 3001);
    Ok(())
}

#[test]
fn a_reload_that_outgrows_the_maps_changes_them_under_a_live_session() -> Result<()> {
    needs_root!();
    nobody_notices(|lab| lab.reload(large()))
}

#[test]
fn a_restart_with_a_policy_that_outgrows_the_maps_keeps_sessions_and_counters() -> Result<()> {
    needs_root!();
    nobody_notices(|lab| {
        lab.daemon.kill()?;
        lab.daemon.write_zones(&large().to_string())?;
        lab.start()
    })
}

/// The small policy with room for another number of connections: its table has to be made anew.
fn with_room_for(connections: u32) -> String {
    small().to_string().replace("connections: 4096", &format!("connections: {connections}"))
}

/// The client's ports of the established connections that the kernel has in its table.
fn established(lab: &Lab) -> Result<BTreeSet<u64>> {
    let lines = lab.daemon.ctl(&["-o", "json", "flows"])?;
    let flows = lines.lines().map(serde_json::from_str).collect::<Result<Vec<serde_json::Value>, _>>()?;
    let live = flows.iter().filter(|flow| flow["state"] == "established" && flow["dst_port"] == 5432);
    Ok(live.filter_map(|flow| flow["src_port"].as_u64()).collect())
}

fn ports(sessions: &[Session]) -> Result<BTreeSet<u64>> {
    sessions.iter().map(|session| Ok(u64::from(session.local()?.port()))).collect()
}

fn sets(lab: &Lab) -> Result<Vec<String>> {
    let names = fs::read_dir(lab.daemon.pins())?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names: Result<Vec<String>> = names.collect();
    Ok(names?.into_iter().filter(|name| name.starts_with("maps_")).collect())
}

/// Not adoption: a connection that is adopted is in the table no sooner than its next packet.
#[test]
fn connections_that_are_silent_while_the_maps_grow_are_in_the_new_ones_at_once() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(small())?;
    let to = lab.office.accounting.v4();
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let mut live = (0..20).map(|_| lab.office.dev.connects(to, 5432)).collect::<Result<Vec<_>, _>>()?;
    live.iter_mut().try_for_each(|session| session.says("hello\n"))?;
    let theirs = ports(&live)?;
    assert_eq!(established(&lab)?, theirs);
    for grown in [large().to_string(), with_room_for(40_000), with_room_for(1000)] {
        lab.reload(grown)?;
        assert_eq!(established(&lab)?, theirs, "{}", lab.daemon.log());
        assert_eq!(sets(&lab)?.len(), 1, "the old set is gone");
    }
    live.iter_mut().try_for_each(|session| session.says("still there?\n"))?;
    Ok(())
}

/// How often a frame is sent while something else goes on; each is heard on the other side.
fn under_traffic(office: &Office, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let (dev, accounting) = (&office.dev, &office.accounting);
    // Somebody listens, and never answers: no error comes back that would be counted too.
    let _listener = accounting.net.run(|| UdpSocket::bind(("0.0.0.0", 53)))?;
    let (sender, mut receiver) = (Port::open(&dev.net, "eth0")?, Port::open(&accounting.net, "eth0")?);
    let frame = udp(4000, 53).between(dev.v4(), accounting.v4()).data(b"counted").frame();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sent = scope.spawn(|| {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                sent += u64::from(sender.send(&frame).is_ok());
                thread::sleep(Duration::from_micros(100));
            }
            sent
        });
        let heard = scope.spawn(move || {
            let mut heard = 0;
            while receiver.hears(b"counted", Duration::from_millis(500))?.is_some() {
                heard += 1;
            }
            std::io::Result::Ok(heard)
        });
        thread::sleep(Duration::from_millis(100));
        let done = work();
        over.store(true, Ordering::Relaxed);
        let sent = sent.join().ok().context("the sender panicked")?;
        let heard: u64 = heard.join().ok().context("the receiver panicked")??;
        done?;
        ensure!(heard == sent, "{sent} frames were sent, and {heard} came through");
        Ok(sent)
    })
}

#[test]
fn no_packet_is_lost_and_none_is_uncounted_while_the_maps_grow() -> Result<()> {
    needs_root!();
    let names = |zones: Zones| zones.rule("names", "dev", "accounting", "udp/53").to_string();
    let lab = Lab::enforcing(names(small()))?;
    let roomy = names(small()).replace("connections: 4096", "connections: 40000");
    let packets = |metrics: &Metrics| {
        let pair = [("from_zone", "dev"), ("to_zone", "accounting"), ("verdict", "allow")];
        (metrics.count("segd_rule_packets_total", &[("rule", "names")]), metrics.count("segd_packets_total", &pair))
    };
    let mut total = 0;
    for grown in [roomy, names(large())] {
        total += under_traffic(&lab.office, || lab.reload(&grown))?;
        assert_eq!(packets(&lab.metrics()?), (total, total));
    }
    assert!(total > 100, "{total} packets are no traffic");
    assert_eq!(
        lab.metrics()?.count("segd_rule_connections_total", &[("rule", "names")]),
        1,
        "it is one flow all the time"
    );
    Ok(())
}

#[test]
fn a_daemon_killed_at_any_step_of_a_growth_leaves_one_whole_set_and_loses_nothing() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(small())?;
    let to = lab.office.accounting.v4();
    let _server = lab.office.accounting.serves_tcp(5432)?;
    let mut live = [lab.office.dev.connects(to, 5432)?];
    live[0].says("hello\n")?;
    let theirs = ports(&live)?;
    let connections =
        |lab: &Lab| Ok::<_, anyhow::Error>(lab.metrics()?.count("segd_rule_connections_total", &[("rule", "ledger")]));
    for (round, pause) in [0, 20, 60, 120, 200, 300, 450, 700].into_iter().enumerate() {
        lab.daemon.write_zones(&with_room_for(if round % 2 == 0 { 40_000 } else { 4096 }))?;
        lab.daemon.reload()?;
        thread::sleep(Duration::from_millis(pause));
        lab.daemon.kill()?;
        live[0].says("while nobody runs\n").with_context(|| format!("killed after {pause} ms"))?;
        assert!(is_silence(&lab.office.guest.connects(to, 5432)), "forbidden, killed after {pause} ms");
        lab.start()?;
        assert_eq!(established(&lab)?, theirs, "killed after {pause} ms: {}", lab.daemon.log());
        assert_eq!(connections(&lab)?, 1, "killed after {pause} ms");
        assert_eq!(sets(&lab)?.len(), 1, "killed after {pause} ms");
        live[0].says("and now?\n").with_context(|| format!("started after {pause} ms"))?;
    }
    let enforcing = || lab.daemon.json(&["status"]).is_ok_and(|status| status["state"] == "enforcing");
    assert!(until(SOON, enforcing), "{}", lab.daemon.log());
    Ok(())
}

/// A set that was left under another number stands for that of a build with other layouts: nobody takes it over.
#[test]
fn every_packet_is_counted_once_through_changes_to_another_layout_wherever_a_daemon_is_killed() -> Result<()> {
    needs_root!();
    let zones = small().rule("names", "dev", "accounting", "udp/53").to_string();
    let mut lab = Lab::enforcing(zones)?;
    let pins = lab.daemon.pins().clone();
    let (names, pair) = ([("rule", "names")], [("from_zone", "dev"), ("to_zone", "accounting"), ("verdict", "allow")]);
    let mut total = 0;
    for pause in [None, Some(0), Some(50), Some(100), Some(150), Some(250), Some(400), None] {
        let Lab { daemon, office } = &mut lab;
        total += under_traffic(office, || {
            daemon.kill()?;
            fs::rename(pins.join(format!("maps_{ABI}")), pins.join("maps_1"))?;
            if let Some(pause) = pause {
                drop(daemon.begin(&office.gateway)?);
                thread::sleep(Duration::from_millis(pause));
                daemon.kill()?;
            }
            daemon.start(&office.gateway)
        })?;
        let metrics = lab.metrics()?;
        let counted = metrics.count("segd_rule_packets_total", &names);
        assert_eq!((counted, metrics.count("segd_packets_total", &pair)), (total, total), "killed after {pause:?} ms");
        assert_eq!(sets(&lab)?, [format!("maps_{ABI}")], "killed after {pause:?} ms");
    }
    assert!(total > 500, "{total} packets are no traffic");
    Ok(())
}

/// The number by which the kernel counts a rule.
fn number(lab: &Lab, rule: &str) -> Result<Option<u64>> {
    let registry = fs::read_to_string(lab.daemon.state().join("registry.json"))?;
    Ok(serde_json::from_str::<serde_json::Value>(&registry)?["rules"][rule]["number"].as_u64())
}

#[test]
fn the_number_of_a_rule_that_is_long_gone_goes_to_another_one_with_all_counters_at_zero() -> Result<()> {
    needs_root!();
    let mut lab = Lab::enforcing(small())?;
    let to = lab.office.accounting.v4();
    let _servers = (lab.office.accounting.serves_tcp(8000)?, lab.office.accounting.serves_tcp(9000)?);
    let allow = |lab: &Lab, id: &str, service: &str| {
        let why = ["--reason", "a test", "--approved-by", "tests@example.com", "--id", id];
        lab.daemon.ctl(&[&["allow", "dev", "accounting", service], &why[..]].concat())
    };
    allow(&lab, "brief", "tcp/8000")?;
    assert!(lab.office.dev.reaches_tcp(to, 8000));
    lab.daemon.ctl(&["revoke", "brief", "--reason", "done"])?;
    let had = number(&lab, "brief")?;
    lab.daemon.terminate()?;
    // A month goes by.
    let file = lab.daemon.state().join("registry.json");
    let registry: String = fs::read_to_string(&file)?;
    let gone = registry.find("\"gone\": \"").context("it is written down since when the rule is gone")? + 9;
    fs::write(&file, format!("{}2020{}", &registry[..gone], &registry[gone + 4..]))?;
    lab.start()?;
    assert_eq!(number(&lab, "brief")?, None, "{}", lab.daemon.log());
    allow(&lab, "later", "tcp/9000")?;
    assert_eq!(number(&lab, "later")?, had);
    let counted = |name: &str| Ok::<_, anyhow::Error>(lab.metrics()?.count(name, &[("rule", "later")]));
    assert_eq!((counted("segd_rule_packets_total")?, counted("segd_rule_connections_total")?), (0, 0));
    assert!(lab.office.dev.reaches_tcp(to, 9000));
    assert_eq!(counted("segd_rule_connections_total")?, 1);
    Ok(())
}

#[test]
fn f6_a_policy_that_the_kernel_has_no_memory_for_is_refused_whole() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(small())?;
    let (dev, accounting) = (&lab.office.dev, &lab.office.accounting);
    let to = accounting.v4();
    let _server = accounting.serves_tcp(5432)?;
    let mut live = dev.connects(to, 5432)?;
    live.says("hello\n")?;
    let path = lab.daemon.config().with_file_name("new.yaml");
    let apply = |connections: u32, more: &[&str]| -> Result<std::process::Output> {
        fs::write(&path, with_room_for(connections))?;
        lab.daemon.segctl(&[&["apply", path.to_str().context("a path in words")?], more].concat())
    };
    let state = || -> Result<_> {
        let status = lab.daemon.json(&["status"])?;
        let pins = fs::read_dir(lab.daemon.pins())?.map(|entry| Ok(entry?.file_name()));
        let pins = pins.collect::<Result<BTreeSet<_>>>()?;
        let text = fs::read_to_string(lab.daemon.config())?;
        Ok((status["generation"].clone(), status["state"].clone(), status["pending"].clone(), text, pins))
    };
    let before = state()?;
    let room = MemoryLimit::of(lab.daemon.pid().context("the daemon runs")?, 64 << 20)?;
    for more in [&[][..], &["--confirm", "60s"]] {
        let refused = apply(4_000_000, more)?;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success()
                && said.contains("Cannot allocate memory")
                && said.contains("limits: connections"),
            "{more:?}: {said}"
        );
        assert_eq!(state()?, before, "{more:?}");
        live.says("still there?\n")?;
        assert!(dev.reaches_tcp(to, 5432), "{more:?}: what the rule allows");
        assert!(is_silence(&lab.office.guest.connects(to, 5432)), "{more:?}: what it does not");
    }
    drop(room);
    let taken = apply(40_000, &[])?;
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    live.says("and now?\n")?;
    Ok(())
}

/// One that the kernel does not take must not keep the others with the policy before.
#[test]
fn an_interface_that_keeps_its_old_programs_is_told_and_the_others_go_on() -> Result<()> {
    needs_root!();
    let before = Zones::new().rule("desks", "dev", "guest", "tcp/5432");
    let after = Zones::new().rule("desks", "dev", "guest", "tcp/8000").to_string();
    let after = after.replace("connections: 4096", "connections: 40000");
    let mut lab = Lab::enforcing(before)?;
    let _servers = [lab.office.guest.serves_tcp(5432)?, lab.office.guest.serves_tcp(8000)?];
    let to = lab.office.guest.v4();
    // A folder has the name of a pin, of the interface that comes first and by which no packet goes here.
    let index = lab.office.gateway.ip("-o link show lan20")?;
    let index = index.split(':').next().context("a number")?;
    let in_the_way = lab.daemon.pins().join(format!("links/ingress_{index}"));
    fs::remove_file(&in_the_way)?;
    fs::create_dir(&in_the_way)?;
    lab.reload(after)?;
    assert!(lab.office.dev.reaches_tcp(to, 8000), "the new policy's: {}", lab.daemon.log());
    assert!(is_silence(&lab.office.dev.connects(to, 5432)), "the old one's");
    let is_told = || {
        lab.daemon.json(&["status"]).is_ok_and(|status| {
            let amiss = status["amiss"].to_string();
            status["state"] == "degraded" && amiss.contains("interface lan20: it goes on with the programs before")
        })
    };
    assert!(until(SOON, is_told), "{}", lab.daemon.log());
    // With the daemon goes what it held: that interface is open, or closed by nftables. The next one guards the others.
    lab.daemon.kill()?;
    lab.start()?;
    assert!(lab.office.dev.reaches_tcp(to, 8000), "{}", lab.daemon.log());
    let status = lab.daemon.json(&["status"])?;
    let amiss = status["amiss"].to_string();
    assert!(amiss.contains("lan20 is not enforced") && !amiss.contains("lan30"), "{amiss}");
    fs::remove_dir(&in_the_way)?;
    let is_done = || sets(&lab).is_ok_and(|sets| sets.len() == 1);
    assert!(until(SOON, is_done), "the old set is left once it can be: {}", lab.daemon.log());
    assert!(until(SOON, || lab.daemon.health(&lab.office.gateway).is_ok_and(|code| code == 200)));
    Ok(())
}

/// A limit on what the kernel may hold for a process from now on, by a control group of its own.
struct MemoryLimit {
    group: PathBuf,
    pid: u32,
}

impl MemoryLimit {
    fn of(pid: u32, bytes: u64) -> Result<Self> {
        // The second is version 2 of control groups, mounted where Debian has it.
        let version_1 = Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists();
        let (root, file) = if version_1 {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory").context("no memory control groups")?;
            ("/sys/fs/cgroup", "memory.max")
        };
        let group = Path::new(root).join(format!("segd-test-{pid}"));
        fs::create_dir(&group).with_context(|| format!("cannot make {}", group.display()))?;
        let limit = Self { group, pid };
        fs::write(limit.group.join(file), bytes.to_string())?;
        fs::write(limit.group.join("cgroup.procs"), pid.to_string())?;
        Ok(limit)
    }
}

impl Drop for MemoryLimit {
    fn drop(&mut self) {
        // A daemon that has ended has left the group; what stays behind is an empty folder.
        let back = self.group.with_file_name("cgroup.procs");
        let _ = fs::write(back, self.pid.to_string()).and_then(|()| fs::remove_dir(&self.group));
    }
}
