//! What calls of clients share: the state, planning, running, binding, cancelling.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::metadata::{SqlInfoData, XdbcTypeInfoData};
use arrow_flight::sql::server::PeekableFlightDataStream;
use arrow_flight::sql::{CommandPreparedStatementQuery, CommandStatementQuery, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightInfo, IpcMessage};
use bytes::Bytes;
use datafusion::prelude::SessionContext;
use prost::Message;
use tonic::{Request, Response, Status};

use super::MAX_REQUEST_BYTES;
use super::auth::{Auth, User};
use super::bound::Bound;
use super::handles::Handles;
use super::incoming::Incoming;
use super::messages::{answer, flight_info, handle_of, one_batch};
use super::metrics::Kind;
use super::queries::{About, Queries};
use super::statements::{Plans, Statement, Statements, text};
use super::status::malformed;

/// The service, over one session.
#[derive(Clone)]
pub(super) struct Service(pub(super) Arc<State>);

pub(super) struct State {
    pub(super) statements: Statements,
    pub(super) queries: Arc<Queries>,
    pub(super) auth: Arc<Auth>,
    /// Statements that were planned and not fetched yet.
    pub(super) results: Handles<Wanted>,
    pub(super) prepared: Handles<Bound>,
    pub(super) sql_info: SqlInfoData,
    pub(super) type_info: XdbcTypeInfoData,
}

/// What a ticket is for.
#[derive(Debug)]
pub(super) enum Wanted {
    /// A query that runs when it is fetched.
    Query(Arc<str>, Arc<Plans>),
    /// What an update has answered: it ran when it was asked for, once, whether its answer is fetched or not.
    Answer(RecordBatch),
}

/// The rows of a result.
pub(super) type Rows = <Service as FlightService>::DoGetStream;

impl Service {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self(state)
    }

    pub(super) async fn plan(&self, user: &User, sql: String) -> Result<Statement, Status> {
        let sql = self.text(user, sql)?;
        let about = About { kind: Kind::Plan, user: user.clone(), sql: Arc::clone(&sql), handle: None };
        let statements = self.0.statements.clone();
        self.0.queries.run(about, |_| async move { statements.plan(sql).await }).await
    }

    /// The text of a statement that is not too long for a turn.
    fn text(&self, user: &User, sql: String) -> Result<Arc<str>, Status> {
        text(sql).inspect_err(|status| {
            let about = About { kind: Kind::Plan, user: user.clone(), sql: "".into(), handle: None };
            self.0.queries.refused(&about, status);
        })
    }

    /// Plans a statement without parameters; whether it changes something.
    pub(super) async fn plan_whole(
        &self,
        user: &User,
        sql: String,
    ) -> Result<(Arc<str>, bool, Arc<Plans>), Status> {
        let sql = self.text(user, sql)?;
        let about = About { kind: Kind::Plan, user: user.clone(), sql: Arc::clone(&sql), handle: None };
        let statements = self.0.statements.clone();
        let planned = self.0.queries.run(about, |_| async move {
            let statement = statements.plan(sql).await?;
            Ok((Arc::clone(&statement.sql), statement.update, Arc::new(statement.plans()?)))
        });
        planned.await
    }

    /// The schema of what a descriptor asks for.
    pub(super) async fn schema(&self, request: Request<FlightDescriptor>) -> Result<SchemaRef, Status> {
        let user = user(&request);
        let any = arrow_flight::sql::Any::decode(request.get_ref().cmd.as_ref()).map_err(malformed)?;
        if let Some(command) = any.unpack::<CommandStatementQuery>().map_err(malformed)? {
            return Ok(Arc::clone(&self.plan(&user, command.query).await?.schema));
        }
        if let Some(command) = any.unpack::<CommandPreparedStatementQuery>().map_err(malformed)? {
            let prepared = self.0.prepared.get(&user, &command.prepared_statement_handle)?;
            return Ok(Arc::clone(&prepared.statement().schema));
        }
        let info = FlightService::get_flight_info(self, request).await?.into_inner();
        Ok(Arc::new(Schema::try_from(IpcMessage(info.schema)).map_err(malformed)?))
    }

    /// Makes plans on the threads for them.
    pub(super) async fn plans(
        &self,
        user: &User,
        sql: &Arc<str>,
        make: impl FnOnce() -> Result<Plans, Status> + Send + 'static,
    ) -> Result<Arc<Plans>, Status> {
        let about = About { kind: Kind::Plan, user: user.clone(), sql: Arc::clone(sql), handle: None };
        self.0.queries.run(about, |_| async move { make().map(Arc::new) }).await
    }

    /// The ticket of a query; an update runs now.
    pub(super) async fn ticket(
        &self,
        user: User,
        sql: Arc<str>,
        update: bool,
        plans: Arc<Plans>,
        descriptor: FlightDescriptor,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = Arc::clone(&plans.schema);
        let wanted = if update {
            let changed = self.update(user.clone(), sql, plans).await?;
            Wanted::Answer(answer(&schema, changed))
        } else {
            Wanted::Query(sql, plans)
        };
        let handle = self.0.results.insert(&user, wanted)?;
        let statement_handle = Bytes::copy_from_slice(&handle);
        flight_info(&TicketStatementQuery { statement_handle }, &schema, descriptor)
    }

    pub(super) async fn update(&self, user: User, sql: Arc<str>, plans: Arc<Plans>) -> Result<i64, Status> {
        let about = About { kind: Kind::Update, user, sql: Arc::clone(&sql), handle: None };
        let statements = self.0.statements.clone();
        self.0.queries.run(about, |running| statements.update(plans, running)).await
    }

    /// Takes the values that a client sends for the parameters of a prepared statement.
    pub(super) async fn bind(
        &self,
        user: &User,
        prepared: &Arc<Bound>,
        messages: PeekableFlightDataStream,
    ) -> Result<(), Status> {
        let sql = Arc::clone(&prepared.statement().sql);
        let about = About { kind: Kind::Bind, user: user.clone(), sql, handle: None };
        let Statements { ctx, client_time, .. } = &self.0.statements;
        let incoming = Incoming::new(messages, MAX_REQUEST_BYTES, *client_time);
        let (prepared, pool) = (Arc::clone(prepared), Arc::clone(&ctx.runtime_env().memory_pool));
        self.0.queries.run(about, |_| async move { prepared.bind(incoming, &pool).await }).await
    }

    /// Lists what the catalog has.
    pub(super) async fn list<F>(
        &self,
        user: User,
        list: impl FnOnce(SessionContext) -> F + Send + 'static,
    ) -> Result<Response<Rows>, Status>
    where
        F: Future<Output = Result<RecordBatch, FlightError>> + Send + 'static,
    {
        let about = About { kind: Kind::Catalog, user, sql: "".into(), handle: None };
        let listed = list(self.0.statements.ctx.clone());
        let listed = self.0.queries.run(about, |_| async move { listed.await.map_err(malformed) });
        one_batch(Ok(listed.await?))
    }

    /// Cancels what a ticket is for, whether it runs or was not fetched yet. An update has run: its answer stays.
    pub(super) fn cancel(&self, user: &User, info: &FlightInfo) -> bool {
        let tickets = info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref());
        let mut cancelled = false;
        for handle in tickets.filter_map(handle_of) {
            let ticket = Bytes::copy_from_slice(&handle);
            let is_query = matches!(self.0.results.get(user, &ticket).as_deref(), Ok(Wanted::Query(..)));
            let waiting = is_query && self.0.results.take(user, &ticket).is_ok();
            cancelled |= self.0.queries.cancel(user, &handle) || waiting;
        }
        cancelled
    }
}

/// Who makes a call.
pub(super) fn user<T>(request: &Request<T>) -> User {
    request.extensions().get::<User>().cloned().unwrap_or_else(|| User::named("anonymous"))
}
