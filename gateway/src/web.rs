//! The pages, built by npm from `gateway/web` and embedded at build time.

use std::borrow::Cow;

use rust_embed::RustEmbed;

/// Where `cargo xtask build` leaves the pages. A build without them works, and says so.
#[derive(RustEmbed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Pages;

/// A page or a part of one.
pub struct Page {
    /// For the header of that name.
    pub content_type: String,
    /// The content.
    pub body: Cow<'static, [u8]>,
    /// Whether the content under this path never changes.
    pub immutable: bool,
}

const NO_PAGES: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Portcullis</title>\
<h1>Portcullis</h1><p>This gateway was built without its pages, so it cannot show consoles in the browser by \
itself. Front ends of your own work. To build the pages, run <code>cargo xtask build</code> in the source \
tree; it needs Node.js 18 or newer with npm.</p></html>";

/// The page at `path`, which begins with a slash.
pub fn page(path: &str) -> Option<Page> {
    let name = if path == "/" { "index.html" } else { path.strip_prefix('/')? };
    let Some(file) = Pages::get(name) else {
        let content_type = "text/html; charset=utf-8".to_owned();
        let missing = Page { content_type, body: NO_PAGES.as_bytes().into(), immutable: false };
        return (name == "index.html").then_some(missing);
    };
    let content_type = content_type(name).to_owned();
    Some(Page { content_type, body: file.data, immutable: name.starts_with("assets/") })
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

    #[test]
    fn there_is_always_a_first_page() {
        let page = page("/").expect("a page");
        assert_eq!(page.content_type, "text/html; charset=utf-8");
        assert!(page.body.starts_with(b"<!doctype html>") || page.body.starts_with(b"<!DOCTYPE html>"));
    }

    #[test]
    fn paths_stay_inside() {
        for path in ["/../Cargo.toml", "/..%2fCargo.toml", "//etc/passwd", "/nothing", "index.html", ""] {
            assert!(page(path).is_none(), "{path}");
        }
    }
}
