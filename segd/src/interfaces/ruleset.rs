//! The text of the nftables guard: whom it lets through and what it says to nft. Pure: nothing is run here, and no
//! name of an interface ever gets into the text, for those may hold quotes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::str::FromStr;

use crate::policy::InterfaceSelector;

/// Longest name of an interface, in bytes.
const NAME_MAX: usize = 15;

/// Tells one daemon's table from another's: `[a-z0-9_]+`, at most 63 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance(String);

/// A word that cannot be part of a table's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot name an instance's nftables table; write 1 to 63 of a to z, 0 to 9 and _")]
pub struct InstanceError(String);

impl FromStr for Instance {
    type Err = InstanceError;

    fn from_str(word: &str) -> Result<Self, InstanceError> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if (1..=63).contains(&word.len()) && word.bytes().all(fits) {
            Ok(Self(word.to_owned()))
        } else {
            Err(InstanceError(word.to_owned()))
        }
    }
}

impl Instance {
    /// The name of its tables.
    #[must_use]
    pub fn table(&self) -> String {
        format!("segd_{}", self.0)
    }
}

/// Who may pass: the interfaces that are let through, and which others the guard speaks of at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    scope: Vec<NamePattern>,
    admitted: BTreeSet<u32>,
}

impl Admission {
    /// `selectors` are the policy's: an interface that none of them could match is never touched. `admitted` are the
    /// indices of all interfaces that are either enforced by a program or left alone by the policy
    /// ([`super::guarded`] says `None`). Loopback is always let through.
    #[must_use]
    pub fn new(selectors: &[InterfaceSelector], admitted: BTreeSet<u32>) -> Self {
        let every = NamePattern { literal: String::new(), more: true };
        let scope = if selectors.is_empty() {
            vec![every]
        } else {
            selectors.iter().filter_map(|selector| NamePattern::of(selector.name.as_str())).collect()
        };
        Self { scope, admitted }
    }

    /// One transaction that puts these tables in the place of what was there. The family `bridge` stops frames
    /// from port to port, `inet` everything else.
    pub(super) fn transaction(&self, instance: &Instance, families: &[&str]) -> String {
        families.iter().map(|family| self.table(family, &instance.table())).collect()
    }

    fn table(&self, family: &str, table: &str) -> String {
        let mut text = format!("{}table {family} {table} {{\n", removal(family, table));
        text.push_str(&self.set());
        for (hook, directions) in [("input", &["i"][..]), ("forward", &["i", "o"]), ("output", &["o"])] {
            let _ = writeln!(text, "  chain {hook} {{\n    type filter hook {hook} priority -300; policy accept;");
            for direction in directions {
                let _ = writeln!(text, "    {direction}if != @admitted jump unguarded_{direction}");
            }
            text.push_str("  }\n");
        }
        for direction in ["i", "o"] {
            text.push_str(&self.unguarded(direction));
        }
        text.push_str("}\n");
        text
    }

    /// By index, as programs are attached: a renamed device keeps its guard, and a new one under an old name has
    /// none. The padded form is longer than any name, so nft cannot take it for one.
    fn set(&self) -> String {
        let elements: Vec<String> = self.admitted.iter().map(|index| format!("\"{index:016}\"")).collect();
        let size = elements.len().max(1);
        let elements =
            if elements.is_empty() { String::new() } else { format!("    elements = {{ {} }}\n", elements.join(", ")) };
        format!("  set admitted {{\n    type iface_index\n    size {size}\n{elements}  }}\n")
    }

    fn unguarded(&self, direction: &str) -> String {
        let mut text = format!("  chain unguarded_{direction} {{\n    {direction}iftype loopback return\n");
        for pattern in &self.scope {
            let _ = writeln!(text, "    {}counter drop", pattern.matching(direction));
        }
        text.push_str("  }\n");
        text
    }
}

/// A transaction that takes the tables away, whether or not they are there.
pub(super) fn removal_of(instance: &Instance, families: &[&str]) -> String {
    families.iter().map(|family| removal(family, &instance.table())).collect()
}

/// nft 1.0.6 has no `destroy`; adding what is there already does nothing.
fn removal(family: &str, table: &str) -> String {
    format!("add table {family} {table}\ndelete table {family} {table}\n")
}

/// What nft can say of a glob: a whole name, or how a name begins. Where a glob says more, the pattern reaches
/// further than it; interfaces that it reaches wrongly are in the admitted set as left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NamePattern {
    literal: String,
    more: bool,
}

impl NamePattern {
    /// `None` if no interface can have such a name.
    fn of(glob: &str) -> Option<Self> {
        let plain = |c: &char| c.is_ascii_alphanumeric() || ['-', '_', '.', '@', '+'].contains(c);
        let literal: String = glob.chars().take_while(plain).collect();
        let more = literal.len() < glob.len() && literal.len() < NAME_MAX;
        (literal.len() <= NAME_MAX).then_some(Self { literal, more })
    }

    fn matching(&self, direction: &str) -> String {
        match (self.literal.as_str(), self.more) {
            ("", _) => String::new(),
            (literal, true) => format!("{direction}ifname \"{literal}*\" "),
            (literal, false) => format!("{direction}ifname \"{literal}\" "),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::{Forward, HookChoice};

    use super::*;

    fn selectors(globs: &[&str]) -> Vec<InterfaceSelector> {
        let selector = |glob: &&str| InterfaceSelector {
            name: glob::Pattern::new(glob).unwrap(),
            hook: HookChoice::Auto,
            forward: Forward::Kernel,
        };
        globs.iter().map(selector).collect()
    }

    fn drops(globs: &[&str]) -> Vec<String> {
        let text = Admission::new(&selectors(globs), BTreeSet::new()).table("inet", "t");
        let incoming = text.split("chain unguarded_i {").nth(1).unwrap().split('}').next().unwrap();
        incoming.lines().map(str::trim).filter(|line| line.ends_with("drop")).map(str::to_owned).collect()
    }

    #[test]
    fn the_whole_table_is_replaced_in_one_transaction() {
        let admission = Admission::new(&[], BTreeSet::from([2, 1000]));
        let instance: Instance = "main".parse().unwrap();
        insta::assert_snapshot!(admission.transaction(&instance, &["inet"]), @r#"
        add table inet segd_main
        delete table inet segd_main
        table inet segd_main {
          set admitted {
            type iface_index
            size 2
            elements = { "0000000000000002", "0000000000001000" }
          }
          chain input {
            type filter hook input priority -300; policy accept;
            iif != @admitted jump unguarded_i
          }
          chain forward {
            type filter hook forward priority -300; policy accept;
            iif != @admitted jump unguarded_i
            oif != @admitted jump unguarded_o
          }
          chain output {
            type filter hook output priority -300; policy accept;
            oif != @admitted jump unguarded_o
          }
          chain unguarded_i {
            iiftype loopback return
            counter drop
          }
          chain unguarded_o {
            oiftype loopback return
            counter drop
          }
        }
        "#);
    }

    #[test]
    fn without_selectors_whatever_is_not_admitted_is_dropped() {
        assert_eq!(drops(&[]), ["counter drop"]);
    }

    #[test]
    fn with_selectors_only_what_they_could_match_is_dropped() {
        assert_eq!(
            drops(&["lan*", "wan0", "dmz[0-9]", "p?n"]),
            [
                "iifname \"lan*\" counter drop",
                "iifname \"wan0\" counter drop",
                "iifname \"dmz*\" counter drop",
                "iifname \"p*\" counter drop",
            ]
        );
    }

    #[test]
    fn a_glob_that_begins_with_a_wildcard_or_a_quote_reaches_everything() {
        assert_eq!(drops(&["*lan"]), ["counter drop"]);
        assert_eq!(drops(&["\" accept"]), ["counter drop"]);
    }

    #[test]
    fn a_name_that_is_too_long_for_the_kernel_matches_nothing() {
        assert_eq!(drops(&["abcdefghijklmnop"]), Vec::<String>::new());
        assert_eq!(drops(&["abcdefghijklmno*"]), ["iifname \"abcdefghijklmno\" counter drop"]);
    }

    #[test]
    fn an_instance_s_name_cannot_smuggle_commands() {
        assert_eq!("a_1".parse::<Instance>().map(|instance| instance.table()), Ok("segd_a_1".into()));
        for word in ["", "a b", "x; flush ruleset", "A", &"x".repeat(64)] {
            assert_eq!(word.parse::<Instance>(), Err(InstanceError(word.to_owned())));
        }
    }
}
