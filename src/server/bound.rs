//! A prepared statement of a client, and the values that it has bound to its parameters.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::sql::server::PeekableFlightDataStream;
use datafusion::logical_expr::LogicalPlan;
use futures::TryStreamExt;
use tonic::Status;

use super::deep::Deep;
use super::statements::{Plans, Statement};
use super::status::{malformed, status};
use super::wire::wire_schema;

/// The most rows of values: the statement runs once for each.
const MAX_ROWS: usize = 10_000;

#[derive(Debug)]
pub(super) struct Bound {
    statement: Statement,
    values: Mutex<Option<RecordBatch>>,
}

impl Bound {
    pub(super) fn new(statement: Statement) -> Self {
        Self { statement, values: Mutex::default() }
    }

    pub(super) fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Takes the values of the parameters, which are good until others come. No schema: those before stay.
    pub(super) async fn bind(&self, messages: PeekableFlightDataStream) -> Result<(), Status> {
        let messages = messages.try_filter(|message| {
            // a client without parameters sends its command alone
            std::future::ready(!message.data_header.is_empty())
        });
        let mut batches = FlightRecordBatchStream::new_from_flight_data(messages.map_err(Into::into));
        let (mut found, mut rows): (Vec<RecordBatch>, usize) = (vec![], 0);
        while let Some(batch) = batches.try_next().await.map_err(malformed)? {
            rows += batch.num_rows();
            if rows > MAX_ROWS {
                return Err(Status::resource_exhausted(format!(
                    "a statement runs for at most {MAX_ROWS} rows of parameters: send them in parts, or ingest them"
                )));
            }
            found.push(batch);
        }
        let Some(schema) = batches.schema() else { return Ok(()) };
        let values = concat_batches(schema, &found).map_err(malformed)?;
        *self.values.lock().unwrap_or_else(PoisonError::into_inner) = Some(values);
        Ok(())
    }

    /// The plans to run, one for each row of values. To be called where plans are made.
    pub(super) fn plans(&self) -> Result<Plans, Status> {
        let statement = &self.statement;
        if statement.parameters.is_empty() {
            return statement.plans();
        }
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(values) = values else {
            return Err(Status::invalid_argument(format!(
                "the statement has {} parameters, found no values for them",
                statement.parameters.len()
            )));
        };
        let prepared = statement.prepared.get()?;
        let plans = (0..values.num_rows()).map(|row| prepared.bind(&values, row));
        let plans = plans.collect::<Result<Vec<LogicalPlan>, _>>();
        let plans = plans.map_err(|error| status(&error, &statement.sql))?;
        let schema = plans.first().map(|plan| wire_schema(plan.schema().as_arrow()));
        let schema = schema.unwrap_or_else(|| Arc::clone(&statement.schema));
        Ok(Plans { plans: Deep::new(plans), schema })
    }
}
