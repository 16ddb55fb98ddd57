//! sk_lookup: connections to open brokers go to the listeners in the socket map.

use std::fs::File;
use std::os::fd::AsRawFd;

use aya::Ebpf;
use aya::maps::{Array, MapData, SockMap};
use aya::programs::SkLookup;
use portcullis_ebpf::layout::{CORES, Family, LISTENERS, MAX_CORES, STEER, listener_index};

use super::filter::FilterError;
use super::filter::ebpf::take;

/// The socket map of an attached steering program. The program itself stays with the object that it
/// was loaded from.
pub struct Steering {
    listeners: SockMap<MapData>,
    cores: Array<MapData, u32>,
}

impl Steering {
    /// Loads the program of `programs` and attaches it to the network namespace of this thread.
    ///
    /// # Errors
    /// The kernel refused the program, or has no sk_lookup (before 5.9).
    pub fn attach(programs: &mut Ebpf) -> Result<Self, FilterError> {
        let failed = |error| FilterError::new(format!("program {STEER}: attach"), error);
        let namespace = File::open("/proc/thread-self/ns/net")
            .map_err(|error| FilterError::new("open /proc/thread-self/ns/net", error))?;
        Self::load(programs)?.attach(namespace).map_err(failed)?;
        Ok(Self { listeners: take(programs, LISTENERS)?, cores: take(programs, CORES)? })
    }

    /// Loads the program of `programs`.
    ///
    /// # Errors
    /// The kernel refused it, or has no sk_lookup (before 5.9).
    pub fn load(programs: &mut Ebpf) -> Result<&mut SkLookup, FilterError> {
        let failed = |error| FilterError::new(format!("program {STEER}: load"), error);
        let program: &mut SkLookup = programs
            .program_mut(STEER)
            .ok_or_else(|| FilterError::new(format!("program {STEER}"), "not in the object"))?
            .try_into()
            .map_err(failed)?;
        program.load().map_err(failed)?;
        Ok(program)
    }

    /// Puts the listeners of all cores in place, in the order of the cores; a second socket is the one
    /// for IPv6. From then on connections are spread over them.
    ///
    /// # Errors
    /// The kernel refused a socket.
    pub fn set<S: AsRawFd>(&mut self, cores: &[(&S, Option<&S>)]) -> Result<(), FilterError> {
        let cores = &cores[..cores.len().min(MAX_CORES as usize)];
        for (core, (v4, v6)) in cores.iter().enumerate() {
            self.place(core as u32, Family::V4, *v4)?;
            if let Some(v6) = v6 {
                self.place(core as u32, Family::V6, *v6)?;
            }
        }
        // The count goes last: no connection is steered to a place that is still empty.
        let count = cores.len() as u32;
        self.cores.set(0, count, 0).map_err(|error| FilterError::new(format!("map {CORES}: update"), error))
    }

    fn place<S: AsRawFd>(&mut self, core: u32, family: Family, socket: &S) -> Result<(), FilterError> {
        let index = listener_index(core, family);
        self.listeners
            .set(index, socket, 0)
            .map_err(|error| FilterError::new(format!("map {LISTENERS}: update {index}"), error))
    }
}
