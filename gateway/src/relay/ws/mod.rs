//! WebSocket wire format (RFC 6455 section 5), without I/O: bytes in, pieces out.
//!
//! The opening handshake is in `relay::handshake`; who reads and who writes is in `relay::pump`.

pub mod close;
pub mod frame;
pub mod mask;
mod utf8;

pub use close::{Close, CloseCode};
pub use frame::{Control, Decoder, Kind, Opcode, Piece, ProtocolError, SERVER_HEADER_LEN};
