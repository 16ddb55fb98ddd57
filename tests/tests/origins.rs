//! Whose pages may show a ticket in a cookie.

use portcullis_tests::behind_every_gate;
use portcullis_tests::gateway::{Gateway, agent, call};
use portcullis_tests::target::Target;

behind_every_gate!(a_cookie_counts_from_pages_that_may);

fn a_cookie_counts_from_pages_that_may(backend: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let allowed = "allowed_origins = [\"https://cloud.example\", \"http://10.0.0.5:8080\"]";
    let gateway = Gateway::start(folder.path(), backend, &[allowed]);
    let broker = gateway.open(Target::new().port());
    let own = format!("http://{}", broker.endpoint);
    let ask = |cookie: &str, origin: Option<&str>| {
        let request = agent().get(format!("{own}/status"));
        let request = request.header("Cookie", format!("{cookie}={}", broker.token));
        let request = origin.into_iter().fold(request, |request, origin| request.header("Origin", origin));
        let (status, text) = call(request.call());
        assert_eq!(text.contains("wrong_origin"), status == 403, "{text}");
        status
    };
    for cookie in ["token", &format!("portcullis_{}", broker.id)] {
        for origin in
            [None, Some(own.as_str()), Some("https://CLOUD.example:443"), Some("http://10.0.0.5:8080")]
        {
            assert_eq!(ask(cookie, origin), 200, "{origin:?}");
        }
        for origin in ["null", "http://cloud.example", "http://10.0.0.5", "https://cloud.example.evil", "x"] {
            assert_eq!(ask(cookie, Some(origin)), 403, "{origin}");
        }
    }
    // Nobody's browser sends the other carriers by itself.
    let bearer = agent().get(format!("{own}/status")).header("Origin", "http://evil");
    assert_eq!(call(bearer.header("Authorization", format!("Bearer {}", broker.token)).call()).0, 200);
}
