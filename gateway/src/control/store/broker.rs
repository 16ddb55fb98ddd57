//! The `broker` and `ticket` tables.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::broker::ticket::hex;

use super::group::Kind;
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
    /// Whether clients may only look.
    pub view_only: bool,
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

/// Rows of broker id, instance id, address, port, client, tickets, times of begin and end, hash of the ticket, and
/// whether it is for viewing only.
pub(super) const ADD: &str = "INSERT INTO broker \
    (broker_id, instance_id, broker_ip, broker_port, client, tickets, created_at, expires_at, view_only) \
    SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, \
    value->>9 FROM jsonb_each($2); \
    INSERT INTO ticket (hash, broker_id, expires_at) SELECT value->>8, value->>0, value->>7 FROM jsonb_each($2);";

/// Rows of broker id, time and reason.
pub(super) const CLOSE: &str = "UPDATE broker SET closed_at = value->>1, reason = value->>2 FROM jsonb_each($3) \
    WHERE broker_id = value->>0 AND closed_at IS NULL;";

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
        view_only: row.try_get::<i64, _>("view_only")? != 0,
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
        let values = (
            &row.broker_id,
            &row.instance_id,
            row.endpoint.ip(),
            row.endpoint.port(),
            row.client,
            if row.tickets_optional { "optional" } else { "required" },
            row.created_at.0,
            row.expires_at.0,
            hex(ticket),
            u8::from(row.view_only),
        );
        self.group.ask(Kind::AddBroker, &row.broker_id, &values).await.map(drop)
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
        self.run(remove).await.map_err(failed("remove ticket"))?;
        Ok(())
    }

    /// Records that a broker was closed, and why. The first record stands.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn close_broker(&self, id: &str, reason: &str) -> Result<(), StoreError> {
        let values = (id, WallTime::now().0, reason);
        self.group.ask(Kind::CloseBroker, id, &values).await.map(drop)
    }

    /// The brokers that are open in the store.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn open_brokers(&self) -> Result<Vec<BrokerRow>, StoreError> {
        let rows = self.rows(sqlx::query("SELECT * FROM broker WHERE closed_at IS NULL")).await;
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
        let rows = self.rows(sqlx::query(query).bind(broker_id)).await.map_err(failed(WHAT))?;
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
        let rows = self.rows(query.bind(now.saturating_sub(rest_ms))).await;
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
        Ok(self.run(forget).await.map_err(failed("forget brokers"))?.rows_affected())
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
