//! A prepared statement of a client, and the values that it has bound to its parameters.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use tonic::Status;

use super::incoming::Incoming;
use super::statements::{Plans, Statement};
use super::status::{malformed, status};
use crate::execution::size;

/// The most rows of values: the statement runs once for each.
const MAX_ROWS: usize = 10_000;

#[derive(Debug)]
pub(super) struct Bound {
    statement: Statement,
    values: Mutex<Option<Arc<Values>>>,
}

/// Rows of values, which count in the memory of all queries while they are kept.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) rows: RecordBatch,
    _memory: MemoryReservation,
}

impl Bound {
    pub(super) fn new(statement: Statement) -> Self {
        Self { statement, values: Mutex::default() }
    }

    pub(super) fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Takes the values of the parameters, which are good until others come. No schema: those before stay. To be called
    /// where plans are made.
    pub(super) async fn bind(
        &self,
        mut incoming: Incoming,
        pool: &Arc<dyn MemoryPool>,
    ) -> Result<(), Status> {
        let failed = |error| status(&error, &self.statement.sql);
        let memory = MemoryConsumer::new("values of parameters").register(pool);
        let (mut found, mut rows): (Vec<RecordBatch>, usize) = (vec![], 0);
        while let Some(batch) = incoming.next().await? {
            rows += batch.num_rows();
            if rows > MAX_ROWS {
                return Err(Status::resource_exhausted(format!(
                    "a statement runs for at most {MAX_ROWS} rows of parameters: send them in parts, or ingest them"
                )));
            }
            memory.try_grow(size(batch.columns())).map_err(failed)?;
            found.push(batch);
        }
        let Some(schema) = incoming.schema() else { return Ok(()) };
        let rows = concat_batches(schema, &found).map_err(malformed)?;
        if !self.statement.parameters.is_empty() {
            // before the statement runs for the first of them
            self.statement.prepared.get()?.check(&rows).map_err(failed)?;
        }
        let values = Arc::new(Values { rows, _memory: memory });
        *self.values.lock().unwrap_or_else(PoisonError::into_inner) = Some(values);
        Ok(())
    }

    /// What is to run: the statement for each row of values. To be called where plans are made.
    pub(super) fn plans(&self) -> Result<Plans, Status> {
        if self.statement.parameters.is_empty() {
            return self.statement.plans();
        }
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match values {
            Some(values) => self.statement.plans_with(&values),
            None => Err(Status::invalid_argument(format!(
                "the statement has {} parameters, found no values for them",
                self.statement.parameters.len()
            ))),
        }
    }
}
