//! What the kernel takes for the filter alone, by BPF_PROG_TEST_RUN, less what it takes for a program that does
//! nothing. One packet over and over: caches are warm.

use aya::Ebpf;
use aya::programs::{TestRun, TestRunOptions, TestRunResult};
use portcullis::kernel::filter::ebpf::EbpfFilter;
use portcullis::kernel::object::{self, set_addresses};
use portcullis_ebpf::layout::{FILTER_TC, FILTER_XDP, Limit, Limits};
use portcullis_tests::frames::{ACK, SYN, tcp_from};
use portcullis_tests::namespace::THERE;

use super::ours::{endpoint, open, plan};
use super::{FIRST, LAST, SIZES, floor};
use crate::rows::{Figures, Scale};
use crate::usage::median;

/// A hook, and how the program for it is run.
struct Hook {
    run: fn(&mut Ebpf, TestRunOptions<'_>) -> TestRunResult,
    /// What the object calls program and section.
    program: &'static str,
    section: &'static str,
    /// What the program returns: to pass, and to drop (include/uapi/linux/pkt_cls.h and bpf.h).
    pass: u32,
    drop: u32,
}

const TC: Hook = Hook {
    run: |programs, options| object::tc(programs).expect("the program").test_run(options).expect("runs"),
    program: FILTER_TC,
    section: "classifier",
    pass: u32::MAX,
    drop: 2,
};

const XDP: Hook = Hook {
    run: |programs, options| object::xdp(programs).expect("the program").test_run(options).expect("runs"),
    program: FILTER_XDP,
    section: "xdp.frags",
    pass: 2,
    drop: 1,
};

/// The only broker with a client's network, and the one without.
const FOR_CLIENTS: u16 = FIRST + 1;
const FOR_ALL: u16 = FIRST;
/// Limits that never limit, so that each packet goes all the way.
const WIDE: Limit = Limit { interval_ns: 1, ahead_ns: 1 << 60 };

/// At tc.
pub fn tc(scale: &Scale) -> Figures {
    Judge::new(&TC, scale).figures()
}

/// At XDP: the program as a driver runs it.
pub fn xdp(scale: &Scale) -> Figures {
    Judge::new(&XDP, scale).figures()
}

/// The program, loaded and not attached.
struct Judge<'a> {
    hook: &'a Hook,
    runs: u32,
    programs: Ebpf,
    filter: EbpfFilter,
    /// Seconds for a program that does nothing.
    floor: f64,
}

impl<'a> Judge<'a> {
    fn new(hook: &'a Hook, scale: &Scale) -> Self {
        let plan = plan(&[], None);
        let mut programs = object::open(&plan, None).expect("the object loads");
        set_addresses(&mut programs, &plan).expect("takes the address");
        let filter = EbpfFilter::new(&mut programs, plan.places(), &[]).expect("the maps");
        let mut nothing = floor::load(hook.section, hook.program, hook.pass.cast_signed());
        let frame = syn(LAST);
        let floor = run(hook, &mut nothing, &frame, scale.runs, hook.pass);
        Self { hook, runs: scale.runs, programs, filter, floor }
    }

    fn figures(&mut self) -> Figures {
        let Hook { pass, drop, .. } = *self.hook;
        let mut figures = vec![("filter/floor".into(), self.floor)];
        let mut open_before = FIRST;
        for size in SIZES {
            (open_before..FIRST + size).for_each(|port| open(&mut self.filter, port, None));
            open_before = FIRST + size;
            figures.push((format!("filter/run-drop-{size}"), self.net(&syn(LAST), drop)));
            if size > 0 {
                figures.push((format!("filter/run-pass-{size}"), self.net(&syn(FOR_ALL), pass)));
                figures.push((format!("filter/run-all-{size}"), self.with_all(pass)));
            }
        }
        let session = tcp_from(source(), endpoint(FOR_ALL), ACK);
        figures.push(("filter/run-session".into(), self.net(&session, pass)));
        let port = tcp_from(source(), endpoint(443), SYN);
        figures.push(("filter/run-port".into(), self.net(&port, pass)));
        let elsewhere = tcp_from(source(), (source(), FOR_ALL).into(), SYN);
        figures.push(("filter/run-elsewhere".into(), self.net(&elsewhere, pass)));
        figures
    }

    /// Seconds for a packet to a broker with a client's network, while source and broker have limits.
    fn with_all(&mut self, pass: u32) -> f64 {
        open(&mut self.filter, FOR_CLIENTS, Some(&format!("{}/32", THERE[0])));
        self.filter.limit(Limits { source: WIDE, broker: WIDE }).expect("limits");
        let seconds = self.net(&syn(FOR_CLIENTS), pass);
        self.filter.limit(Limits::default()).expect("limits");
        open(&mut self.filter, FOR_CLIENTS, None);
        seconds
    }

    /// Seconds for `frame`, which gets `expected`, above the floor.
    fn net(&mut self, frame: &[u8], expected: u32) -> f64 {
        run(self.hook, &mut self.programs, frame, self.runs, expected) - self.floor
    }
}

/// Seconds per run: the middle one of three means, of which the kernel tells whole nanoseconds.
fn run(hook: &Hook, programs: &mut Ebpf, frame: &[u8], runs: u32, expected: u32) -> f64 {
    let mut mean = |repeat| {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result = (hook.run)(programs, options);
        assert_eq!(result.return_value, expected, "{}: a wrong verdict", hook.program);
        result.duration.as_secs_f64()
    };
    // Caches, and the processor's guesses, are cold at first.
    mean(runs / 10);
    median(&mut [mean(runs / 3), mean(runs / 3), mean(runs / 3)])
}

fn syn(port: u16) -> Vec<u8> {
    tcp_from(source(), endpoint(port), SYN)
}

/// The neighbour; as a destination, an address that is not ours.
fn source() -> std::net::IpAddr {
    THERE[0].parse().expect("an address")
}
