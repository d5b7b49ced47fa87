//! What a row takes from the memory pool while it is computed.
use std::time::Duration;

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::MemoryReservation;

use crate::pixels;

/// How often, and after which time, a row asks again for memory that it cannot go on without.
const ATTEMPTS: usize = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// The part of the memory pool that the pixels of a row, or of a few, take; it is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct RowMemory {
    reservation: MemoryReservation,
    /// All that the pool has.
    limit: usize,
}

impl RowMemory {
    pub(crate) fn new(reservation: MemoryReservation, limit: usize) -> Self {
        Self { reservation, limit }
    }

    /// Reserves `bytes` before they are taken, until the reservation is dropped. Called by work on pixels.
    ///
    /// Waits a while for the rows that are computed beside this one to end; the pool is exceeded where there are none,
    /// or where they take too long. It is an error only to take more than all that the pool has.
    pub(super) fn reserve(&self, bytes: usize) -> Result<MemoryReservation> {
        let reservation = self.reservation.new_empty();
        if bytes > self.limit {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "an image takes {bytes} bytes while it is decoded, more than the memory limit of {}; raise \
                 datafusion.runtime.memory_limit, or lower semantic.image_max_bytes and make such rows NULL with \
                 on_error => 'null'",
                self.limit
            )));
        }
        for _ in 0..ATTEMPTS {
            if reservation.try_grow(bytes).is_ok() {
                return Ok(reservation);
            }
            if !pixels::pause(PAUSE) {
                break;
            }
        }
        reservation.grow(bytes);
        Ok(reservation)
    }

    /// Counts `bytes` that are taken already, until the reservation is dropped.
    pub(super) fn hold(&self, bytes: usize) -> MemoryReservation {
        let reservation = self.reservation.new_empty();
        reservation.grow(bytes);
        reservation
    }

    /// Counts `bytes` as taken until this is dropped.
    pub(super) fn keep(&self, bytes: usize) {
        self.reservation.grow(bytes);
    }
}
