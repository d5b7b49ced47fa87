//! A statement that runs beside the thread that waits for it, so that waiting can end at any time.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use arrow::array::RecordBatch;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::config::ConfigOptions;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{EmptyRecordBatchStream, ExecutionPlan};
use datafusion::prelude::SessionContext;
use futures::future::{AbortHandle, abortable};
use futures::{StreamExt, stream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::PLANNING_STACK;
use crate::session;

/// Batches that are computed ahead of what is printed.
const AHEAD: usize = 1;

/// The result of a statement.
pub struct Started {
    /// of no columns where the statement has no result
    pub stream: SendableRecordBatchStream,
    /// whether they are plans for people
    pub is_explanation: bool,
}

/// Plans and runs a statement on a thread of its own, with a stack for deep trees. It is cancelled when the result is
/// dropped: at its next pause, which nobody waits for.
pub async fn run(ctx: &SessionContext, sql: &str) -> Result<Started> {
    let (started, start) = oneshot::channel();
    let (batches, received) = mpsc::channel(AHEAD);
    let (ctx, sql) = (ctx.clone(), sql.to_owned());
    let (statement, abort) = abortable(async move {
        let stream = match begin(&ctx, &sql).await {
            Ok(Started { stream, is_explanation }) => {
                let _ = started.send(Ok((stream.schema(), is_explanation)));
                stream
            }
            Err(error) => {
                let _ = started.send(Err(error));
                return;
            }
        };
        send_all(stream, batches).await;
    });
    let handle = Handle::current();
    let thread = thread::Builder::new()
        .name("statement".to_owned())
        .stack_size(PLANNING_STACK)
        .spawn(move || {
            // who aborted it knows
            let _ = handle.block_on(statement);
        })
        .map_err(|error| DataFusionError::Execution(format!("cannot start a thread: {error}")))?;
    let mut running = Running { batches: received, _abort: Abort(abort), thread: Some(thread) };
    let (schema, is_explanation) = match start.await {
        Ok(started) => started?,
        Err(_) => {
            running.pass_on_panic();
            return Err(DataFusionError::Execution("the statement was cancelled".to_owned()));
        }
    };
    let batches = stream::unfold(running, |mut running| async move {
        let Some(batch) = running.batches.recv().await else {
            running.pass_on_panic();
            return None;
        };
        Some((batch, running))
    });
    Ok(Started { stream: Box::pin(RecordBatchStreamAdapter::new(schema, batches)), is_explanation })
}

async fn begin(ctx: &SessionContext, sql: &str) -> Result<Started> {
    let frame = session::sql(ctx, sql).await?;
    let is_explanation = matches!(frame.logical_plan(), LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
    let stream = match frame.schema().fields().is_empty() {
        // it was executed on the way
        true => Box::pin(EmptyRecordBatchStream::new(Arc::clone(frame.schema().inner()))),
        false => frame.execute_stream().await?,
    };
    Ok(Started { stream, is_explanation })
}

async fn send_all(mut stream: SendableRecordBatchStream, batches: mpsc::Sender<Result<RecordBatch>>) {
    while let Some(batch) = stream.next().await {
        let is_last = batch.is_err();
        if batches.send(batch).await.is_err() || is_last {
            return;
        }
    }
}

struct Running {
    batches: mpsc::Receiver<Result<RecordBatch>>,
    _abort: Abort,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// The thread has nothing more to send. If that is because it panicked, so does this.
    fn pass_on_panic(&mut self) {
        if let Some(Err(panicked)) = self.thread.take().map(JoinHandle::join) {
            resume_unwind(panicked);
        }
    }
}

struct Abort(AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Lets joins pause. DataFusion's operators pause where rows are read; of a join, billions may come out before it reads
/// the next, and a cancelled query would keep its threads busy until then.
#[derive(Debug)]
pub struct PausingJoins;

impl PhysicalOptimizerRule for PausingJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let pausing = |plan: Arc<dyn ExecutionPlan>| {
            let pauses = plan.properties().scheduling_type == SchedulingType::Cooperative;
            Ok(if plan.children().len() < 2 || pauses {
                Transformed::no(plan)
            } else {
                Transformed::yes(Arc::new(CooperativeExec::new(plan)) as Arc<dyn ExecutionPlan>)
            })
        };
        Ok(plan.transform_up(pausing)?.data)
    }

    fn name(&self) -> &'static str {
        "semsql.pausing_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
