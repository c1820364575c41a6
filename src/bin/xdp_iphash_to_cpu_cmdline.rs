fn main() -> std::process::ExitCode {
    cpumap_pping::cli::main_exit(cpumap_pping::app::xdp_iphash_to_cpu_cmdline::run)
}
