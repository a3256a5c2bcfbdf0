//! The program `driftmerge`.

fn main() {}
