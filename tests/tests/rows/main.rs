//! The list of hostile and odd frames on the ground of the loaded programs: each row is a test that carries its id, sends its
//! frames by test runs, and asserts the verdict, the reason's counter, and that no other counter moved.

mod bench;
mod ipv4;
mod ipv6;
mod link;
mod table;
mod transport;
