//! The static files of the web client, embedded in the binary.

use std::hash::{DefaultHasher, Hash, Hasher};

use warp::Filter;
use warp::http::header::{self, HeaderName, HeaderValue};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::path::FullPath;
use warp::reply::Response;

use super::problem::Problem;
use super::response;
use super::route::Routes;

/// A file of the web client.
struct File {
    path: &'static str,
    bytes: &'static [u8],
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(File {
            path: concat!("/", $name),
            bytes: include_bytes!(concat!("../web/", $name)),
        }),*]
    };
}

const FILES: &[File] = files![
    "app.js",
    "clock.js",
    "icon.svg",
    "index.html",
    "model/call-stats.js",
    "model/floor-text.js",
    "model/floor.js",
    "model/monitors.js",
    "model/mute.js",
    "model/refusals.js",
    "model/room-names.js",
    "model/roster.js",
    "model/settings.js",
    "model/silence.js",
    "net/api.js",
    "net/backoff.js",
    "net/call.js",
    "net/peer-connection.js",
    "net/room-socket.js",
    "net/sdp.js",
    "net/sessions.js",
    "radio.css",
    "style.css",
    "view/channels.js",
    "view/controls.js",
    "view/dom.js",
    "view/lobby.js",
    "view/microphone.js",
    "view/monitor-list.js",
    "view/playback.js",
    "view/ptt-key.js",
    "view/radio.js",
    "view/room.js",
    "view/roster.js",
    "view/tones.js",
    "view/wake-lock.js",
];

/// The content security policy of the page: it loads nothing from other hosts and connects only to
/// this server. WebSockets are listed by scheme, because older Safari does not count a WebSocket to
/// the same host as `'self'`.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Routes the paths of the web client's files.
pub(super) fn routes() -> Routes {
    warp::path::full()
        .and_then(|path: FullPath| async move {
            if has(path.as_str()) {
                Ok(path)
            } else {
                Err(warp::reject::not_found())
            }
        })
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .map(|path: FullPath, method: Method, headers: HeaderMap| {
            serve(path.as_str(), &method, &headers).unwrap_or_else(Response::from)
        })
        .boxed()
}

/// Returns whether the web client has a file with this path.
fn has(path: &str) -> bool {
    find(path).is_some()
}

/// Answers a request for the web client's file under `path`.
fn serve(path: &str, method: &Method, headers: &HeaderMap) -> Result<Response, Problem> {
    let file = find(path).ok_or_else(Problem::not_found)?;
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Problem::method_not_allowed("GET, HEAD, OPTIONS"));
    }
    let etag = response::value(etag(file.bytes));
    let known = headers.get(header::IF_NONE_MATCH) == Some(&etag);
    let mut response = if known {
        response::empty(StatusCode::NOT_MODIFIED)
    } else {
        Response::new(file.bytes.into())
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(media_type(file.path)),
    );
    // The browser must revalidate each time, so that a new server is never used with an old page.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        HeaderName::from_static("referrer-policy"),
        HeaderValue::from_static("no-referrer"),
    );
    Ok(response)
}

fn find(path: &str) -> Option<&'static File> {
    let path = if path == "/" { "/index.html" } else { path };
    FILES.iter().find(|file| file.path == path)
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// Computes an ETag that changes with the content. The hash need not be cryptographic, because the
/// content is part of the server.
fn etag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_web_client_is_in_the_table() {
        let mut on_disk = Vec::new();
        walk(
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src/web")),
            "",
            &mut on_disk,
        );
        // These files are for node, tsc and readers, not for the browser.
        on_disk.retain(|path| {
            path != "/package.json" && !path.ends_with(".d.ts") && !path.ends_with(".md")
        });
        on_disk.sort();
        let served: Vec<_> = FILES.iter().map(|file| file.path.to_owned()).collect();
        assert_eq!(served, on_disk);
        for path in served {
            assert_ne!(media_type(&path), "application/octet-stream", "{path}");
        }
    }

    /// Collects the paths of the files under `folder`, each with the prefix `prefix`.
    fn walk(folder: &Path, prefix: &str, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let entry = entry.expect("it can be read");
            let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                walk(&entry.path(), &path, found);
            } else {
                found.push(path);
            }
        }
    }

    #[test]
    fn static_file_with_a_known_etag_is_not_sent_again() {
        let first = serve("/", &Method::GET, &HeaderMap::new()).expect("the page");
        let known =
            HeaderMap::from_iter([(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone())]);
        let again = serve("/", &Method::GET, &known).expect("the page");
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert!(serve("/../Cargo.toml", &Method::GET, &known).is_err());
    }
}
