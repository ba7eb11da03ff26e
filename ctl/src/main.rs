//! vigilctl
fn main() {}
