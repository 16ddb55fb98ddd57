//! What a console's protocol asks for beyond copying.

pub mod vnc;
