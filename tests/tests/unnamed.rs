//! An interface that has our programs and no entry in the kernel's table of interfaces: nobody knows what it is, so nothing may
//! pass it.

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};
use segd_common::ABI;
use segd_tests::lab::{Lab, Zones, is_silence};
use segd_tests::needs_root;

/// Takes an interface out of the table behind the daemon's back.
fn strike(lab: &Lab, interface: &str) -> Result<()> {
    let ifindex: u64 = lab.daemon.json(&["status"])?["interfaces"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|known| known["name"] == interface)
        .and_then(|known| known["ifindex"].as_u64())
        .context("the interface is guarded")?;
    let pin = lab.daemon.pins().join(format!("maps_{ABI}/INTERFACE"));
    let mut table: Array<_, u64> = Array::try_from(Map::Array(MapData::from_pin(pin)?))?;
    let place = (0..table.len()).find(|place| table.get(place, 0).is_ok_and(|word| word & 0xffff_ffff == ifindex));
    Ok(table.set(place.context("it is in the table")?, 0, 0)?)
}

#[test]
fn nothing_passes_an_interface_that_the_table_does_not_name() -> Result<()> {
    needs_root!();
    // The zone is bound to no interface, so no spoof check stands in for the table.
    let lab = Lab::enforcing(Zones::new().rule("web", "internet", "accounting", "tcp/80"))?;
    let to = lab.office.accounting.v4();
    let _server = lab.office.accounting.serves_tcp(80)?;
    let mut live = lab.office.internet.connects(to, 80)?;
    live.says("hello\n")?;
    strike(&lab, "wan0")?;
    assert!(live.says("still there?\n").is_err(), "a connection that was open");
    assert!(is_silence(&lab.office.internet.connects(to, 80)), "a new one");
    Ok(())
}
