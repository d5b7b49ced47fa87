//! Flight SQL: what each call of a client means.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionBeginSavepointRequest, ActionBeginSavepointResult, ActionBeginTransactionRequest,
    ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, CommandGetCatalogs, CommandGetCrossReference, CommandGetDbSchemas,
    CommandGetExportedKeys, CommandGetImportedKeys, CommandGetPrimaryKeys, CommandGetSqlInfo,
    CommandGetTableTypes, CommandGetTables, CommandGetXdbcTypeInfo, CommandPreparedStatementQuery,
    CommandPreparedStatementUpdate, CommandStatementIngest, CommandStatementQuery, CommandStatementUpdate,
    DoPutPreparedStatementResult, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor,
    FlightInfo, HandshakeRequest, HandshakeResponse, Ticket,
};
use bytes::Bytes;
use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::bound::Bound;
use super::handles::parse;
use super::incoming::Incoming;
use super::messages::{flight_info, ipc, one_batch};
use super::metrics::{Kind, Outcome};
use super::queries::About;
use super::service::{Rows, Service, Wanted, user};
use super::statements::{Statements, read_only};
use super::status::malformed;
use super::wire::wire_schema;
use super::{catalog, ingest, keys};

/// How many messages a result is ahead of its client.
const MESSAGES_AHEAD: usize = 2;

fn no_transactions() -> Status {
    Status::unimplemented("there are no transactions: each statement is one (autocommit)")
}

fn check_transaction(transaction: Option<&Bytes>) -> Result<(), Status> {
    transaction.filter(|id| !id.is_empty()).map_or(Ok(()), |_| Err(no_transactions()))
}

/// `GetFlightInfo` and `DoGet` of a command that is answered by one batch. The functions are what `async_trait` makes of
/// async ones, which it does not see inside a macro.
macro_rules! metadata {
    ($info:ident, $get:ident, $command:ty, |$state:ident, $name:ident| $batch:expr) => {
        fn $info<'life0, 'async_trait>(
            &'life0 self,
            command: $command,
            request: Request<FlightDescriptor>,
        ) -> BoxFuture<'async_trait, Result<Response<FlightInfo>, Status>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async move {
                let ($state, $name) = (&self.0, command.clone());
                let batch: RecordBatch = $batch.map_err(malformed)?;
                flight_info(&command, &batch.schema(), request.into_inner())
            })
        }

        fn $get<'life0, 'async_trait>(
            &'life0 self,
            $name: $command,
            _: Request<Ticket>,
        ) -> BoxFuture<'async_trait, Result<Response<Rows>, Status>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async move {
                let $state = &self.0;
                one_batch($batch)
            })
        }
    };
}

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Self;

    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<BoxStream<'static, Result<HandshakeResponse, Status>>>, Status> {
        let login = self.0.auth.log_in(request.metadata()).await;
        let metrics = &self.0.queries.metrics;
        metrics.login(if login.is_ok() { Outcome::Ok } else { Outcome::Error });
        let (user, token) = login.inspect_err(|status| {
            tracing::info!(outcome = %status.code(), "login refused");
        })?;
        tracing::info!(user = user.name(), "login");
        let answer = HandshakeResponse { protocol_version: 0, payload: token.clone().into() };
        let mut response = Response::new(stream::iter([Ok(answer)]).boxed());
        let bearer = format!("Bearer {token}").parse().map_err(malformed)?;
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        command: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        check_transaction(command.transaction_id.as_ref())?;
        let user = user(&request);
        let (sql, update, plans) = self.plan_whole(&user, command.query).await?;
        self.ticket(user, sql, update, plans, request.into_inner()).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let user = user(&request);
        let prepared = self.0.prepared.get(&user, &command.prepared_statement_handle)?;
        let (sql, update) = (Arc::clone(&prepared.statement().sql), prepared.statement().update);
        let plans = self.plans(&user, &sql, move || prepared.plans()).await?;
        self.ticket(user, sql, update, plans, request.into_inner()).await
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        let user = user(&request);
        let ticket = ticket.statement_handle;
        let (sql, plans) = match self.0.results.get(&user, &ticket)?.as_ref() {
            Wanted::Answer(batch) => {
                self.0.results.take(&user, &ticket)?;
                return one_batch(Ok(batch.clone()));
            }
            Wanted::Query(sql, plans) => (Arc::clone(sql), Arc::clone(plans)),
        };
        let about = About { kind: Kind::Query, user: user.clone(), sql, handle: parse(&ticket) };
        let state = Arc::clone(&self.0);
        let (messages, received) = mpsc::channel(MESSAGES_AHEAD);
        let task = self.0.queries.start(about, |running| async move {
            // good for one time, which is now: who got no turn may try again
            state.results.take(&user, &ticket)?;
            state.statements.clone().send(plans, running, messages).await
        });
        let task = task.await?;
        // the task is inside the stream: where the client goes away, tonic drops both
        let failure = stream::once(task.join()).filter_map(async |end| end.err().map(Err));
        Ok(Response::new(received.chain(failure).boxed()))
    }

    async fn do_put_statement_update(
        &self,
        command: CommandStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        check_transaction(command.transaction_id.as_ref())?;
        let user = user(&request);
        let (sql, _, plans) = self.plan_whole(&user, command.query).await?;
        self.update(user, sql, plans).await
    }

    async fn do_put_statement_ingest(
        &self,
        command: CommandStatementIngest,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        check_transaction(command.transaction_id.as_ref())?;
        if !self.0.statements.allow_writes {
            return Err(read_only("ingestion"));
        }
        let user = user(&request);
        let about = About { kind: Kind::Ingest, user, sql: "".into(), handle: None };
        let Statements { ctx, client_time, .. } = self.0.statements.clone();
        let rows = Incoming::new(request.into_inner(), usize::MAX, client_time);
        self.0.queries.run(about, |running| ingest::ingest(ctx, command, rows, running)).await
    }

    async fn do_put_prepared_statement_query(
        &self,
        command: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let user = user(&request);
        let prepared = self.0.prepared.get(&user, &command.prepared_statement_handle)?;
        self.bind(&user, &prepared, request.into_inner()).await?;
        Ok(DoPutPreparedStatementResult {
            prepared_statement_handle: Some(command.prepared_statement_handle),
        })
    }

    async fn do_put_prepared_statement_update(
        &self,
        command: CommandPreparedStatementUpdate,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        let user = user(&request);
        let prepared = self.0.prepared.get(&user, &command.prepared_statement_handle)?;
        self.bind(&user, &prepared, request.into_inner()).await?;
        let sql = Arc::clone(&prepared.statement().sql);
        let plans = self.plans(&user, &sql, move || prepared.plans()).await?;
        self.update(user, sql, plans).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        command: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        check_transaction(command.transaction_id.as_ref())?;
        let user = user(&request);
        let statement = self.plan(&user, command.query).await?;
        // clients run what has no columns as an update
        let schema = if statement.update { Arc::new(Schema::empty()) } else { Arc::clone(&statement.schema) };
        let parameter_schema = wire_schema(&Schema::new(statement.parameters.clone()));
        let handle = self.0.prepared.insert(&user, Bound::new(statement))?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: Bytes::copy_from_slice(&handle),
            dataset_schema: ipc(&schema)?,
            parameter_schema: ipc(&parameter_schema)?,
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        command: ActionClosePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<(), Status> {
        self.0.prepared.take(&user(&request), &command.prepared_statement_handle).map(drop)
    }

    async fn do_action_begin_transaction(
        &self,
        _: ActionBeginTransactionRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        Err(no_transactions())
    }

    async fn do_action_begin_savepoint(
        &self,
        _: ActionBeginSavepointRequest,
        _: Request<Action>,
    ) -> Result<ActionBeginSavepointResult, Status> {
        Err(no_transactions())
    }

    async fn do_action_cancel_query(
        &self,
        command: ActionCancelQueryRequest,
        request: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let info = FlightInfo::decode(command.info).map_err(malformed)?;
        // CANCELLED, or NOT_CANCELLABLE: it has ended
        let result = if self.cancel(&user(&request), &info) { 1 } else { 3 };
        Ok(ActionCancelQueryResult { result })
    }

    async fn list_custom_actions(&self) -> Option<Vec<Result<ActionType, Status>>> {
        Some(vec![Ok(ActionType {
            r#type: "CancelFlightInfo".to_owned(),
            description:
                "Cancels a query.\nRequest: CancelFlightInfoRequest\nResponse: CancelFlightInfoResult"
                    .to_owned(),
        })])
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        if request.get_ref().r#type != "CancelFlightInfo" {
            return Err(Status::unimplemented(format!("there is no action '{}'", request.get_ref().r#type)));
        }
        let command = CancelFlightInfoRequest::decode(request.get_ref().body.clone()).map_err(malformed)?;
        let cancelled = command.info.is_some_and(|info| self.cancel(&user(&request), &info));
        let status = if cancelled { CancelStatus::Cancelled } else { CancelStatus::NotCancellable };
        let result = arrow_flight::Result::new(CancelFlightInfoResult::new(status).encode_to_vec());
        Ok(Response::new(stream::iter([Ok(result)]).boxed()))
    }

    async fn get_flight_info_catalogs(
        &self,
        command: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        flight_info(&command, &command.into_builder().schema(), request.into_inner())
    }

    async fn do_get_catalogs(
        &self,
        command: CommandGetCatalogs,
        request: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        self.list(user(&request), move |ctx| async move { catalog::catalogs(&ctx, command) }).await
    }

    async fn get_flight_info_schemas(
        &self,
        command: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        flight_info(&command, &command.clone().into_builder().schema(), request.into_inner())
    }

    async fn do_get_schemas(
        &self,
        command: CommandGetDbSchemas,
        request: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        self.list(user(&request), move |ctx| async move { catalog::schemas(&ctx, command) }).await
    }

    async fn get_flight_info_tables(
        &self,
        command: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        flight_info(&command, &command.clone().into_builder().schema(), request.into_inner())
    }

    async fn do_get_tables(
        &self,
        command: CommandGetTables,
        request: Request<Ticket>,
    ) -> Result<Response<Rows>, Status> {
        self.list(user(&request), move |ctx| async move { catalog::tables(&ctx, command).await }).await
    }

    metadata!(get_flight_info_table_types, do_get_table_types, CommandGetTableTypes, |_state, command| {
        catalog::table_types(command)
    });
    metadata!(get_flight_info_sql_info, do_get_sql_info, CommandGetSqlInfo, |state, command| {
        state.sql_info.record_batch(command.info)
    });
    metadata!(
        get_flight_info_xdbc_type_info,
        do_get_xdbc_type_info,
        CommandGetXdbcTypeInfo,
        |state, command| state.type_info.record_batch(command.data_type)
    );
    metadata!(get_flight_info_primary_keys, do_get_primary_keys, CommandGetPrimaryKeys, |_state, _c| {
        keys::primary()
    });
    metadata!(get_flight_info_exported_keys, do_get_exported_keys, CommandGetExportedKeys, |_state, _c| {
        keys::foreign()
    });
    metadata!(get_flight_info_imported_keys, do_get_imported_keys, CommandGetImportedKeys, |_state, _c| {
        keys::foreign()
    });
    metadata!(
        get_flight_info_cross_reference,
        do_get_cross_reference,
        CommandGetCrossReference,
        |_state, _c| keys::foreign()
    );

    async fn register_sql_info(&self, _: i32, _: &SqlInfo) {}
}
