//! Descriptors: as many as the system permits, and some that sessions leave for what has to go on when they run
//! out: who comes then is told so, and an operator is heard.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::LazyLock;

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that neither sessions nor listeners of brokers take; of few, a quarter.
const RESERVE: u64 = 128;

/// From this number on they are the reserve's.
static FIRST_OF_RESERVE: LazyLock<RawFd> = LazyLock::new(|| {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(libc::RLIM_INFINITY, |(soft, _)| soft);
    RawFd::try_from(limit - RESERVE.min(limit / 4)).unwrap_or(RawFd::MAX)
});

/// Lets the process have as many as it may: each session takes two. Before anything asks for the reserve.
///
/// # Errors
/// The system refused.
pub fn raise_limit() -> Result<(), Errno> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

/// Whether `new`, which was just made, is one of the reserve: the kernel gives the lowest number that is free,
/// so all others are taken.
pub fn is_of_reserve(new: &impl AsFd) -> bool {
    new.as_fd().as_raw_fd() >= *FIRST_OF_RESERVE
}

/// As what the system says when there are none left.
pub fn none_left() -> io::Error {
    Errno::EMFILE.into()
}

/// Whether something failed for want of descriptors, memory, or local ports to dial from.
pub fn is_want(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    use Errno::{EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    matches!(errno, Some(EMFILE | ENFILE | ENOMEM | ENOBUFS | EADDRNOTAVAIL))
}
