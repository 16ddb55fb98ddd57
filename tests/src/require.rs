//! What a test needs, and what happens where it is missing.

use std::path::Path;

use portcullis::web::{self, Site};

/// Whether `present`; a test without it steps aside, or fails where everything is required.
///
/// # Panics
/// It is missing and `PORTCULLIS_REQUIRE_ALL=1` is set.
fn required(what: &str, present: bool) -> bool {
    let all = std::env::var("PORTCULLIS_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(present || !all, "this test needs {what}");
    if !present {
        eprintln!("stepping aside: this test needs {what}");
    }
    present
}

/// Root, for network namespaces and eBPF.
pub fn root() -> bool {
    required("root", nix::unistd::geteuid().is_root())
}

/// Root, and kernel programs in this build.
pub fn kernel() -> bool {
    root()
        && required("the kernel object (cargo xtask build)", !portcullis::kernel::object::object().is_empty())
}

/// The pages, embedded in this build.
pub fn pages() -> bool {
    let page = web::page(Site::Console, "/");
    let built =
        page.is_some_and(|page| page.body.windows(9).any(|part| part == b"/#token=" || part == b"data-stat"));
    required("the pages (cargo xtask build)", built)
}

/// Control groups that limit memory.
pub fn memory_groups(present: bool) -> bool {
    required("control groups with memory", present)
}

/// A file that a package brings.
pub fn file(path: &str, package: &str) -> bool {
    required(&format!("{path} (package {package})"), Path::new(path).exists())
}

/// Root and nft, for the filter in nftables.
pub fn nft() -> bool {
    root() && required("nft (package nftables)", portcullis::kernel::nft::find("nft").is_some())
}
