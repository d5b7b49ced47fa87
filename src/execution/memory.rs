//! Taking from the memory pool.
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

use crate::inference::RowMemory;

/// How often, and after which time, a slice asks again for memory that it cannot go on without.
const ATTEMPTS: usize = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// The part of the memory pool that an operator takes in one partition.
#[derive(Debug)]
pub(super) struct Memory {
    pool: Arc<dyn MemoryPool>,
    consumer: MemoryReservation,
    /// All that the pool has.
    limit: usize,
    /// The names of the functions that are called, for errors.
    functions: String,
}

impl Memory {
    pub(super) fn new(context: &TaskContext, partition: usize, functions: String) -> Self {
        let pool = context.memory_pool();
        let consumer = MemoryConsumer::new(format!("AsyncCallsExec[{partition}]")).register(pool);
        Self { pool: Arc::clone(pool), consumer, limit: limit(pool), functions }
    }

    /// A reservation of nothing yet.
    pub(super) fn reservation(&self) -> MemoryReservation {
        self.consumer.new_empty()
    }

    /// For the pixels of a row, or of a few, while they are computed.
    pub(super) fn row(&self) -> Arc<RowMemory> {
        Arc::new(RowMemory::new(self.consumer.new_empty(), self.limit))
    }

    /// Reserves what a slice takes before it starts. False where that would leave less than a quarter of the pool: it is
    /// for what is made of the slices that have started.
    pub(super) fn try_start(&self, reservation: &MemoryReservation, bytes: usize) -> bool {
        let taken = self.pool.reserved().saturating_add(bytes);
        taken <= self.limit - self.limit / 4 && reservation.try_grow(bytes).is_ok()
    }

    /// Reserves what `rows` take already, or what they need to go on.
    ///
    /// Waits a while for others to end. Not for ever, because they may wait for this: then the pool is exceeded. It is
    /// an error only to take more than all that the pool has.
    pub(super) async fn grow(
        &self,
        reservation: &MemoryReservation,
        rows: usize,
        bytes: usize,
    ) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        for _ in 0..ATTEMPTS {
            match reservation.try_grow(bytes) {
                Err(error) if bytes > self.limit => return Err(self.too_large(rows, bytes, &error)),
                Err(_) => tokio::time::sleep(PAUSE).await,
                Ok(()) => return Ok(()),
            }
        }
        reservation.grow(bytes);
        Ok(())
    }

    fn too_large(&self, rows: usize, bytes: usize, error: &DataFusionError) -> DataFusionError {
        let (taken, cure) = match rows {
            1 => ("1 row takes".to_owned(), String::new()),
            _ => (
                format!("{rows} rows take"),
                "lower semantic.slice_bytes or semantic.slice_rows, or ".to_owned(),
            ),
        };
        DataFusionError::ResourcesExhausted(format!(
            "{}: {taken} {bytes} bytes, more than the memory limit of {}; {cure}raise datafusion.runtime.memory_limit \
             ({})",
            self.functions,
            self.limit,
            error.find_root().message()
        ))
    }
}

/// All that a pool has.
pub(super) fn limit(pool: &Arc<dyn MemoryPool>) -> usize {
    match pool.memory_limit() {
        MemoryLimit::Finite(bytes) => bytes,
        _ => usize::MAX,
    }
}
