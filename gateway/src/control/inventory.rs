//! Instance to target: our own table.

use crate::broker::Target;

use super::store::{InstanceRow, Store, StoreError};

/// Why an instance has no target.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// There is no such instance.
    #[error("there is no instance {0:?}")]
    Unknown(String),
    /// The source cannot be asked, or says nonsense.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The daemon stops.
    #[error("the gateway is stopping")]
    Stopping,
    /// A row that a program of another version wrote.
    #[error("instance {instance_id:?}: {problem}")]
    Row {
        /// The instance.
        instance_id: String,
        /// What is wrong with its row.
        problem: String,
    },
}

/// Where consoles are.
#[derive(Clone, Debug)]
pub struct Inventory {
    store: Store,
}

impl Inventory {
    /// The `instance` table of `store`.
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    /// The target of an instance, as of now.
    ///
    /// # Errors
    /// See [`InventoryError`].
    pub async fn find(&self, instance_id: &str) -> Result<Target, InventoryError> {
        let row = self.store.instance(instance_id).await?;
        let row = row.ok_or_else(|| InventoryError::Unknown(instance_id.to_owned()))?;
        target(&row)
    }
}

/// The target that a row describes.
///
/// # Errors
/// [`InventoryError::Row`].
pub fn target(row: &InstanceRow) -> Result<Target, InventoryError> {
    let nonsense = |problem| InventoryError::Row { instance_id: row.instance_id.clone(), problem };
    let protocol = row.graphics_protocol.parse().map_err(nonsense)?;
    let tls = row.tls.meant(protocol).map_err(nonsense)?;
    let local = row.local.meant(protocol).map_err(nonsense)?;
    let target = Target::new(row.host.clone(), row.graphics_port, protocol);
    let secret = row.graphics_passwd.clone();
    Ok(Target { secret, tls: tls.map(Box::new), local: local.map(Box::new), ..target })
}
