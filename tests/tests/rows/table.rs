//! Where each row of the table of hostile frames, paths and events is tested. What can't be says why, and is counted.

/// Where a row is.
enum On {
    /// On the ground of the loaded programs: one test here, whose name begins with the row's id.
    Here,
    /// In networks of namespaces, or with a daemon that is killed, filled or lied to: these tests of that file.
    There(&'static str, &'static [&'static str]),
    /// Nowhere in this suite, and why.
    Not(&'static str),
}

use On::{Here, Not, There};

const ROWS: [(&str, On); 90] = [
    ("a1", Here),
    ("a2", Here),
    ("a3", Here),
    ("a4", Here),
    ("a5", There(POLICY, &["a_priority_tag_changes_nothing"])),
    ("a6", Here),
    ("a7", Here),
    ("a8", Here),
    ("a9", Here),
    ("a10", Here),
    ("a11", Here),
    ("a12", Here),
    ("a13", Here),
    ("a14", There(PATHS, &["a14_frames_larger_than_a_page_are_judged_or_their_interface_is_told_and_closed"])),
    ("a15", Here),
    ("b1", Here),
    ("b2", Here),
    ("b3", Here),
    ("b4", Here),
    ("b5", Here),
    ("b6", Here),
    ("b7", Here),
    ("b8", There(FLOODS, &["b8_a_million_fragment_ids_smuggle_nothing_and_disturb_nobody"])),
    ("b9", Here),
    ("b10", Here),
    ("b11", Here),
    ("b12", Here),
    ("b13", Here),
    ("b14", Here),
    ("b15", Here),
    ("b16", Here),
    ("c1", Here),
    ("c2", Here),
    ("c3", Here),
    ("c4", Here),
    ("c5", Here),
    ("c6", Here),
    ("c7", Here),
    ("c8", Here),
    ("c9", Here),
    ("c10", Here),
    ("c11", Here),
    ("c12", Here),
    ("c13", Here),
    ("c14", Here),
    ("c15", Here),
    ("c16", Here),
    ("c17", Here),
    ("d1", Here),
    ("d2", Here),
    ("d3", Here),
    ("d4", Here),
    ("d5", Here),
    ("d6", Here),
    ("d7", Here),
    ("d8", Here),
    ("d9", Here),
    ("d10", Here),
    ("d11", There(FLOODS, &["d11_d12_a_million_half_open_connections_take_no_place_of_those_that_live_and_no_memory"])),
    ("d12", There(FLOODS, &["d11_d12_a_million_half_open_connections_take_no_place_of_those_that_live_and_no_memory"])),
    ("d13", Here),
    ("d14", Here),
    ("d15", Here),
    ("d16", Here),
    ("e1", There(PATHS, &["e1_what_this_machine_starts_is_judged_on_its_way_out"])),
    ("e2", There(PATHS, &["e2_loopback_is_never_touched"])),
    ("e3", There(BRIDGE, &["a_packet_through_a_bridge_is_judged_at_its_port_and_counted_once"])),
    ("e4", There(PATHS, &["e4_a_container_on_a_macvlan_is_guarded_by_the_interface_below"])),
    ("e5", There(LIFE, &["nothing_forbidden_passes_through_an_interface_that_appears"])),
    ("e6", There(PATHS, &["e6_a_guard_follows_its_interface_through_names_numbers_and_namespaces"])),
    ("e7", There(DEVICES, &["packets_without_a_link_header_are_judged_and_answered_through_a_tun_interface"])),
    ("e8", There(DEVICES, &["what_comes_out_of_a_vxlan_tunnel_is_judged_and_the_tunnel_needs_a_rule"])),
    ("e9", There(NAT, &["replies_to_translated_sources_pass_in_every_protocol"])),
    ("e10", There(NAT, &["a_forwarded_port_needs_a_rule_to_where_it_leads"])),
    ("e11", There(POLICY, &["a_source_of_another_zone_is_spoofed_on_every_interface"])),
    ("e12", There(LIFE, &["a_foreign_program_is_never_replaced_and_its_interface_stays_closed"])),
    ("e13", There(PATHS, &["e13_this_machine_gets_its_address_by_dhcp_under_an_empty_policy"])),
    ("f1", There(SOAK, &["nothing_forbidden_passes_whatever_comes_over_a_daemon_and_what_is_allowed_goes_on"])),
    ("f2", There(SOAK, &["nothing_forbidden_passes_whatever_comes_over_a_daemon_and_what_is_allowed_goes_on"])),
    ("f3", There(BY_HAND, &["f3_programs_are_not_taken_off_by_the_tools_that_put_programs_on"])),
    ("f4", There(BY_HAND, &["f4_pins_that_somebody_removes_are_made_anew_and_told_and_nothing_opens"])),
    ("f5", There(GROWTH, &["a_daemon_killed_at_any_step_of_a_growth_leaves_one_whole_set_and_loses_nothing"])),
    ("f6", There(GROWTH, &["f6_a_policy_that_the_kernel_has_no_memory_for_is_refused_whole"])),
    ("f7", There(UNNAMED, &["nothing_passes_an_interface_that_the_table_does_not_name"])),
    ("f8", There(REFUSALS, &["f8_programs_that_the_kernel_refuses_leave_those_running_that_are_there"])),
    ("f9", Not("a test sets no clock but that of a guest: `cargo xtask vm --suite clock`")),
    (
        "f10",
        There(
            STATE,
            &[
                "a_damaged_image_is_said_and_the_policys_text_is_compiled_anew",
                "a_state_folder_that_takes_no_file_refuses_the_start_and_every_change_and_leaves_the_policy",
            ],
        ),
    ),
    ("f11", There(BY_HAND, &["f11_of_applies_at_the_same_time_one_wins_whole"])),
    ("f12", There(SOAK, &["nothing_forbidden_passes_whatever_comes_over_a_daemon_and_what_is_allowed_goes_on"])),
    ("f13", There(TRIAL, &["an_unconfirmed_policy_is_gone_in_time_with_the_daemon_dead_and_the_old_one_is_back"])),
];

const BRIDGE: &str = include_str!("../bridge.rs");
const BY_HAND: &str = include_str!("../by_hand.rs");
const DEVICES: &str = include_str!("../devices.rs");
const FLOODS: &str = include_str!("../floods.rs");
const GROWTH: &str = include_str!("../growth.rs");
const LIFE: &str = include_str!("../life.rs");
const NAT: &str = include_str!("../nat.rs");
const PATHS: &str = include_str!("../paths.rs");
const POLICY: &str = include_str!("../policy.rs");
const REFUSALS: &str = include_str!("../refusals.rs");
const SOAK: &str = include_str!("../soak.rs");
const STATE: &str = concat!(include_str!("../arm.rs"), include_str!("../refusals.rs"));
const TRIAL: &str = include_str!("../trial.rs");
const UNNAMED: &str = include_str!("../unnamed.rs");

const SOURCES: [&str; 4] =
    [include_str!("link.rs"), include_str!("ipv4.rs"), include_str!("ipv6.rs"), include_str!("transport.rs")];

#[test]
fn every_row_is_here_once_or_says_why_not_and_those_do_not_grow() {
    let mut left_out = Vec::new();
    for (id, on) in &ROWS {
        let start = format!("\n#[test]\nfn {id}_");
        let tests: usize = SOURCES.iter().map(|source| source.matches(&start).count()).sum();
        match on {
            Here => assert_eq!(tests, 1, "row {id} has one test"),
            There(file, names) => {
                assert_eq!(tests, 0, "row {id} is here too");
                for name in *names {
                    assert!(file.contains(&format!("\nfn {name}() ")), "row {id} has no test {name}");
                }
            }
            Not(why) => {
                assert_eq!(tests, 0, "row {id} has a test, and says that it can't: {why}");
                left_out.push((id, why));
            }
        }
    }
    let per_section = [('a', 15), ('b', 16), ('c', 17), ('d', 16), ('e', 13), ('f', 13)];
    for (section, rows) in per_section {
        let listed: Vec<String> =
            ROWS.iter().map(|(id, _)| (*id).to_owned()).filter(|id| id.starts_with(section)).collect();
        let all: Vec<String> = (1..=rows).map(|number| format!("{section}{number}")).collect();
        assert_eq!(listed, all);
    }
    assert!(left_out.len() <= 1, "rows that can't run here must not grow in number: {left_out:?}");
}
