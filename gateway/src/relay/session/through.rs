//! TLS that goes through the gateway, from a viewer to its console: the gateway sees who comes in, and nothing more.

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use crate::broker::ticket::Token;
use crate::broker::viewer_file::{Faces, ViewerTls};
use crate::broker::{Broker, Refusal};

use super::{Caller, Greeting, Otherwise, Reached, Shared, Welcome};

impl Caller {
    /// A tunnel of which the console is the end. Whoever comes shows its ticket with the wish for it, once for each
    /// channel, or is awaited at its address.
    pub(super) async fn ask_to_pass(
        &mut self,
        token: Option<Token>,
        broker: &Arc<Broker>,
        shared: &Shared,
    ) -> Result<Reached, Otherwise> {
        shared.viewer.may_pass(broker).map_err(|_| Refusal::OtherProtocol)?;
        let (client, now) = (self.client.ip(), Instant::now());
        let claim = if token.is_none() && broker.awaits_native(client, now) {
            broker.claim_native(client, now)?
        } else {
            self.claim(broker, token.as_ref(), shared)?
        };
        let greeting = Greeting::Tunnel;
        let welcome = Welcome { broker: broker.clone(), claim, greeting, early: Vec::new(), dialled: None };
        self.reach(welcome, shared).await
    }
}

impl Faces for Shared {
    fn face(&self, broker: Arc<Broker>) -> BoxFuture<'_, Result<ViewerTls, Refusal>> {
        async move {
            let resolved = timeout(self.answer, self.desk.resolve(broker.clone())).await;
            let target = resolved.map_err(|_| Refusal::Unavailable)??;
            self.reach.face(&target, &broker.id).await
        }
        .boxed()
    }
}
