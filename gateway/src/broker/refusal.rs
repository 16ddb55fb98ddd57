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
    /// The client speaks a protocol that is not the console's.
    #[error("this console speaks another protocol")]
    OtherProtocol,
    /// A path that is no page of ours.
    #[error("there is no such page")]
    NoPage,
    /// The client asked for a tunnel to something that is not this broker.
    #[error("no tunnel leads there")]
    WrongName,
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
    /// The client's address is outside of the broker's `client` prefix.
    #[error("this console is not for your address")]
    WrongSource,
    /// A cookie carried the ticket, and the request came from another page.
    #[error("this page may not use the ticket of another")]
    WrongOrigin,
    /// Too many wrong tickets, or unfinished handshakes, from this address.
    #[error("too many attempts from your address, wait a minute")]
    TooMany,
    /// `sessions.per_client` is reached.
    #[error("too many sessions from your address")]
    ClientFull,
    /// `sessions.per_instance` is reached.
    #[error("too many sessions on this machine")]
    InstanceFull,
    /// `sessions.max` is reached, or too many handshakes are unfinished.
    #[error("the gateway is full, try again later")]
    Full,
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
    /// The target was to speak RFB, and does not.
    #[error("the machine's console speaks no VNC")]
    TargetNotVnc,
    /// The target offers no way to authenticate that the gateway knows, or refused it.
    #[error("the machine's console offers no security that the gateway knows")]
    TargetSecurity,
    /// The password that the gateway has is not the target's.
    #[error("the gateway's password for the machine's console is wrong")]
    TargetPassword,
    /// The target has no TLS, or not the certificate that it is to have.
    #[error("the machine's console is not who the gateway knows, or speaks no TLS")]
    TargetTls,
    /// The target's certificate is not the one that its instance showed first.
    #[error("the machine's console shows another certificate than it did before")]
    TargetChanged,
    /// The target was to speak RDP, and does not.
    #[error("the machine's console speaks no RDP")]
    TargetNotRdp,
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
    pub const ALL: [Self; 31] = [
        Self::BadHandshake,
        Self::HeadTooLong,
        Self::TlsRequired,
        Self::NoTls,
        Self::TlsFailed,
        Self::OtherProtocol,
        Self::NoPage,
        Self::WrongName,
        Self::NoTicket,
        Self::WrongTicket,
        Self::TicketUsed,
        Self::TicketExpired,
        Self::WrongSource,
        Self::WrongOrigin,
        Self::TooMany,
        Self::ClientFull,
        Self::InstanceFull,
        Self::Full,
        Self::NoBroker,
        Self::Slow,
        Self::InstanceGone,
        Self::TargetRefused,
        Self::TargetNotVnc,
        Self::TargetSecurity,
        Self::TargetPassword,
        Self::TargetTls,
        Self::TargetChanged,
        Self::TargetNotRdp,
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
            Self::OtherProtocol => (400, "other_protocol"),
            Self::NoPage => (404, "no_page"),
            Self::WrongName => (403, "wrong_name"),
            Self::NoTicket => (401, "no_ticket"),
            Self::WrongTicket => (403, "wrong_ticket"),
            Self::TicketUsed => (403, "ticket_used"),
            Self::TicketExpired => (403, "ticket_expired"),
            Self::WrongSource => (403, "wrong_source"),
            Self::WrongOrigin => (403, "wrong_origin"),
            Self::TooMany => (429, "too_many"),
            Self::ClientFull => (429, "client_full"),
            Self::InstanceFull => (429, "instance_full"),
            Self::Full => (503, "full"),
            Self::NoBroker => (404, "no_broker"),
            Self::Slow => (408, "slow"),
            Self::InstanceGone => (410, "instance_gone"),
            Self::TargetRefused => (502, "target_refused"),
            Self::TargetNotVnc => (502, "target_not_vnc"),
            Self::TargetSecurity => (502, "target_security"),
            Self::TargetPassword => (502, "target_password"),
            Self::TargetTls => (502, "target_tls"),
            Self::TargetChanged => (502, "target_changed"),
            Self::TargetNotRdp => (502, "target_not_rdp"),
            Self::TargetTimeout => (504, "target_timeout"),
            Self::Stopping => (503, "stopping"),
            Self::Unavailable => (503, "unavailable"),
        }
    }
}
