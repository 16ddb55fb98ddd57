//! A plain server of files, as stands before any front end.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::thread;

use crate::target::bounded;

/// Serves the files below `root` on loopback, until the process ends.
///
/// # Panics
/// The system refuses.
pub fn serve(root: &Path) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let root = root.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let root = root.clone();
            // A browser that has left wants no answer.
            thread::spawn(move || drop(answer(stream, &root)));
        }
    });
    address
}

fn answer(mut stream: TcpStream, root: &Path) -> std::io::Result<()> {
    bounded(&stream);
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let file = named(&request).and_then(|name| std::fs::read(root.join(&name)).ok().map(|body| (name, body)));
    let (status, kind, body) = match file {
        Some((name, body)) => ("200 OK", kind(&name), body),
        None => ("404 Not Found", "text/plain", Vec::new()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(&body)
}

/// The file that a request line names, without its query.
fn named(request: &str) -> Option<PathBuf> {
    let path = request.strip_prefix("GET /")?.split([' ', '?']).next()?;
    let path = PathBuf::from(path);
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

/// Browsers run modules of this type only, and draw such images only.
fn kind(file: &Path) -> &'static str {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("html") => "text/html",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_below_the_root_are_named() {
        for (request, file) in [
            ("GET /app/ui.js HTTP/1.1", Some("app/ui.js")),
            ("GET /vnc.html?path=a/../b HTTP/1.1", Some("vnc.html")),
            ("GET /../etc/passwd HTTP/1.1", None),
            ("GET //etc/passwd HTTP/1.1", None),
            ("POST /vnc.html HTTP/1.1", None),
            ("", None),
        ] {
            assert_eq!(named(request), file.map(PathBuf::from), "{request}");
        }
    }
}
