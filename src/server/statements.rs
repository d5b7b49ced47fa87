//! From the text of a client's statement to rows: what may be planned, and how it runs.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, UInt64Type};
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{LogicalPlan, Statement as SqlStatement};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{SQLOptions, SessionContext};
use futures::channel::mpsc::Sender;
use futures::{SinkExt, Stream, StreamExt, TryStreamExt, stream};
use tokio::time::timeout;
use tonic::Status;

use super::bound::Values;
use super::deep::Deep;
use super::queries::Running;
use super::status::status;
use super::wire::{MESSAGE_BYTES, wire_batches, wire_schema};
use crate::statement;
use crate::statement::parameters::Prepared;

/// The longest statement. A sum of all its bytes is as deep a tree, and some walks over it recurse.
const MAX_STATEMENT_BYTES: usize = 1 << 20;

/// Options that limit what one client may take from the others: clients do not set them.
const LIMITS: [&str; 5] = [
    "datafusion.runtime.",
    "semantic.image_max_",
    "semantic.max_bytes",
    "semantic.max_requests_per_query",
    "semantic.max_tokens_per_query",
];

/// Where statements are planned and run.
#[derive(Clone)]
pub(super) struct Statements {
    pub(super) ctx: SessionContext,
    pub(super) allow_writes: bool,
    /// The most rows of a result; 0 is any number.
    pub(super) max_rows: u64,
    /// The longest that a statement waits for its client.
    pub(super) client_time: Duration,
}

/// A statement of a client, planned.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: Arc<str>,
    /// Of the rows that clients are sent.
    pub(super) schema: SchemaRef,
    /// Whether it changes something: its result is a number of rows at most.
    pub(super) update: bool,
    pub(super) parameters: Vec<FieldRef>,
    pub(super) prepared: Arc<Deep<Prepared>>,
}

/// What is to run: a statement, or one with parameters for each row of their values; and the schema of all its rows.
#[derive(Debug)]
pub(super) struct Plans {
    sql: Arc<str>,
    prepared: Arc<Deep<Prepared>>,
    values: Option<Arc<Values>>,
    pub(super) schema: SchemaRef,
}

impl Plans {
    /// How often the statement runs.
    fn runs(&self) -> usize {
        self.values.as_ref().map_or(1, |values| values.rows.num_rows())
    }

    /// The plan of a run. To be called where plans are made.
    fn plan(&self, run: usize) -> Result<LogicalPlan, Status> {
        let prepared = self.prepared.get()?;
        let Some(values) = &self.values else { return Ok(prepared.plan().clone()) };
        let plan = prepared.bind(&values.rows, run).map_err(|error| status(&error, &self.sql))?;
        if !is_alike(&wire_schema(plan.schema().as_arrow()), &self.schema) {
            return Err(Status::invalid_argument(format!(
                "the result for row {} of the parameters has other types, or embeddings of another model, than for the \
                 first: all rows need the same; run the statement for each of them",
                run + 1
            )));
        }
        Ok(plan)
    }
}

/// Whether rows of one schema can be sent as those of the other.
fn is_alike(a: &Schema, b: &Schema) -> bool {
    let is_alike = |(a, b): (&FieldRef, &FieldRef)| {
        a.data_type().equals_datatype(b.data_type()) && a.metadata() == b.metadata()
    };
    a.fields().len() == b.fields().len() && a.fields().iter().zip(b.fields()).all(is_alike)
}

impl Statement {
    /// To be called where plans are made. An error where it has parameters, whose values only a prepared statement takes.
    pub(super) fn plans(&self) -> Result<Plans, Status> {
        match self.parameters.len() {
            0 => Ok(self.plans_of(None)),
            count => Err(Status::invalid_argument(format!(
                "the statement has {count} parameters, found no values for them: prepare it, and bind them"
            ))),
        }
    }

    /// The same for each row of values. The first tells the schema, which may depend on them.
    pub(super) fn plans_with(&self, values: &Arc<Values>) -> Result<Plans, Status> {
        let mut plans = self.plans_of(Some(Arc::clone(values)));
        if values.rows.num_rows() > 0 {
            let first = self.prepared.get()?.bind(&values.rows, 0);
            let first = first.map_err(|error| status(&error, &self.sql))?;
            plans.schema = wire_schema(first.schema().as_arrow());
        }
        Ok(plans)
    }

    fn plans_of(&self, values: Option<Arc<Values>>) -> Plans {
        let (sql, prepared) = (Arc::clone(&self.sql), Arc::clone(&self.prepared));
        Plans { sql, prepared, values, schema: Arc::clone(&self.schema) }
    }
}

/// The text of a statement that is not too long to look at.
pub(super) fn text(sql: String) -> Result<Arc<str>, Status> {
    if sql.len() <= MAX_STATEMENT_BYTES {
        return Ok(sql.into());
    }
    Err(Status::invalid_argument(format!(
        "a statement has at most {MAX_STATEMENT_BYTES} bytes, found {}: bind large values, or ingest them",
        sql.len()
    )))
}

/// The refusal of what changes something.
pub(super) fn read_only(what: &str) -> Status {
    Status::permission_denied(format!(
        "{what} is not allowed: the server only reads; who runs it may start it with --allow-writes"
    ))
}

pub(super) fn is_update(plan: &LogicalPlan) -> bool {
    matches!(
        plan,
        LogicalPlan::Ddl(_) | LogicalPlan::Dml(_) | LogicalPlan::Copy(_) | LogicalPlan::Statement(_)
    )
}

impl Statements {
    /// Plans a statement, and runs nothing.
    pub(super) async fn plan(&self, sql: Arc<str>) -> Result<Statement, Status> {
        let plan = statement::plan(&self.ctx.state(), &sql).await.map_err(|error| status(&error, &sql))?;
        self.check(&plan)?;
        let prepared = Prepared::new(plan).map_err(|error| status(&error, &sql))?;
        Ok(Statement {
            sql,
            schema: wire_schema(prepared.plan().schema().as_arrow()),
            update: is_update(prepared.plan()),
            parameters: prepared.fields().cloned().collect(),
            prepared: Arc::new(Deep::new(prepared)),
        })
    }

    /// Refuses what changes something where that is not allowed, and what changes a limit.
    fn check(&self, plan: &LogicalPlan) -> Result<(), Status> {
        if let Some(option) = limit_set_by(plan) {
            return Err(Status::permission_denied(format!(
                "SET {option} is not allowed: it limits what clients may take; who runs the server may set it"
            )));
        }
        let allowed = self.allow_writes;
        let options = SQLOptions::new().with_allow_ddl(allowed).with_allow_dml(allowed);
        options.with_allow_statements(allowed).verify_plan(plan).map_err(|error| {
            let message = error.message().into_owned();
            let what = message.rsplit_once(": ").map_or(message.as_str(), |(_, what)| what);
            read_only(what)
        })
    }

    /// Begins to run a plan.
    async fn execute(&self, plan: LogicalPlan, running: &Running) -> Result<SendableRecordBatchStream> {
        let frame = self.ctx.execute_logical_plan(plan).await?;
        let context = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await?;
        running.runs(Arc::clone(&plan));
        execute_stream(plan, context)
    }

    /// Runs plans of the same schema one after the other and sends their rows, as fast as they are received.
    pub(super) async fn send(
        self,
        plans: Arc<Plans>,
        running: Arc<Running>,
        mut messages: Sender<Result<FlightData, Status>>,
    ) -> Result<(), Status> {
        let (max_rows, client_time) = (self.max_rows, self.client_time);
        let schema = Arc::clone(&plans.schema);
        let (of_batches, for_plans) = (Arc::clone(&schema), Arc::clone(&running));
        let batches = stream::iter(0..plans.runs()).then(move |run| {
            let (statements, plans, running) = (self.clone(), Arc::clone(&plans), Arc::clone(&for_plans));
            async move {
                let batches = statements.execute(plans.plan(run)?, &running).await;
                let batches = batches.map_err(|error| status(&error, &plans.sql))?;
                Ok::<_, Status>(batches.map_err(move |error| status(&error, &plans.sql)))
            }
        });
        let batches = batches.try_flatten().map(move |batch| {
            let batch = batch?;
            let rows = running.add_rows(batch.num_rows());
            if max_rows > 0 && rows > max_rows {
                return Err(Status::resource_exhausted(format!(
                    "the result has more than {max_rows} rows (max_rows): add a LIMIT"
                )));
            }
            Ok(batch)
        });
        let parts = batches.map(move |batch| match batch {
            Ok(batch) => {
                let parts = wire_batches(batch, Arc::clone(&of_batches));
                stream::iter(parts.map(|part| part.map_err(FlightError::from))).left_stream()
            }
            Err(status) => stream::iter([Err(FlightError::from(status))]).right_stream(),
        });
        let mut encoded = encode(schema, parts.flatten());
        while let Some(message) = encoded.next().await {
            // an error is what the task ends with
            let message = message?;
            match timeout(client_time, messages.send(Ok(message))).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Status::cancelled("the client went away")),
                Err(_) => {
                    return Err(Status::deadline_exceeded(format!(
                        "the client has taken no rows for {} s (client_seconds)",
                        client_time.as_secs()
                    )));
                }
            }
        }
        Ok(())
    }

    /// Runs plans one after the other and counts the rows that they changed; -1 where a plan does not say.
    pub(super) async fn update(self, plans: Arc<Plans>, running: Arc<Running>) -> Result<i64, Status> {
        let mut changed = 0;
        for run in 0..plans.runs() {
            let plan = plans.plan(run)?;
            let counts = matches!(plan, LogicalPlan::Dml(_) | LogicalPlan::Copy(_));
            let ends = is_update(&plan) && !counts;
            let rows = async {
                let mut batches = self.execute(plan, &running).await?;
                let mut rows = 0;
                while let Some(batch) = batches.try_next().await? {
                    rows += count(&batch);
                }
                Ok::<_, DataFusionError>(rows)
            };
            let rows = rows.await.map_err(|error| status(&error, &plans.sql))?;
            changed = match (counts, ends) {
                (true, _) => changed + rows,
                (false, true) => changed,
                (false, false) => -1,
            };
        }
        Ok(changed)
    }
}

/// The limit that a statement changes.
fn limit_set_by(plan: &LogicalPlan) -> Option<String> {
    let mut found = None;
    // no closure here fails
    let _ = plan.apply_with_subqueries(|plan| {
        let option = match plan {
            LogicalPlan::Statement(SqlStatement::SetVariable(set)) => &set.variable,
            LogicalPlan::Statement(SqlStatement::ResetVariable(reset)) => &reset.variable,
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        if LIMITS.iter().any(|limit| option.to_ascii_lowercase().starts_with(limit)) {
            found = Some(option.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// The number that the plan of an update gives.
pub(super) fn count(batch: &RecordBatch) -> i64 {
    match batch.columns() {
        [count] if *count.data_type() == DataType::UInt64 => {
            let counts = count.as_primitive::<UInt64Type>().iter().flatten();
            counts.map(|count| i64::try_from(count).unwrap_or(i64::MAX)).sum()
        }
        _ => 0,
    }
}

/// Rows as messages, the schema first.
pub(super) fn encode(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> impl Stream<Item = Result<FlightData, Status>> + Send {
    let encoder = FlightDataEncoderBuilder::new().with_schema(schema);
    let encoder = encoder.with_max_flight_data_size(MESSAGE_BYTES).build(batches);
    encoder.map_err(|error| match error {
        FlightError::Tonic(status) => *status,
        error => Status::internal(format!("internal error: the result cannot be encoded: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn rows_of_other_types_or_spaces_are_not_sent_as_those_of_the_first() {
        let schema = |length, space: &str| {
            let vectors = DataType::new_fixed_size_list(DataType::Float32, length, true);
            let metadata = [("space".to_owned(), space.to_owned())];
            Schema::new(vec![Field::new("e", vectors, true).with_metadata(metadata.into())])
        };
        let first = schema(3, "a");
        assert!(is_alike(&first, &schema(3, "a")));
        for other in [schema(4, "a"), schema(3, "b"), Schema::empty()] {
            assert!(!is_alike(&first, &other));
        }
    }
}
