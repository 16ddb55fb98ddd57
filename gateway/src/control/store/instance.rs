//! The `instance` table.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, SqliteConnection};

use crate::broker::Secret;
use crate::broker::target::{local, tls::Columns};

use super::group::Kind;
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
    /// TLS on the way to it.
    pub tls: Columns,
    /// The fingerprint of the certificate that it showed first, where that counts. It is read, and only written by
    /// [`Store::meet_certificate`].
    pub tls_seen: Option<String>,
    /// Where it is on this machine; host and port are empty then.
    pub local: local::Columns,
}

const COLUMNS: &str = "instance_id, hypervisor, host, graphics_port, graphics_protocol, graphics_passwd, \
    tls, tls_pin, tls_server_name, tls_start, tls_seen, graphics_path, graphics_command, graphics_arguments";

/// Rows are ids, each of which may be there more than once.
pub(super) const FIND: &str = "SELECT 0, instance_id, hypervisor, host, graphics_port, graphics_protocol, \
    graphics_passwd, tls, tls_pin, tls_server_name, tls_start, tls_seen, graphics_path, graphics_command, \
    graphics_arguments FROM json_each($1) CROSS JOIN instance ON instance_id = value;";

/// What became of rows that were written together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Rows that are new.
    pub created: u64,
    /// Rows that were there.
    pub updated: u64,
}

/// Rows of one statement: fourteen values each, and SQLite takes 32,766 of them.
const BATCH: usize = 1_000;

fn read(row: &SqliteRow) -> Result<InstanceRow, sqlx::Error> {
    Ok(InstanceRow {
        instance_id: row.try_get("instance_id")?,
        hypervisor: row.try_get("hypervisor")?,
        host: row.try_get("host")?,
        graphics_port: row.try_get("graphics_port")?,
        graphics_protocol: row.try_get("graphics_protocol")?,
        graphics_passwd: row.try_get::<Option<String>, _>("graphics_passwd")?.and_then(Secret::new),
        tls: Columns {
            tls: row.try_get("tls")?,
            pin: row.try_get("tls_pin")?,
            server_name: row.try_get("tls_server_name")?,
            start: row.try_get("tls_start")?,
        },
        tls_seen: row.try_get("tls_seen")?,
        local: local::Columns {
            path: row.try_get("graphics_path")?,
            command: row.try_get("graphics_command")?,
            arguments: row.try_get("graphics_arguments")?,
        },
    })
}

async fn count(connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    sqlx::query("SELECT COUNT(*) FROM instance").fetch_one(connection).await?.try_get(0)
}

impl Store {
    /// Writes the row over any that is there. Returns whether it is new. Without a password the one that
    /// is there stays.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn put_instance(&self, row: &InstanceRow) -> Result<bool, StoreError> {
        const WHAT: &str = "put instance";
        let mut write = self.write().await.map_err(failed(WHAT))?;
        let known = sqlx::query("SELECT 1 FROM instance WHERE instance_id = $1").bind(&row.instance_id);
        let known = known.fetch_optional(&mut *write).await.map_err(failed(WHAT))?.is_some();
        let put = "INSERT INTO instance (instance_id, hypervisor, host, graphics_port, graphics_protocol, \
                   graphics_passwd, updated_at, tls, tls_pin, tls_server_name, tls_start, \
                   graphics_path, graphics_command, graphics_arguments) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
                   ON CONFLICT (instance_id) DO UPDATE SET hypervisor = $2, host = $3, graphics_port = $4, \
                   graphics_protocol = $5, graphics_passwd = COALESCE($6, instance.graphics_passwd), \
                   updated_at = $7, tls = $8, tls_pin = $9, tls_server_name = $10, tls_start = $11, \
                   graphics_path = $12, graphics_command = $13, graphics_arguments = $14";
        let put = sqlx::query(put)
            .bind(&row.instance_id)
            .bind(&row.hypervisor)
            .bind(&row.host)
            .bind(row.graphics_port)
            .bind(&row.graphics_protocol)
            .bind(row.graphics_passwd.as_ref().map(Secret::reveal))
            .bind(WallTime::now().0)
            .bind(&row.tls.tls)
            .bind(&row.tls.pin)
            .bind(&row.tls.server_name)
            .bind(&row.tls.start)
            .bind(&row.local.path)
            .bind(&row.local.command)
            .bind(&row.local.arguments);
        put.execute(&mut *write).await.map_err(failed(WHAT))?;
        write.commit().await.map_err(failed(WHAT))?;
        Ok(!known)
    }

    /// Writes all rows, or none. As [`Self::put_instance`] for each; no two may
    /// have one id.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is written then.
    pub async fn put_instances(&self, rows: &[InstanceRow]) -> Result<Imported, StoreError> {
        const WHAT: &str = "put instances";
        let now = WallTime::now().0;
        let mut write = self.write().await.map_err(failed(WHAT))?;
        let before = count(&mut write).await.map_err(failed(WHAT))?;
        for batch in rows.chunks(BATCH) {
            let mut put = QueryBuilder::new(
                "INSERT INTO instance (instance_id, hypervisor, host, graphics_port, graphics_protocol, \
                 graphics_passwd, updated_at, tls, tls_pin, tls_server_name, tls_start, graphics_path, \
                 graphics_command, graphics_arguments) ",
            );
            put.push_values(batch, |mut values, row| {
                values
                    .push_bind(&row.instance_id)
                    .push_bind(&row.hypervisor)
                    .push_bind(&row.host)
                    .push_bind(row.graphics_port)
                    .push_bind(&row.graphics_protocol)
                    .push_bind(row.graphics_passwd.as_ref().map(Secret::reveal))
                    .push_bind(now)
                    .push_bind(&row.tls.tls)
                    .push_bind(&row.tls.pin)
                    .push_bind(&row.tls.server_name)
                    .push_bind(&row.tls.start)
                    .push_bind(&row.local.path)
                    .push_bind(&row.local.command)
                    .push_bind(&row.local.arguments);
            });
            put.push(
                " ON CONFLICT (instance_id) DO UPDATE SET hypervisor = excluded.hypervisor, \
                 host = excluded.host, graphics_port = excluded.graphics_port, \
                 graphics_protocol = excluded.graphics_protocol, \
                 graphics_passwd = COALESCE(excluded.graphics_passwd, instance.graphics_passwd), \
                 updated_at = excluded.updated_at, tls = excluded.tls, tls_pin = excluded.tls_pin, \
                 tls_server_name = excluded.tls_server_name, tls_start = excluded.tls_start, \
                 graphics_path = excluded.graphics_path, graphics_command = excluded.graphics_command, \
                 graphics_arguments = excluded.graphics_arguments",
            );
            put.build().execute(&mut *write).await.map_err(failed(WHAT))?;
        }
        // Rows are only added: what the table did not grow by was there.
        let created = count(&mut write).await.map_err(failed(WHAT))?.saturating_sub(before);
        write.commit().await.map_err(failed(WHAT))?;
        Ok(Imported { created, updated: (rows.len() as u64).saturating_sub(created) })
    }

    /// The row of an instance.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn instance(&self, id: &str) -> Result<Option<InstanceRow>, StoreError> {
        let row = self.group.ask(Kind::FindInstance, id, &id).await?;
        row.as_ref().map(read).transpose().map_err(failed("read instance"))
    }

    /// At most `limit` rows with ids greater than `after`, in their order.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn instances(&self, after: &str, limit: u32) -> Result<Vec<InstanceRow>, StoreError> {
        let query =
            format!("SELECT {COLUMNS} FROM instance WHERE instance_id > $1 ORDER BY instance_id LIMIT $2");
        let rows = self.rows(sqlx::query(sqlx::AssertSqlSafe(query)).bind(after).bind(limit)).await;
        rows.and_then(|rows| rows.iter().map(read).collect()).map_err(failed("list instances"))
    }

    /// At most `limit` rows behind the first `offset`, in the order of their ids, and how many there are.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn instances_at(&self, offset: u32, limit: u32) -> Result<(Vec<InstanceRow>, u64), StoreError> {
        const WHAT: &str = "list instances";
        // Of one moment: both in one transaction.
        let mut look = self.look().await.map_err(failed(WHAT))?;
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM instance").fetch_one(&mut *look).await;
        let count: i64 = count.map_err(failed(WHAT))?;
        let query = format!("SELECT {COLUMNS} FROM instance ORDER BY instance_id LIMIT $1 OFFSET $2");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(limit).bind(offset);
        let rows = query.fetch_all(&mut *look).await.map_err(failed(WHAT))?;
        look.rollback().await.map_err(failed(WHAT))?;
        let rows = rows.iter().map(read).collect::<Result<_, _>>().map_err(failed(WHAT))?;
        Ok((rows, count.unsigned_abs()))
    }

    /// The fingerprint of the certificate that the instance is known by: `shown` from now on, where none was met
    /// before. `None` where there is no such instance.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn meet_certificate(&self, id: &str, shown: &str) -> Result<Option<String>, StoreError> {
        // One statement: of two that meet an instance at a time, both are told the same.
        let meet =
            "UPDATE instance SET tls_seen = COALESCE(tls_seen, $2) WHERE instance_id = $1 RETURNING tls_seen";
        let met = self.rows(sqlx::query(meet).bind(id).bind(shown)).await;
        let met = met.and_then(|rows| rows.first().map(|row| row.try_get("tls_seen")).transpose());
        met.map_err(failed("meet certificate"))
    }

    /// Forgets the certificate of an instance: the next one counts. Returns whether there is such an instance.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn forget_certificate(&self, id: &str) -> Result<bool, StoreError> {
        let forget = sqlx::query("UPDATE instance SET tls_seen = NULL WHERE instance_id = $1").bind(id);
        let forgotten = self.run(forget).await.map_err(failed("forget certificate"))?;
        Ok(forgotten.rows_affected() > 0)
    }

    /// Removes the row. Returns whether there was one.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn remove_instance(&self, id: &str) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM instance WHERE instance_id = $1").bind(id);
        let removed = self.run(removed).await.map_err(failed("remove instance"))?;
        Ok(removed.rows_affected() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, host: &str) -> InstanceRow {
        InstanceRow {
            instance_id: id.into(),
            hypervisor: "kvm".into(),
            host: host.into(),
            graphics_port: 5900,
            graphics_protocol: "vnc".into(),
            graphics_passwd: None,
            tls: Columns::default(),
            tls_seen: None,
            local: local::Columns::default(),
        }
    }

    #[tokio::test]
    async fn the_first_certificate_counts_until_it_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store.db")).await.expect("a store");
        assert_eq!(store.meet_certificate("i-1", "A").await.expect("answers"), None);
        assert!(!store.forget_certificate("i-1").await.expect("answers"));
        store.put_instance(&row("i-1", "h")).await.expect("writes");
        for shown in ["A", "B", "A"] {
            assert_eq!(store.meet_certificate("i-1", shown).await.expect("answers").as_deref(), Some("A"));
        }
        // An instance that moves is the same machine.
        store.put_instance(&row("i-1", "elsewhere")).await.expect("writes");
        let seen = store.instance("i-1").await.expect("answers").and_then(|row| row.tls_seen);
        assert_eq!(seen.as_deref(), Some("A"));
        assert!(store.forget_certificate("i-1").await.expect("answers"));
        assert_eq!(store.meet_certificate("i-1", "B").await.expect("answers").as_deref(), Some("B"));
    }

    #[tokio::test]
    async fn rows_are_written_together_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store.db")).await.expect("a store");
        let with_password =
            |host| InstanceRow { graphics_passwd: Secret::new("secret".into()), ..row("i-0000", host) };
        store.put_instance(&with_password("old")).await.expect("writes");
        // More than one batch, and the last one is not full.
        let mut rows: Vec<_> = (0..2_500).map(|number| row(&format!("i-{number:04}"), "new")).collect();
        let imported = store.put_instances(&rows).await.expect("writes");
        assert_eq!(imported, Imported { created: 2_499, updated: 1 });
        // A row without a password leaves the one that is there.
        assert_eq!(store.instance("i-0000").await.expect("answers"), Some(with_password("new")));
        // One without TLS is one without TLS, and one that is elsewhere is not here any more.
        let text = |text: &str| Some(text.to_owned());
        let tls =
            Columns { tls: text("pin"), pin: text("AB"), server_name: text("x"), start: text("connect") };
        let local = local::Columns::new(text("a/b"), text("lxc"), &["c1".to_owned()]);
        let encrypted = InstanceRow { tls, local, ..row("i-0001", "new") };
        store.put_instance(&encrypted).await.expect("writes");
        assert_eq!(store.instance("i-0001").await.expect("answers"), Some(encrypted.clone()));
        store.put_instances(&[row("i-0001", "new")]).await.expect("writes");
        assert_eq!(store.instance("i-0001").await.expect("answers"), Some(row("i-0001", "new")));
        store.put_instances(std::slice::from_ref(&encrypted)).await.expect("writes");
        assert_eq!(store.instance("i-0001").await.expect("answers"), Some(encrypted));
        assert_eq!(store.put_instances(&[]).await.expect("answers"), Imported { created: 0, updated: 0 });

        // The store refuses a row of the last batch: those before it are not there either.
        let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON instance WHEN NEW.host = 'bad' \
                      BEGIN SELECT RAISE(ABORT, 'refused'); END";
        store.run(sqlx::query(refuse)).await.expect("makes a trigger");
        rows.iter_mut().for_each(|row| row.host = "newer".into());
        rows[2_499].host = "bad".into();
        assert!(store.put_instances(&rows).await.is_err());
        assert_eq!(store.instance("i-0000").await.expect("answers"), Some(with_password("new")));
    }
}
