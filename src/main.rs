//! The `hsr-gpu` binary; everything it does is in the library's `cli`.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's memory; where it has no more, the process ends with a line and exit code 1, and not with an abort.
struct Bounded;

// SAFETY: all calls are handed on to the system's allocator, and what it gives is handed back.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        given(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        given(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        given(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static MEMORY: Bounded = Bounded;

/// What the system gave, if it gave anything.
fn given(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() {
        hsr_gpu::cli::out_of_memory(size);
    }
    memory
}

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
