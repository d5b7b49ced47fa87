//! Taking from the memory pool.
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};

/// The part of the memory pool that an operator takes in one partition.
#[derive(Debug)]
pub(super) struct Memory {
    consumer: MemoryReservation,
    /// All that the pool has.
    limit: usize,
    /// The names of the functions that are called, for errors.
    functions: String,
}

impl Memory {
    pub(super) fn new(context: &TaskContext, partition: usize, functions: String) -> Self {
        let pool = context.memory_pool();
        let limit = match pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes,
            _ => usize::MAX,
        };
        let consumer = MemoryConsumer::new(format!("AsyncCallsExec[{partition}]")).register(pool);
        Self { consumer, limit, functions }
    }

    /// A reservation of nothing yet.
    pub(super) fn reservation(&self) -> MemoryReservation {
        self.consumer.new_empty()
    }

    /// Reserves what `rows` take already, or what cannot wait: to wait for others, which may wait for this, could be
    /// for ever. It is an error only if it takes more than all that the pool has.
    pub(super) fn grow(&self, reservation: &MemoryReservation, rows: usize, bytes: usize) -> Result<()> {
        match reservation.try_grow(bytes) {
            Err(error) if bytes > self.limit => Err(self.too_large(rows, bytes, &error)),
            Err(_) => {
                reservation.grow(bytes);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
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
