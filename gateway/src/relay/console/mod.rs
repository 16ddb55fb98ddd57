//! What a console's protocol asks for beyond copying.

pub mod rdp;
pub mod spice;
pub mod terminal;
pub mod vnc;
