//! The `hsr-gpu` binary; everything it does is in the library's `cli`.

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    no_compositor();
    hsr_gpu::cli::main()
}

/// Where there is no session with a compositor (a server, a container), says so to the Vulkan loader's layers. Mesa's layer
/// for the choice of devices looks for one all the same, and the Wayland library then prints two lines of errors on standard
/// error, which belongs to this program's own lines. An absolute path is the one address that it tries in silence.
#[cfg(target_os = "linux")]
fn no_compositor() {
    use std::env::{set_var, var_os};
    let absolute = |name| var_os(name).is_some_and(|value| std::path::Path::new(&value).is_absolute());
    if absolute("XDG_RUNTIME_DIR") || absolute("WAYLAND_DISPLAY") || var_os("WAYLAND_SOCKET").is_some() {
        return;
    }
    // SAFETY: the program has one thread yet, so no other reads the environment meanwhile.
    unsafe { set_var("WAYLAND_DISPLAY", "/dev/null") };
}
