//! The C library's allocator, told what kind of program this is: thousands of small things that live long, made
//! and dropped by a few threads, beside large buffers that come and go. And how much memory is left.

pub mod left;

/// Sets the allocator up, where it is glibc's. To be called before there are threads.
#[cfg(target_env = "gnu")]
pub fn set_up() {
    use nix::libc;

    // Arenas that threads share. With one for each thread what a request leaves behind keeps whole pages from
    // what the next thread needs: an idle session then takes twice the memory.
    const ARENAS: libc::c_int = 2;
    // From so many bytes on an allocation is a mapping of its own, and goes back to the system when it is freed:
    // buffers are larger.
    const MAPPED_FROM: libc::c_int = 128 * 1024;

    for (parameter, value) in [(libc::M_ARENA_MAX, ARENAS), (libc::M_MMAP_THRESHOLD, MAPPED_FROM)] {
        #[expect(unsafe_code, reason = "mallopt(3) has no safe wrapper")]
        // SAFETY: takes two integers; both parameters may be set at any time (mallopt(3)). What it refuses
        // stays as it is.
        unsafe {
            libc::mallopt(parameter, value);
        }
    }
}

/// Nothing to set up.
#[cfg(not(target_env = "gnu"))]
pub const fn set_up() {}
