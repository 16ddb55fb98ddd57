//! The `broker` and `ticket` tables.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::session::KILLED;
use super::{Store, StoreError, WallTime, failed};

/// A broker, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRow {
    /// Its id.
    pub broker_id: String,
    /// Its instance.
    pub instance_id: String,
    /// Address and port.
    pub endpoint: SocketAddr,
    /// Prefix that clients come from.
    pub client: Option<IpNet>,
    /// Whether clients need no ticket.
    pub tickets_optional: bool,
    /// When it was made.
    pub created_at: WallTime,
    /// When it is closed if nobody uses it.
    pub expires_at: WallTime,
}

/// A ticket, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TicketRow {
    /// SHA-256 of the ticket.
    pub hash: [u8; 32],
    /// When its session has to have begun.
    pub expires_at: WallTime,
    /// The session that it let in.
    pub session: Option<LastSession>,
}

/// The session of a ticket, as it was when the daemon before this one ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastSession {
    /// Its id.
    pub id: String,
    /// Where it came from.
    pub client: IpAddr,
    /// When it ended.
    pub ended_at: WallTime,
    /// It was killed: nobody comes back into it.
    pub killed: bool,
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

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    (text.len() == 64).then_some(hash)
}

/// A column of text that means something else.
fn parsed<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &SqliteRow,
    column: &str,
) -> Result<T, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|error| sqlx::Error::ColumnDecode { index: column.into(), source: Box::new(error) })
}

fn endpoint(row: &SqliteRow) -> Result<SocketAddr, sqlx::Error> {
    Ok(SocketAddr::new(parsed(row, "broker_ip")?, row.try_get("broker_port")?))
}

fn read(row: &SqliteRow) -> Result<BrokerRow, sqlx::Error> {
    let client: Option<&str> = row.try_get("client")?;
    Ok(BrokerRow {
        broker_id: row.try_get("broker_id")?,
        instance_id: row.try_get("instance_id")?,
        endpoint: endpoint(row)?,
        client: client.map(|_| parsed(row, "client")).transpose()?,
        tickets_optional: row.try_get::<&str, _>("tickets")? == "optional",
        created_at: WallTime(row.try_get("created_at")?),
        expires_at: WallTime(row.try_get("expires_at")?),
    })
}

impl Store {
    /// Records a broker and its first ticket.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is recorded then.
    pub async fn add_broker(&self, row: &BrokerRow, ticket: &[u8; 32]) -> Result<(), StoreError> {
        const WHAT: &str = "add broker";
        let mut write = self.write().await.map_err(failed(WHAT))?;
        let broker = "INSERT INTO broker (broker_id, instance_id, broker_ip, broker_port, client, tickets, \
                      created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        sqlx::query(broker)
            .bind(&row.broker_id)
            .bind(&row.instance_id)
            .bind(row.endpoint.ip().to_string())
            .bind(row.endpoint.port())
            .bind(row.client.map(|client| client.to_string()))
            .bind(if row.tickets_optional { "optional" } else { "required" })
            .bind(row.created_at.0)
            .bind(row.expires_at.0)
            .execute(&mut *write)
            .await
            .map_err(failed(WHAT))?;
        insert_ticket(&mut write, &row.broker_id, ticket, row.expires_at).await.map_err(failed(WHAT))?;
        write.commit().await.map_err(failed(WHAT))
    }

    /// Records a further ticket, and that the broker stays at least as long.
    ///
    /// # Errors
    /// See [`StoreError`]; nothing is recorded then.
    pub async fn add_ticket(
        &self,
        broker_id: &str,
        ticket: &[u8; 32],
        expires_at: WallTime,
    ) -> Result<(), StoreError> {
        const WHAT: &str = "add ticket";
        let mut write = self.write().await.map_err(failed(WHAT))?;
        insert_ticket(&mut write, broker_id, ticket, expires_at).await.map_err(failed(WHAT))?;
        sqlx::query("UPDATE broker SET expires_at = MAX(expires_at, $2) WHERE broker_id = $1")
            .bind(broker_id)
            .bind(expires_at.0)
            .execute(&mut *write)
            .await
            .map_err(failed(WHAT))?;
        write.commit().await.map_err(failed(WHAT))
    }

    /// Removes a ticket that nobody was given.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn remove_ticket(&self, ticket: &[u8; 32]) -> Result<(), StoreError> {
        let remove = sqlx::query("DELETE FROM ticket WHERE hash = $1").bind(hex(ticket));
        remove.execute(&self.pool).await.map_err(failed("remove ticket"))?;
        Ok(())
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

    /// The brokers that are open in the store.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn open_brokers(&self) -> Result<Vec<BrokerRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM broker WHERE closed_at IS NULL").fetch_all(&self.pool).await;
        rows.and_then(|rows| rows.iter().map(read).collect()).map_err(failed("list open brokers"))
    }

    /// The tickets of a broker, with the sessions that they let in. A session that is not recorded as
    /// ended ended now: nobody is in when this is asked.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn tickets(&self, broker_id: &str) -> Result<Vec<TicketRow>, StoreError> {
        const WHAT: &str = "list tickets";
        let query = "SELECT ticket.hash, ticket.expires_at, ticket.session_id, session.client, \
                     session.ended_at, session.end_reason \
                     FROM ticket LEFT JOIN session ON session.session_id = ticket.session_id \
                     WHERE ticket.broker_id = $1";
        let rows = sqlx::query(query).bind(broker_id).fetch_all(&self.pool).await.map_err(failed(WHAT))?;
        let now = WallTime::now();
        let read = |row: &SqliteRow| {
            let session: Option<String> = row.try_get("session_id")?;
            let ended_at: Option<i64> = row.try_get("ended_at")?;
            let ended_at = ended_at.map_or(now, |at| WallTime(at.min(now.0)));
            let reason: Option<&str> = row.try_get("end_reason")?;
            let killed = reason == Some(KILLED);
            let last = |id| {
                Ok::<_, sqlx::Error>(LastSession { id, client: parsed(row, "client")?, ended_at, killed })
            };
            let session = session.map(last);
            let hash: &str = row.try_get("hash")?;
            let hash = unhex(hash).ok_or_else(|| sqlx::Error::Decode("ticket.hash is no hash".into()))?;
            Ok(TicketRow {
                hash,
                expires_at: WallTime(row.try_get("expires_at")?),
                session: session.transpose()?,
            })
        };
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(failed(WHAT))
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
            let closed_at: i64 = row.try_get("closed_at")?;
            let left = closed_at.saturating_add(rest_ms).saturating_sub(now).clamp(0, rest_ms);
            Ok(Rest { endpoint: endpoint(row)?, left: Duration::from_millis(left.unsigned_abs()) })
        });
        rests.collect::<Result<_, sqlx::Error>>().map_err(failed("read resting ports"))
    }

    /// Forgets brokers that closed before `before`, and their tickets.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn forget_brokers(&self, before: WallTime) -> Result<u64, StoreError> {
        let forget = sqlx::query("DELETE FROM broker WHERE closed_at < $1").bind(before.0);
        Ok(forget.execute(&self.pool).await.map_err(failed("forget brokers"))?.rows_affected())
    }
}

async fn insert_ticket(
    write: &mut sqlx::SqliteConnection,
    broker_id: &str,
    hash: &[u8; 32],
    expires_at: WallTime,
) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO ticket (hash, broker_id, expires_at) VALUES ($1, $2, $3)");
    insert.bind(hex(hash)).bind(broker_id).bind(expires_at.0).execute(write).await?;
    Ok(())
}

/// Binds a ticket to a session. Returns whether it was unused, or of this very session.
pub(super) async fn use_ticket(
    write: &mut sqlx::SqliteConnection,
    hash: &[u8; 32],
    session_id: &str,
) -> Result<bool, sqlx::Error> {
    let used =
        "UPDATE ticket SET session_id = $2 WHERE hash = $1 AND (session_id IS NULL OR session_id = $2)";
    let used = sqlx::query(used).bind(hex(hash)).bind(session_id).execute(write).await?;
    Ok(used.rows_affected() == 1)
}
