//! No filter: the ports are what the listeners make of them.

use super::{Backend, BrokerCounts, BrokerId, Change, Counters, Entry, FilterError};

/// Does nothing, and says so by its name.
pub struct NoFilter;

impl Backend for NoFilter {
    fn name(&self) -> &'static str {
        "none"
    }

    fn replace(&mut self, _: &[Entry]) -> Result<(), FilterError> {
        Ok(())
    }

    fn apply(&mut self, _: &[Change]) -> Result<(), FilterError> {
        Ok(())
    }

    fn counters(&self) -> Result<Counters, FilterError> {
        Ok(Counters::default())
    }

    fn broker_counts(&self, brokers: &[BrokerId]) -> Result<Vec<Option<BrokerCounts>>, FilterError> {
        Ok(vec![None; brokers.len()])
    }
}
