//! RDP: the opening that each connection begins with. What follows is copied as it is; no picture is ever decoded.

pub mod clean_path;
pub mod x224;
