//! SPICE: the link that each channel begins with, once on each side of the gateway.
//!
//! A client shows its password to the gateway (`linked`), encrypted with the gateway's own key (`ticket`), and the
//! target gets the machine's: that stays inside. What follows is copied as it is; no picture is ever decoded.

pub mod link;
mod linked;
pub mod pieces;
pub mod ticket;

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use linked::{Linked, Welcome};
use ticket::Sealed;

/// Carries what client and target say until the client has shown its password, `early` of it first. `None` where it
/// was refused on the way, which it was told, or left. There is no deadline.
///
/// # Errors
/// A connection broke.
pub async fn until_shown<C, S>(
    client: &mut C,
    linked: &mut Linked<S>,
    early: &[u8],
) -> io::Result<Option<Sealed>>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    linked.write_all(early).await?;
    let mut bytes = [0; 1024];
    loop {
        if let Some(sealed) = linked.shown() {
            return Ok(Some(sealed));
        }
        let hears = linked.hears();
        let len = if hears { client.read(&mut bytes).await? } else { linked.read(&mut bytes).await? };
        if len == 0 {
            return Ok(None);
        }
        if hears {
            linked.write_all(&bytes[..len]).await?;
        } else {
            client.write_all(&bytes[..len]).await?;
            client.flush().await?;
        }
    }
}
