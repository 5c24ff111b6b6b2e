//! The `rolefs` command.

fn main() {}
