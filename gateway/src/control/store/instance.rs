//! The `instance` table.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::broker::Secret;

use super::{Store, StoreError, WallTime, failed};

/// A row, as the cloud names its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceRow {
    /// As the cloud names it.
    pub instance_id: String,
    /// `kvm` or `lxc`.
    pub hypervisor: String,
    /// Name or address of the hypervisor.
    pub host: String,
    /// TCP port of the console.
    pub graphics_port: u16,
    /// A name of `broker::Protocol`.
    pub graphics_protocol: String,
    /// The console's password: for the console, and for nobody else.
    pub graphics_passwd: Option<Secret>,
}

const COLUMNS: &str = "instance_id, hypervisor, host, graphics_port, graphics_protocol, graphics_passwd";

fn read(row: &SqliteRow) -> Result<InstanceRow, sqlx::Error> {
    Ok(InstanceRow {
        instance_id: row.try_get("instance_id")?,
        hypervisor: row.try_get("hypervisor")?,
        host: row.try_get("host")?,
        graphics_port: row.try_get("graphics_port")?,
        graphics_protocol: row.try_get("graphics_protocol")?,
        graphics_passwd: row.try_get::<Option<String>, _>("graphics_passwd")?.and_then(Secret::new),
    })
}

impl Store {
    /// Writes the row over any that is there. Returns whether it is new. Without a password the one that
    /// is there stays.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn put_instance(&self, row: &InstanceRow) -> Result<bool, StoreError> {
        const WHAT: &str = "put instance";
        let mut write = self.pool.begin().await.map_err(failed(WHAT))?;
        let known = sqlx::query("SELECT 1 FROM instance WHERE instance_id = $1").bind(&row.instance_id);
        let known = known.fetch_optional(&mut *write).await.map_err(failed(WHAT))?.is_some();
        let put = "INSERT INTO instance (instance_id, hypervisor, host, graphics_port, graphics_protocol, \
                   graphics_passwd, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7) \
                   ON CONFLICT (instance_id) DO UPDATE SET hypervisor = $2, host = $3, graphics_port = $4, \
                   graphics_protocol = $5, graphics_passwd = COALESCE($6, instance.graphics_passwd), \
                   updated_at = $7";
        let put = sqlx::query(put)
            .bind(&row.instance_id)
            .bind(&row.hypervisor)
            .bind(&row.host)
            .bind(row.graphics_port)
            .bind(&row.graphics_protocol)
            .bind(row.graphics_passwd.as_ref().map(Secret::reveal))
            .bind(WallTime::now().0);
        put.execute(&mut *write).await.map_err(failed(WHAT))?;
        write.commit().await.map_err(failed(WHAT))?;
        Ok(!known)
    }

    /// The row of an instance.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn instance(&self, id: &str) -> Result<Option<InstanceRow>, StoreError> {
        let query = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM instance WHERE instance_id = $1"));
        let row = sqlx::query(query).bind(id).fetch_optional(&self.pool).await;
        row.and_then(|row| row.as_ref().map(read).transpose()).map_err(failed("read instance"))
    }

    /// At most `limit` rows with ids greater than `after`, in their order.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn instances(&self, after: &str, limit: u32) -> Result<Vec<InstanceRow>, StoreError> {
        let query =
            format!("SELECT {COLUMNS} FROM instance WHERE instance_id > $1 ORDER BY instance_id LIMIT $2");
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(query)).bind(after).bind(limit).fetch_all(&self.pool).await;
        rows.and_then(|rows| rows.iter().map(read).collect()).map_err(failed("list instances"))
    }

    /// Removes the row. Returns whether there was one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn remove_instance(&self, id: &str) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM instance WHERE instance_id = $1").bind(id);
        let removed = removed.execute(&self.pool).await.map_err(failed("remove instance"))?;
        Ok(removed.rows_affected() > 0)
    }
}
