fn main() -> std::process::ExitCode {
    cpumap_pping::cli::main_exit(cpumap_pping::app::pping::run)
}
