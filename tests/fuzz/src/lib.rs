//! Fuzz targets: what bytes of strangers reach. Each takes any bytes, and fails by a panic. `cargo xtask fuzz`
//! looks for bytes that make one; what it found once is in `corpus` and is tried by every `cargo test`.

mod api;
mod clean_path;
mod close;
mod frames;
mod handshake;
mod proxy;
mod rdp;
mod rfb;
mod sniff;
mod spice;
mod tokens;

/// A target: it takes any bytes.
pub type Target = fn(&[u8]);

/// The targets by their names, which are those of their folders in `corpus`.
pub const TARGETS: [(&str, Target); 12] = [
    ("frames", frames::run),
    ("close", close::run),
    ("sniff", sniff::run),
    ("handshake", handshake::run),
    ("proxy", proxy::run),
    ("rfb-target", rfb::target),
    ("rfb-client", rfb::client),
    ("spice", spice::run),
    ("rdp", rdp::run),
    ("clean-path", clean_path::run),
    ("api", api::run),
    ("tokens", tokens::run),
];

/// The target called `name`.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}
