//! vigilmon-agent
fn main() {}
