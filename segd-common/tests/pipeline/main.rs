//! Frames through the whole decision, on maps in memory. Each test sends frames and asserts everything that became of
//! them: the verdict, why, whose zones, which rule, every counter that moved and every event. Nothing here needs a kernel.

mod frame;
mod image;
mod machine;
mod net;
mod seen;

mod adoption;
mod audit;
mod chance;
mod essentials;
mod fragments;
mod icmp;
mod lease;
mod life;
mod places;
mod room;
mod tcp;
mod translated;
mod udp;
mod voucher;
