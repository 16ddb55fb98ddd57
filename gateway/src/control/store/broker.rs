//! The `broker` and `ticket` tables.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sqlx::Row;

use super::{Store, StoreError, WallTime, failed};

/// A broker that is made.
#[derive(Clone, Debug)]
pub struct BrokerRow {
    /// Its id.
    pub broker_id: String,
    /// Its instance.
    pub instance_id: String,
    /// Address and port.
    pub endpoint: SocketAddr,
    /// When it is closed if nobody uses it; its first ticket expires with it.
    pub expires_at: WallTime,
    /// SHA-256 of its first ticket.
    pub ticket: [u8; 32],
}

/// A port that closed lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Address and port.
    pub endpoint: SocketAddr,
    /// How long it rests from now on.
    pub left: Duration,
}

fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Store {
    /// Records a broker and its ticket.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is recorded then.
    pub async fn add_broker(&self, row: &BrokerRow) -> Result<(), StoreError> {
        const WHAT: &str = "add broker";
        let mut write = self.pool.begin().await.map_err(failed(WHAT))?;
        let broker = "INSERT INTO broker (broker_id, instance_id, broker_ip, broker_port, created_at, \
                      expires_at) VALUES ($1, $2, $3, $4, $5, $6)";
        sqlx::query(broker)
            .bind(&row.broker_id)
            .bind(&row.instance_id)
            .bind(row.endpoint.ip().to_string())
            .bind(row.endpoint.port())
            .bind(WallTime::now().0)
            .bind(row.expires_at.0)
            .execute(&mut *write)
            .await
            .map_err(failed(WHAT))?;
        sqlx::query("INSERT INTO ticket (hash, broker_id, expires_at) VALUES ($1, $2, $3)")
            .bind(hex(&row.ticket))
            .bind(&row.broker_id)
            .bind(row.expires_at.0)
            .execute(&mut *write)
            .await
            .map_err(failed(WHAT))?;
        write.commit().await.map_err(failed(WHAT))
    }

    /// Records that a broker was closed, and why. The first record stands.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn close_broker(&self, id: &str, reason: &str) -> Result<(), StoreError> {
        let close = sqlx::query(
            "UPDATE broker SET closed_at = $2, reason = $3 WHERE broker_id = $1 AND closed_at IS NULL",
        );
        let close = close.bind(id).bind(WallTime::now().0).bind(reason);
        close.execute(&self.pool).await.map_err(failed("close broker"))?;
        Ok(())
    }

    /// Records for all brokers that are open in the store that they are closed. Returns how many.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn close_all_brokers(&self, reason: &str) -> Result<u64, StoreError> {
        let close = sqlx::query("UPDATE broker SET closed_at = $1, reason = $2 WHERE closed_at IS NULL");
        let closed = close.bind(WallTime::now().0).bind(reason).execute(&self.pool).await;
        Ok(closed.map_err(failed("close brokers"))?.rows_affected())
    }

    /// The ports that closed less than `rest` ago. A port that closed in the future, by a clock that was
    /// set back since, rests for all of `rest`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn resting(&self, rest: Duration) -> Result<Vec<Rest>, StoreError> {
        let now = WallTime::now().0;
        let rest_ms = i64::try_from(rest.as_millis()).unwrap_or(i64::MAX);
        let query = sqlx::query("SELECT broker_ip, broker_port, closed_at FROM broker WHERE closed_at > $1");
        let rows = query.bind(now.saturating_sub(rest_ms)).fetch_all(&self.pool).await;
        let rows = rows.map_err(failed("list resting ports"))?;
        let rests = rows.iter().map(|row| {
            let ip: String = row.try_get("broker_ip")?;
            let ip: IpAddr = ip.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            let closed_at: i64 = row.try_get("closed_at")?;
            let left = closed_at.saturating_add(rest_ms).saturating_sub(now).min(rest_ms);
            Ok(Rest {
                endpoint: SocketAddr::new(ip, row.try_get("broker_port")?),
                left: Duration::from_millis(left.unsigned_abs()),
            })
        });
        rests.collect::<Result<_, _>>().map_err(failed("read resting ports"))
    }

    /// Forgets brokers that closed before `before`, and their tickets.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn forget_brokers(&self, before: WallTime) -> Result<u64, StoreError> {
        let forget = sqlx::query("DELETE FROM broker WHERE closed_at < $1").bind(before.0);
        Ok(forget.execute(&self.pool).await.map_err(failed("forget brokers"))?.rows_affected())
    }

    /// Records that a ticket was used. Returns whether it was unused until now.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn use_ticket(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        let used = sqlx::query("UPDATE ticket SET used_at = $2 WHERE hash = $1 AND used_at IS NULL");
        let used = used.bind(hex(hash)).bind(WallTime::now().0).execute(&self.pool).await;
        Ok(used.map_err(failed("use ticket"))?.rows_affected() == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(&folder.path().join("store.db")).await.expect("a store");
        (folder, store)
    }

    fn row(id: &str) -> BrokerRow {
        BrokerRow {
            broker_id: id.into(),
            instance_id: "i-1".into(),
            endpoint: "127.0.80.1:10000".parse().expect("an endpoint"),
            expires_at: WallTime::now().after(Duration::from_secs(60)),
            ticket: [id.len() as u8; 32],
        }
    }

    #[tokio::test]
    async fn a_ticket_is_used_once_also_after_a_restart() {
        let (folder, store) = store().await;
        store.add_broker(&row("b-1")).await.expect("adds");
        assert!(store.use_ticket(&row("b-1").ticket).await.expect("uses"));
        store.close().await;
        let store = Store::open(&folder.path().join("store.db")).await.expect("opens again");
        assert!(!store.use_ticket(&row("b-1").ticket).await.expect("answers"));
        assert!(!store.use_ticket(&[9; 32]).await.expect("answers"));
    }

    #[tokio::test]
    async fn a_closed_port_rests_and_a_broker_is_closed_once() {
        let (_folder, store) = store().await;
        let rest = Duration::from_secs(120);
        store.add_broker(&row("b-1")).await.expect("adds");
        assert_eq!(store.resting(rest).await.expect("answers"), []);
        store.close_broker("b-1", "expired").await.expect("closes");
        store.close_broker("b-1", "again").await.expect("closes");
        let rests = store.resting(rest).await.expect("answers");
        assert_eq!(rests.len(), 1);
        assert_eq!(rests[0].endpoint, row("b-1").endpoint);
        assert!(rests[0].left <= rest && rests[0].left > rest / 2);
        assert_eq!(store.close_all_brokers("restart").await.expect("answers"), 0);
    }

    #[tokio::test]
    async fn a_broker_is_recorded_with_its_ticket_or_not_at_all() {
        let (_folder, store) = store().await;
        store.add_broker(&row("b-1")).await.expect("adds");
        let same_ticket = BrokerRow { broker_id: "b-2".into(), ..row("b-1") };
        assert!(store.add_broker(&same_ticket).await.is_err());
        assert_eq!(store.close_all_brokers("test").await.expect("answers"), 1);
        assert_eq!(store.forget_brokers(WallTime(i64::MAX)).await.expect("answers"), 1);
        assert!(!store.use_ticket(&row("b-1").ticket).await.expect("its ticket went with it"));
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store.db");
        std::fs::write(&path, "this is no database, whatever its name says").expect("writes");
        let error = Store::open(&path).await.expect_err("no database");
        assert!(error.to_string().contains("not a database"), "{error}");
    }
}
