//! The program `driftmerge`. See the library of the same name for what it does.

fn main() -> std::process::ExitCode {
    driftmerge::main()
}
