//! sk_lookup: connections to open brokers go to the listeners in the socket map.

use std::fs::File;
use std::os::fd::AsRawFd;

use aya::Ebpf;
use aya::maps::{Array, MapData, SockMap};
use aya::programs::SkLookup;
use aya::programs::links::FdLink;
use portcullis_ebpf::layout::{CORES, Family, LISTENERS, MAX_CORES, STEER, listener_index};

use super::filter::FilterError;
use super::filter::ebpf::{Maps, take};

/// The socket map of an attached steering program.
pub struct Steering {
    /// Detaches the program when dropped; `None` where a pin holds it, or the caller.
    link: Option<FdLink>,
    listeners: SockMap<MapData>,
    cores: Array<MapData, u32>,
}

impl Steering {
    /// Loads the program of `programs` and attaches it to the network namespace of this thread.
    ///
    /// # Errors
    /// The kernel refused the program, or has no sk_lookup (before 5.9).
    pub fn attach(programs: &mut Ebpf) -> Result<Self, FilterError> {
        let link = Self::link(programs)?;
        Self::open(programs, Some(link))
    }

    /// The maps of a program that is attached already, by `link` or by a pin.
    ///
    /// # Errors
    /// There are none.
    pub fn open(maps: &mut impl Maps, link: Option<FdLink>) -> Result<Self, FilterError> {
        Ok(Self { link, listeners: take(maps, LISTENERS)?, cores: take(maps, CORES)? })
    }

    /// What keeps the program attached, to be held by the caller from now on.
    pub fn take_link(&mut self) -> Option<FdLink> {
        self.link.take()
    }

    /// Attaches the program of `programs` to the network namespace of this thread, beside those that are
    /// there.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn link(programs: &mut Ebpf) -> Result<FdLink, FilterError> {
        let failed = |error| FilterError::new(format!("program {STEER}: attach"), error);
        let namespace = File::open("/proc/thread-self/ns/net")
            .map_err(|error| FilterError::new("open /proc/thread-self/ns/net", error))?;
        let program = Self::load(programs)?;
        let link = program.attach(namespace).map_err(failed)?;
        Ok(program.take_link(link).map_err(failed)?.into())
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
        if program.fd().is_err() {
            program.load().map_err(failed)?;
        }
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
