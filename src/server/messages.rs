//! The messages that answers are made of.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, Ticket};
use bytes::Bytes;
use futures::{StreamExt, stream};
use prost::Message;
use tonic::{Response, Status};

use super::handles::{Handle, parse};
use super::service::Rows;
use super::statements::encode;
use super::status::malformed;

/// The answer of an update: how many rows it changed, where that is what its schema says.
pub(super) fn answer(schema: &SchemaRef, changed: i64) -> RecordBatch {
    let count: ArrayRef = Arc::new(UInt64Array::from(vec![u64::try_from(changed).unwrap_or_default()]));
    RecordBatch::try_new(Arc::clone(schema), vec![count])
        .unwrap_or_else(|_| RecordBatch::new_empty(Arc::clone(schema)))
}

/// The statement that a ticket is for.
pub(super) fn handle_of(ticket: &Ticket) -> Option<Handle> {
    let any = arrow_flight::sql::Any::decode(ticket.ticket.as_ref()).ok()?;
    parse(&any.unpack::<TicketStatementQuery>().ok()??.statement_handle)
}

/// Where a result is fetched, of which only the schema is known.
pub(super) fn flight_info(
    ticket: &impl ProstMessageExt,
    schema: &Schema,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let ticket = Ticket::new(ticket.as_any().encode_to_vec());
    let info = FlightInfo::new().try_with_schema(schema).map_err(malformed)?;
    let info = info.with_endpoint(FlightEndpoint::new().with_ticket(ticket)).with_descriptor(descriptor);
    // how many rows and bytes there will be is not known
    Ok(Response::new(info.with_total_records(-1).with_total_bytes(-1).with_ordered(true)))
}

/// A result of one batch.
pub(super) fn one_batch(batch: Result<RecordBatch, FlightError>) -> Result<Response<Rows>, Status> {
    let batch = batch.map_err(malformed)?;
    Ok(Response::new(encode(batch.schema(), stream::iter([Ok(batch)])).boxed()))
}

/// A schema as a message of its own, as prepared statements have them.
pub(super) fn ipc(schema: &Schema) -> Result<Bytes, Status> {
    let IpcMessage(bytes) =
        SchemaAsIpc::new(schema, &IpcWriteOptions::default()).try_into().map_err(malformed)?;
    Ok(bytes)
}
