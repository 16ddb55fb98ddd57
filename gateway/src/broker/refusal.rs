//! Why a connection is not let in, and what the client is told: one table.

/// A refusal before the upgrade. Each is an HTTP answer with a body `{code, message}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The request is not a WebSocket handshake or not HTTP at all (RFC 6455 section 4.2.1).
    #[error("this is not a WebSocket handshake")]
    BadHandshake,
    /// The head of the request is longer than 16 KiB.
    #[error("the request's head is too long")]
    HeadTooLong,
    /// The port speaks TLS only, and the client does not.
    #[error("this port speaks TLS only; use https")]
    TlsRequired,
    /// The port does not speak TLS, and the client does. It is told so by an alert of TLS.
    #[error("this port does not speak TLS")]
    NoTls,
    /// The TLS handshake failed: the client does not trust the certificate, or speaks nothing that we do.
    /// No HTTP answer can tell it.
    #[error("the TLS handshake failed")]
    TlsFailed,
    /// A path that is no page of ours.
    #[error("there is no such page")]
    NoPage,
    /// No ticket was shown.
    #[error("this console needs a ticket")]
    NoTicket,
    /// No such ticket.
    #[error("this ticket is not for this console")]
    WrongTicket,
    /// The ticket's one session began already.
    #[error("this ticket was used")]
    TicketUsed,
    /// The ticket's time is over.
    #[error("this ticket has expired")]
    TicketExpired,
    /// The broker was closed.
    #[error("there is no console here")]
    NoBroker,
    /// The client did not send a whole head in time.
    #[error("the request took too long")]
    Slow,
    /// The instance was deleted or moved since the broker was made.
    #[error("the machine was moved or deleted")]
    InstanceGone,
    /// The target refused the connection, or its address is not allowed.
    #[error("the machine's console refused the connection")]
    TargetRefused,
    /// The target did not answer in time.
    #[error("the machine's console did not answer")]
    TargetTimeout,
    /// The gateway stops.
    #[error("the gateway is stopping")]
    Stopping,
    /// The store or the inventory cannot be asked.
    #[error("the gateway cannot look this console up at the moment")]
    Unavailable,
}

impl Refusal {
    /// All of them, for the metrics.
    pub const ALL: [Self; 17] = [
        Self::BadHandshake,
        Self::HeadTooLong,
        Self::TlsRequired,
        Self::NoTls,
        Self::TlsFailed,
        Self::NoPage,
        Self::NoTicket,
        Self::WrongTicket,
        Self::TicketUsed,
        Self::TicketExpired,
        Self::NoBroker,
        Self::Slow,
        Self::InstanceGone,
        Self::TargetRefused,
        Self::TargetTimeout,
        Self::Stopping,
        Self::Unavailable,
    ];

    /// HTTP status (RFC 9110 section 15) and the stable name that programs read.
    pub const fn answer(self) -> (u16, &'static str) {
        match self {
            Self::BadHandshake => (400, "bad_handshake"),
            Self::HeadTooLong => (431, "head_too_long"),
            Self::TlsRequired => (400, "tls_required"),
            Self::NoTls => (400, "no_tls"),
            Self::TlsFailed => (400, "tls_failed"),
            Self::NoPage => (404, "no_page"),
            Self::NoTicket => (401, "no_ticket"),
            Self::WrongTicket => (403, "wrong_ticket"),
            Self::TicketUsed => (403, "ticket_used"),
            Self::TicketExpired => (403, "ticket_expired"),
            Self::NoBroker => (404, "no_broker"),
            Self::Slow => (408, "slow"),
            Self::InstanceGone => (410, "instance_gone"),
            Self::TargetRefused => (502, "target_refused"),
            Self::TargetTimeout => (504, "target_timeout"),
            Self::Stopping => (503, "stopping"),
            Self::Unavailable => (503, "unavailable"),
        }
    }
}
