//! vigilmon
fn main() {}
