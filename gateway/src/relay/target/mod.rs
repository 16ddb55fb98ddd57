//! The far side: from a [`Target`] to a stream of bytes.

pub mod tcp;
pub mod unix;
