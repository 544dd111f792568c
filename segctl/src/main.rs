//! segctl
fn main() {}
