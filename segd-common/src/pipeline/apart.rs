//! Stages that the packet path rarely takes, each in a function of its own: the path itself stays short, and the verifier
//! follows it in fewer ways.

use super::{Context, Outcome};
use crate::env::Env;
use crate::flow::Birth;
use crate::packet::Packet;
use crate::reason::Reason;

/// A stage out of line. It hands its reason back in a register: the verifier refuses a function that leaves a pointer to a
/// stack there, as one that returns nothing may (Linux 6.18).
macro_rules! apart {
    ($( $(#[$doc:meta])* $name:ident => $stage:ident($($arg:ident: $type:ty),*); )*) => {
        impl<E: Env> Context<'_, E> {
            $(
                $(#[$doc])*
                #[inline(always)]
                pub(super) fn $name(&self, $($arg: $type,)* outcome: &mut Outcome) {
                    #[inline(never)]
                    fn apart<E: Env>(context: &Context<'_, E>, $($arg: $type,)* outcome: &mut Outcome) -> Reason {
                        context.$stage($($arg,)* outcome);
                        outcome.reason
                    }
                    outcome.reason = apart(self, $($arg,)* outcome);
                }
            )*
        }
    };
}

apart! {
    /// Any packet that has ports.
    judge_packet => judge_packet_here(packet: &Packet);
    /// A live connection that the fast path did not take.
    judge_again => judge_again_here(packet: &Packet);
    /// A packet that belongs to nothing.
    stray => stray_here(packet: &Packet);
    /// A SYN that the policy denies.
    grain => grain_here(packet: &Packet);
    /// An ICMP error.
    related => related_here(packet: &Packet);
    /// A first packet that the policy allows.
    admit => admit_here(packet: &Packet, birth: &Birth);
    /// A packet of the responder of a connection that may be adopted.
    adopt => adopt_here(packet: &Packet, birth: &Birth);
    /// The first fragment of a datagram.
    first_fragment => first_fragment_here(packet: &Packet);
    /// A fragment without ports.
    later_fragment => later_fragment_here(packet: &Packet);
    /// A frame that can't be trusted.
    refuse => refuse_here(packet: &Packet, reason: Reason);
}
