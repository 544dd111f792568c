//! Addresses that the gateway itself rewrites, with nftables: replies find back, and a forwarded port is judged by
//! where it leads.

use anyhow::Result;
use segd_tests::lab::{FORWARD_8443, Lab, MASQUERADE, Zones, is_silence};
use segd_tests::needs_root;

#[test]
fn replies_to_translated_sources_pass_in_every_protocol() -> Result<()> {
    needs_root!();
    let services = "tcp/443, udp/53, icmp/echo-request";
    let lab = Lab::enforcing(Zones::new().rule("out", "dev", "internet", services))?;
    let office = &lab.office;
    office.gateway.nft(MASQUERADE)?;
    // The way back to private addresses does not exist out there: only translation can make this work.
    office.internet.net.ip("route del default")?;
    let _servers =
        (office.internet.serves_tcp(443)?, office.internet.serves_tcp(444)?, office.internet.serves_udp(53)?);
    let to = office.internet.v4();
    assert!(office.dev.reaches_tcp(to, 443));
    assert!(office.dev.reaches_udp(to, 53));
    assert!(office.dev.pings(to, 56)?);
    assert!(is_silence(&office.dev.connects(to, 444)), "another port");
    assert!(is_silence(&office.guest.connects(to, 443)), "another zone");
    Ok(())
}

#[test]
fn a_forwarded_port_needs_a_rule_to_where_it_leads() -> Result<()> {
    needs_root!();
    // The packet is addressed to this machine when it arrives, and to accounting when it leaves.
    let arrival = Zones::new().rule("arrives", "internet", "host", "tcp/8443");
    let lab = Lab::enforcing(&arrival)?;
    let office = &lab.office;
    office.gateway.nft(FORWARD_8443)?;
    let _server = office.accounting.serves_tcp(443)?;
    let to = office.gateway_address();
    assert!(is_silence(&office.internet.connects(to, 8443)), "no rule to accounting");
    lab.reload(arrival.rule("leads-to", "internet", "accounting", "tcp/443"))?;
    assert!(office.internet.reaches_tcp(to, 8443), "both rules");
    assert!(is_silence(&office.internet.connects(to, 8444)), "forwarded too, but no rule lets it arrive");
    assert!(is_silence(&office.internet.connects(office.accounting.v4(), 444)), "another port");
    Ok(())
}
