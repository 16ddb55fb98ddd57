//! The port filter's two entry points.

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use portcullis_ebpf::{
    packet::{Cursor, parse},
    verdict::{Verdict, judge},
};

use crate::maps::{Kernel, count};

/// Enough for all the headers that `parse` reads in one packet without extension headers.
const LINEAR_LEN: u32 = 128;

#[classifier]
pub fn portcullis_tc(ctx: TcContext) -> i32 {
    // Where headers lie outside the linear part they are pulled in; if that fails, what can be
    // read is judged and what cannot passes. TC_ACT_UNSPEC lets the next program have its say.
    if ctx.data_end() - ctx.data() < LINEAR_LEN as usize && ctx.len() as usize > ctx.data_end() - ctx.data() {
        let _ = ctx.pull_data(LINEAR_LEN.min(ctx.len()));
    }
    if verdict(ctx.data(), ctx.data_end()).drops() { TC_ACT_SHOT } else { TC_ACT_UNSPEC }
}

#[xdp(frags)]
pub fn portcullis_xdp(ctx: XdpContext) -> u32 {
    // A packet whose headers are not all in the first buffer passes: the stack sees to it.
    if verdict(ctx.data(), ctx.data_end()).drops() { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

#[inline(always)]
fn verdict(data: usize, data_end: usize) -> Verdict {
    // SAFETY: data and data_end are the bounds that the kernel gave for this packet.
    let verdict = judge(parse(unsafe { Cursor::new(data, data_end) }), &Kernel);
    count(verdict);
    verdict
}
