//! Who looks: metrics, status and lists, about once a second.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::round::Shift;
use crate::scene::Scene;

const PAUSE: Duration = Duration::from_millis(500);

const PATHS: [&str; 7] = [
    "/v1/status",
    "/v1/brokers?limit=1000",
    "/v1/instances",
    "/v1/sessions?limit=100",
    "/v1/sessions?state=live&limit=1000",
    "/v1/sessions?state=ended&limit=100",
    "/openapi.json",
];

/// All of them again and again until the end of the shift.
pub fn work(scene: &Scene, shift: &Shift) {
    let api = scene.gateway.api().clone().kept();
    while !shift.is_over() {
        assert!(scene.gateway.metrics().contains("portcullis_sessions_total"), "a page without metrics");
        for path in PATHS {
            let (status, answer) = api.get(path);
            assert_eq!(status, 200, "{path}: {answer}");
            let items = answer.get("items").map(Value::is_array);
            assert_ne!(items, Some(false), "{path}: {answer}");
        }
        thread::sleep(PAUSE);
    }
}
