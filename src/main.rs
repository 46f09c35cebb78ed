//! The program: serves tokens, or asks a server that does.

fn main() {}
