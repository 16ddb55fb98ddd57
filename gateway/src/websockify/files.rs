//! Files for browsers: what `--web` names, and lists of its folders.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use http_body_util::BodyExt;
use hyper::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tower_http::services::ServeDir;

use super::answer::{Body, full};
use super::plan::Web;

/// What a name may have in a link as it is (RFC 3986 section 2.3).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The answer to GET or HEAD of a file, or of a folder.
pub async fn answer<B: Send + 'static>(web: &Web, request: Request<B>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let head = *request.method() == Method::HEAD;
    match ServeDir::new(&web.folder).try_call(request).await {
        Ok(mut response) if response.status() != StatusCode::NOT_FOUND => {
            if response.status() == StatusCode::TEMPORARY_REDIRECT {
                // To the folder's name with its slash.
                *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            }
            response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            return response.map(|body| body.map_err(io::Error::other).boxed_unsync());
        }
        Err(error) if !is_nothing(&error) => return plain(StatusCode::INTERNAL_SERVER_ERROR),
        _ => {}
    }
    let folder = web.folder.clone();
    let listed = web.listing.then(|| tokio::task::spawn_blocking(move || list(&folder, &path)));
    let text = match listed {
        Some(listed) => listed.await.ok().flatten(),
        None => None,
    };
    let Some(text) = text else { return plain(StatusCode::NOT_FOUND) };
    let mut response = full(if head { Default::default() } else { text.into() });
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

/// Whether there is no such file, or none that may be read.
fn is_nothing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied
    )
}

fn plain(status: StatusCode) -> Response<Body> {
    let text = format!("{} {}\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let mut response = full(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A page with the names in a folder, as `path` of a URL names it below `root`.
fn list(root: &Path, path: &str) -> Option<String> {
    let folder = below(root, path).filter(|folder| folder.is_dir())?;
    let mut names: Vec<_> = fs::read_dir(folder).ok()?.flatten().map(|entry| name(&entry)).collect();
    names.sort_by_key(|name| name.to_lowercase());
    let items: String = names
        .iter()
        .map(|name| {
            let link: String = utf8_percent_encode(name.trim_end_matches('/'), PLAIN).collect();
            let slash = if name.ends_with('/') { "/" } else { "" };
            format!("<li><a href=\"{link}{slash}\">{}</a></li>\n", escape(name))
        })
        .collect();
    let title = percent_decode_str(path).decode_utf8_lossy();
    let title = escape(&title);
    Some(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n</head>\n\
         <body>\n<h1>{title}</h1>\n<ul>\n{items}</ul>\n</body>\n</html>\n"
    ))
}

/// With a slash behind folders.
fn name(entry: &fs::DirEntry) -> String {
    let slash = if entry.path().is_dir() { "/" } else { "" };
    format!("{}{slash}", entry.file_name().to_string_lossy())
}

/// The place that a URL's path names; nothing outside.
fn below(root: &Path, path: &str) -> Option<PathBuf> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let mut place = root.to_owned();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if matches!(part, "." | "..") || part.contains(['\\', '\0']) {
            return None;
        }
        place.push(part);
    }
    Some(place)
}

/// For HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web(folder: &Path, listing: bool) -> Web {
        Web { folder: folder.to_owned(), listing, auth: false }
    }

    async fn check(web: &Web, method: &str, path: &str, status: u16) -> String {
        let request = Request::builder().method(method).uri(path).body(String::new()).expect("a request");
        let response = answer(web, request).await;
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn files_and_folders_are_served() {
        let outside = tempfile::tempdir().expect("a folder");
        let root = outside.path().join("web");
        fs::create_dir_all(root.join("app")).expect("a folder");
        fs::create_dir_all(root.join("page")).expect("a folder");
        for (name, text) in
            [("web/app/a&b <i>.js", "script"), ("web/page/index.html", "<p>here"), ("secret", "secret")]
        {
            fs::write(outside.path().join(name), text).expect("writes");
        }
        let both = [web(&root, true), web(&root, false)];
        for web in &both {
            assert_eq!(check(web, "GET", "/app/a%26b%20%3Ci%3E.js?x", 200).await, "script");
            assert_eq!(check(web, "HEAD", "/app/a%26b%20%3Ci%3E.js", 200).await, "");
            assert_eq!(check(web, "GET", "/page/", 200).await, "<p>here");
            check(web, "GET", "/page", 301).await;
            check(web, "GET", "/none", 404).await;
            for path in ["/../secret", "/%2e%2e/secret", "/app/..%2f..%2fsecret", "/%2e%2e/", "/..%2f"] {
                let text = check(web, "GET", path, 404).await;
                assert!(!text.contains("secret"), "{path}: {text}");
            }
        }
        let list = check(&both[0], "GET", "/app/", 200).await;
        assert!(list.contains("<a href=\"a%26b%20%3Ci%3E.js\">a&amp;b &lt;i&gt;.js</a>"), "{list}");
        let list = check(&both[0], "GET", "/", 200).await;
        assert!(list.contains("<a href=\"app/\">app/</a>"), "{list}");
        check(&both[1], "GET", "/", 404).await;
    }
}
