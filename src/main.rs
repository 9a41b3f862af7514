//! The `hsr-gpu` binary; everything it does is in the library's `cli`.

fn main() -> std::process::ExitCode {
    hsr_gpu::cli::main()
}
