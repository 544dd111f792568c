//! What differs from kernel to kernel: how programs are attached, what is said about it, and which kernels are refused.
//! `cargo xtask vm` chooses by the tests' names which of them a kernel runs.

use anyhow::Result;
use segd_tests::lab::{Lab, Zones};
use segd_tests::needs_root;

fn ledger() -> Zones {
    Zones::new().rule("ledger", "dev", "accounting", "tcp/5432")
}

/// Our filters on one side of the gateway's interface, as `tc` sees them.
fn our_filters(lab: &Lab, interface: &str, side: &str) -> Result<usize> {
    let shown = lab.office.gateway.command("tc", &["filter", "show", "dev", interface, side])?;
    Ok(shown.lines().filter(|line| line.contains(" segd_")).count())
}

/// Linux 6.6 brought TCX.
fn has_tcx() -> Result<bool> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|word| word.parse().unwrap_or(0));
    Ok((numbers.next(), numbers.next()) >= (Some(6), Some(6)))
}

#[test]
fn how_programs_are_attached_is_told_as_it_is_and_links_are_used_where_there_are_any() -> Result<()> {
    needs_root!();
    let lab = Lab::enforcing(ledger())?;
    let status = lab.daemon.json(&["status"])?;
    let (attachment, filters) = if has_tcx()? { ("link", 0) } else { ("filter", 1) };
    let interfaces = status["interfaces"].as_array().cloned().unwrap_or_default();
    assert_eq!(interfaces.len(), 4, "{status}");
    for interface in interfaces {
        assert_eq!((&interface["attachment"], &interface["hook"]), (&attachment.into(), &"tc".into()));
        let name = interface["name"].as_str().unwrap_or_default();
        let seen = (our_filters(&lab, name, "ingress")?, our_filters(&lab, name, "egress")?);
        assert_eq!(seen, (filters, filters), "{name}");
    }
    let told = lab.daemon.ctl(&["status"])?.contains("4 interfaces by filters: no TCX in this kernel");
    assert_eq!(told, filters > 0);
    Ok(())
}

#[test]
#[ignore = "needs a kernel that is too old: `cargo xtask vm` boots one"]
fn a_kernel_that_is_too_old_is_refused_with_the_mend_and_nothing_is_touched() -> Result<()> {
    needs_root!();
    let mut lab = Lab::prepared(ledger())?;
    let out = lab.daemon.start_refused(&lab.office.gateway)?;
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("Linux 5.10") && said.contains("6.1 or newer"), "{said}");
    let _server = lab.office.accounting.serves_tcp(5433)?;
    assert!(lab.office.dev.reaches_tcp(lab.office.accounting.v4(), 5433), "nothing was put in force");
    Ok(())
}

mod without_tcx {
    use std::time::Duration;

    use segd_tests::lab::{is_silence, until};

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    #[ignore = "needs a kernel without TCX: `cargo xtask vm` boots one"]
    fn a_filter_that_somebody_takes_off_is_told_by_healthz_and_put_back() -> Result<()> {
        needs_root!();
        let lab = Lab::enforcing(ledger())?;
        let health = || lab.daemon.health(&lab.office.gateway).ok();
        for words in ["filter del dev lan30 ingress pref 1", "qdisc del dev lan30 clsact"] {
            assert_eq!(health(), Some(200), "before {words}");
            lab.office.gateway.command("tc", &words.split_whitespace().collect::<Vec<_>>())?;
            assert_eq!(health(), Some(503), "after {words}");
            assert!(until(SOON, || health() == Some(200)), "{words}; the daemon said:\n{}", lab.daemon.log());
            assert_eq!((our_filters(&lab, "lan30", "ingress")?, our_filters(&lab, "lan30", "egress")?), (1, 1));
        }
        Ok(())
    }

    #[test]
    #[ignore = "needs a kernel without TCX: `cargo xtask vm` boots one"]
    fn filters_of_killed_daemons_are_taken_over_and_do_not_pile_up() -> Result<()> {
        needs_root!();
        let mut lab = Lab::enforcing(ledger())?;
        let _server = lab.office.accounting.serves_tcp(5432)?;
        let to = lab.office.accounting.v4();
        let mut session = lab.office.dev.connects(to, 5432)?;
        for _ in 0..2 {
            lab.daemon.kill()?;
            session.says("while nobody runs\n")?;
            assert!(is_silence(&lab.office.guest.connects(to, 5432)), "what is forbidden stays so");
            lab.start()?;
            session.says("after the restart\n")?;
            for side in ["ingress", "egress"] {
                assert_eq!(our_filters(&lab, "lan30", side)?, 1, "{side}");
            }
        }
        Ok(())
    }

    #[test]
    #[ignore = "needs a kernel without TCX: `cargo xtask vm` boots one"]
    fn unload_leaves_what_others_have_on_clsact_and_nothing_of_ours() -> Result<()> {
        needs_root!();
        let mut lab = Lab::prepared(ledger())?;
        let tc = |words: &str| lab.office.gateway.command("tc", &words.split_whitespace().collect::<Vec<_>>());
        tc("qdisc add dev lan40 clsact")?;
        tc("filter add dev lan40 ingress pref 9 protocol ip flower dst_ip 192.0.2.1 classid 1:1")?;
        let before = tc("filter show dev lan40 ingress")?;
        lab.daemon.start(&lab.office.gateway)?;
        assert_ne!(lab.office.gateway.command("tc", &["filter", "show", "dev", "lan40", "ingress"])?, before);
        lab.daemon.terminate()?;
        let out = lab.daemon.unload(&lab.office.gateway)?;
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(lab.office.gateway.command("tc", &["filter", "show", "dev", "lan40", "ingress"])?, before);
        let qdiscs = lab.office.gateway.command("tc", &["qdisc", "show"])?;
        let with_clsact: Vec<_> = qdiscs.lines().filter(|line| line.contains("clsact")).collect();
        assert!(with_clsact.len() == 1 && with_clsact[0].contains("lan40"), "{qdiscs}");
        Ok(())
    }
}
