//! segd
fn main() {}
