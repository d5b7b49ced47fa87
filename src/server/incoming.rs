//! Rows that a client sends. What a message says of itself is checked before it is decoded: it is a stranger's word.

use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::{FieldNode, MessageHeader, root_as_message};
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use futures::{FutureExt, Stream, TryStreamExt, stream};
use tokio::time::timeout;
use tonic::Status;

use super::status::malformed;

/// The most rows, or values of a column, that a message may have whose body has fewer bytes: some take none.
const MAX_FREE_ROWS: usize = 1 << 20;

/// The rows of a stream of messages.
pub(super) struct Incoming {
    batches: FlightRecordBatchStream,
    /// How long the client may send nothing.
    wait: Duration,
}

impl Incoming {
    /// The rows of `messages`, which have at most `max_bytes` together.
    pub(super) fn new(
        messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
        max_bytes: usize,
        wait: Duration,
    ) -> Self {
        let mut left = max_bytes;
        let checked = messages
            // a client without rows sends its command alone
            .try_filter(|message| ready(!message.data_header.is_empty()))
            .and_then(move |message| {
                let bytes = message.data_header.len() + message.data_body.len();
                ready(match left.checked_sub(bytes) {
                    None => Err(Status::resource_exhausted(format!(
                        "the rows have more than {max_bytes} bytes: send them in parts"
                    ))),
                    Some(after) => {
                        left = after;
                        check(&message).map(|()| message)
                    }
                })
            });
        Self {
            batches: FlightRecordBatchStream::new_from_flight_data(checked.map_err(FlightError::from)),
            wait,
        }
    }

    /// There once the first rows are, or the end is reached.
    pub(super) fn schema(&self) -> Option<&SchemaRef> {
        self.batches.schema()
    }

    /// The next rows, at least one. To be called where work may take time.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, Status> {
        loop {
            // Arrow panics where the parts of a message do not fit each other
            let next = AssertUnwindSafe(self.batches.try_next()).catch_unwind();
            let next = timeout(self.wait, next).await.map_err(|_| {
                Status::deadline_exceeded(format!(
                    "the client has sent nothing for {} s (client_seconds)",
                    self.wait.as_secs()
                ))
            })?;
            let next = next.map_err(|_| malformed("its parts do not fit each other"))?;
            let next = next.map_err(|error| match error {
                FlightError::Tonic(status) => *status,
                error => malformed(error),
            })?;
            match next {
                Some(batch) if batch.num_rows() == 0 => {}
                next => return Ok(next),
            }
        }
    }

    /// All rows that are left, in parts of at most `rows`.
    pub(super) fn into_parts(self, rows: usize) -> impl Stream<Item = Result<RecordBatch, Status>> + Send {
        let batches = stream::try_unfold(self, async |mut incoming| {
            Ok::<_, Status>(incoming.next().await?.map(|batch| (batch, incoming)))
        });
        batches.map_ok(move |batch| stream::iter(parts(batch, rows).map(Ok::<_, Status>))).try_flatten()
    }
}

/// The rows of a batch in parts of at most `rows`, which share its memory.
pub(super) fn parts(batch: RecordBatch, rows: usize) -> impl Iterator<Item = RecordBatch> + Send {
    let (count, rows) = (batch.num_rows(), rows.max(1));
    (0..count).step_by(rows).map(move |start| batch.slice(start, rows.min(count - start)))
}

/// Refuses a message that would take more memory than it has bytes, or whose parts are outside of it.
fn check(message: &FlightData) -> Result<(), Status> {
    let header = root_as_message(&message.data_header).map_err(malformed)?;
    let batch = match header.header_type() {
        MessageHeader::RecordBatch => header.header_as_record_batch(),
        MessageHeader::DictionaryBatch => header.header_as_dictionary_batch().and_then(|batch| batch.data()),
        _ => None,
    };
    let Some(batch) = batch else { return Ok(()) };
    if batch.compression().is_some() {
        return Err(Status::invalid_argument(
            "compressed rows are not taken, a few bytes of them could fill the memory: send them as they are",
        ));
    }
    let bytes = message.data_body.len();
    for buffer in batch.buffers().into_iter().flatten() {
        let end = buffer.offset().checked_add(buffer.length());
        let is_inside = buffer.offset() >= 0 && buffer.length() >= 0;
        if !is_inside || end.and_then(|end| usize::try_from(end).ok()).is_none_or(|end| end > bytes) {
            return Err(malformed("a buffer is not inside of it"));
        }
    }
    let lengths = batch.nodes().into_iter().flatten().map(FieldNode::length);
    let most = bytes.max(MAX_FREE_ROWS);
    for length in lengths.chain([batch.length()]) {
        match usize::try_from(length) {
            Ok(length) if length <= most => {}
            Ok(length) => {
                return Err(Status::invalid_argument(format!(
                    "a message of {bytes} bytes has at most {most} rows or values of a column, found {length}: send \
                     them in parts"
                )));
            }
            Err(_) => return Err(malformed("it has a negative number of rows")),
        }
    }
    Ok(())
}
