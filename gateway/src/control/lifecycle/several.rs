//! Several brokers at once: all of them, or none.

use std::sync::Arc;

use tracing::error;

use crate::broker::Stop;

use super::{Lifecycle, OpenError, Opened, Wish};

impl Lifecycle {
    /// Opens a broker for each wish, in their order. Runs to its end also when the caller goes away.
    ///
    /// # Errors
    /// The first that fails; those before it are taken back then.
    pub async fn open_all(self: &Arc<Self>, wishes: Vec<Wish>) -> Result<Vec<Opened>, OpenError> {
        let this = self.clone();
        let work = tokio::spawn(async move {
            // Before any port is taken: one that was opened and closed rests.
            for wish in &wishes {
                this.parts.inventory.find(&wish.instance_id).await.inspect_err(|error| this.note(error))?;
            }
            let mut all = Vec::with_capacity(wishes.len());
            for wish in wishes {
                match this.open(wish).await {
                    Ok(opened) => all.push(opened),
                    Err(error) => {
                        this.take_back(all).await;
                        return Err(error);
                    }
                }
            }
            Ok(all)
        });
        work.await.unwrap_or(Err(OpenError::Stopping))
    }

    /// Nobody has heard of these: their tickets are withdrawn, and brokers that were made for them closed,
    /// unless another caller got a ticket of them meanwhile.
    async fn take_back(self: &Arc<Self>, all: Vec<Opened>) {
        // A further ticket of a broker that is new itself goes first.
        for Opened { broker, token, new, .. } in all.into_iter().rev() {
            let hash = token.hash();
            let others = broker.withdraw_ticket(hash);
            if new && !others {
                self.close(&broker.id, "taken back", Stop::Closed).await;
            } else if let Err(error) = self.parts.store.remove_ticket(&hash).await {
                // Nobody knows the ticket; it ends by its time.
                self.parts.metrics.store_failed();
                error!(broker_id = broker.id, %error, "ticket not removed");
            }
        }
    }
}
