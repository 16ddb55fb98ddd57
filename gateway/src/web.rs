//! The pages, built by npm from `gateway/web` and embedded at build time.

use std::borrow::Cow;

use rust_embed::RustEmbed;

use crate::broker::Protocol;

/// Where `cargo xtask build` leaves the pages, each in a folder of its own. A build without them works, and
/// says so.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Pages;

/// Who is served which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Users, on broker ports.
    Console,
    /// Operators, on the API's port.
    Dashboard,
}

impl Site {
    const fn folder(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Dashboard => "dashboard",
        }
    }
}

/// A page or a part of one.
pub struct Page {
    /// For the header of that name.
    pub content_type: String,
    /// The content.
    pub body: Cow<'static, [u8]>,
    /// For `Cache-Control`.
    pub cache: &'static str,
}

/// A `Content-Security-Policy`: talk with the own server alone, and no frame around it.
macro_rules! policy {
    ($script:literal, $style:literal, $connect:literal) => {
        concat!(
            "default-src 'none'; script-src ",
            $script,
            "; style-src ",
            $style,
            "; img-src 'self' data: blob:; media-src blob:; connect-src ",
            $connect,
            "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
    };
}

/// Of all pages: own scripts and styles.
pub const POLICY: &str = policy!("'self'", "'self'", "'self'");
/// Of terminals: xterm.js colours its cells by styles that it writes.
const POLICY_OF_TERMINALS: &str = policy!("'self'", "'self' 'unsafe-inline'", "'self'");
/// Of RDP: IronRDP is WebAssembly, which it reads out of a `data:` address in itself.
const POLICY_OF_RDP: &str = policy!("'self' 'wasm-unsafe-eval'", "'self'", "'self' data:");

/// `Content-Security-Policy` of the page that shows a console that speaks `protocol`.
pub fn policy(protocol: Option<Protocol>) -> &'static str {
    match protocol {
        Some(Protocol::Serial | Protocol::Container) => POLICY_OF_TERMINALS,
        Some(Protocol::Rdp) => POLICY_OF_RDP,
        Some(Protocol::Vnc | Protocol::Spice | Protocol::Ikvm) | None => POLICY,
    }
}

/// `Cache-Control` of what is different the next time.
pub const NO_STORE: &str = "no-store";
/// Assets have the hash of their content in their names.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

const NO_PAGES: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Portcullis</title>\
<h1>Portcullis</h1><p>This gateway was built without its pages, so it cannot show consoles in the browser by \
itself, and no dashboard. Front ends of your own work. To build the pages, run <code>cargo xtask build</code> \
in the source tree; it needs Node.js 18 or newer with npm.</p></html>";

/// The page of `site` at `path`, which begins with a slash.
pub fn page(site: Site, path: &str) -> Option<Page> {
    let name = if path == "/" { "index.html" } else { path.strip_prefix('/')? };
    let Some(file) = Pages::get(&format!("{}/{name}", site.folder())) else {
        let content_type = "text/html; charset=utf-8".to_owned();
        let missing = Page { content_type, body: NO_PAGES.as_bytes().into(), cache: NO_STORE };
        return (name == "index.html").then_some(missing);
    };
    let content_type = content_type(name).to_owned();
    let cache = if name.starts_with("assets/") { FOR_EVER } else { NO_STORE };
    Some(Page { content_type, body: file.data, cache })
}

/// The few kinds of files that the build makes.
fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITES: [Site; 2] = [Site::Console, Site::Dashboard];

    #[test]
    fn there_is_always_a_first_page() {
        for site in SITES {
            let page = page(site, "/").expect("a page");
            assert_eq!(page.content_type, "text/html; charset=utf-8");
            assert_eq!(page.cache, NO_STORE);
            assert!(page.body.starts_with(b"<!doctype html>") || page.body.starts_with(b"<!DOCTYPE html>"));
        }
    }

    #[test]
    fn a_page_may_what_its_console_needs() {
        for (protocol, name) in Protocol::ALL {
            let policy = policy(Some(protocol));
            assert_eq!(policy.contains("'wasm-unsafe-eval'"), protocol == Protocol::Rdp, "{name}");
            assert_eq!(policy.contains("connect-src 'self' data:;"), protocol == Protocol::Rdp, "{name}");
            assert_eq!(policy.contains("'unsafe-inline'"), protocol.is_terminal(), "{name}");
            assert!(policy.starts_with("default-src 'none';") && !policy.contains("'unsafe-eval'"), "{name}");
        }
        assert_eq!(policy(None), POLICY);
    }

    #[test]
    fn paths_stay_inside() {
        for path in [
            "/../Cargo.toml",
            "/..%2fCargo.toml",
            "//etc/passwd",
            "/nothing",
            "index.html",
            "",
            "/../console/index.html",
            "/../dashboard/index.html",
            "/dashboard/index.html",
        ] {
            for site in SITES {
                assert!(page(site, path).is_none(), "{path}");
            }
        }
    }
}
