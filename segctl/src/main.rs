//! `segctl`: what admins type. Everything it does is in the library beside it.

fn main() -> anyhow::Result<std::process::ExitCode> {
    segctl::run()
}
