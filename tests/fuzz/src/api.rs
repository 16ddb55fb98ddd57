//! Bodies of the API: what is taken is kept as it means.

use portcullis::control::api::wire::{CreateBroker, ImportInstances, PutInstance};
use portcullis::control::inventory;

/// A body, as JSON.
pub fn run(bytes: &[u8]) {
    if let Ok(body) = serde_json::from_slice::<PutInstance>(bytes) {
        let id = body.instance_id.clone().unwrap_or_else(|| "i-8snyruit".to_owned());
        if let Ok(row) = body.into_row(id) {
            assert!(inventory::target(&row).is_ok(), "{row:?}");
        }
    }
    if let Ok(body) = serde_json::from_slice::<ImportInstances>(bytes) {
        let _ = body.into_rows();
    }
    if let Ok(body) = serde_json::from_slice::<CreateBroker>(bytes) {
        let _ = body.into_wish();
    }
}
