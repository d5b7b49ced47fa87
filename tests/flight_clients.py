"""What ADBC's Flight SQL driver and pyarrow's Flight client make of a server: flight_clients.py URI CERTIFICATE USER PASSWORD"""

import sys

import adbc_driver_flightsql.dbapi as flight_sql
import pyarrow as pa
import pyarrow.flight as flight
from adbc_driver_flightsql import DatabaseOptions
from adbc_driver_manager import Error

uri, certificate, user, password = sys.argv[1:]
with open(certificate) as file:
    pem = file.read()


def connect(**options):
    options = {DatabaseOptions.TLS_ROOT_CERTS.value: pem, **options}
    return flight_sql.connect(uri, db_kwargs=options, autocommit=True)


def raises(text, call):
    try:
        call()
    except (Error, flight.FlightError, pa.ArrowException) as error:
        assert text in str(error), error
        return
    raise AssertionError(f"no error: {text}")


# who does not log in, or with a wrong password
raises("log in first", lambda: connect().cursor().execute("SELECT 1"))
raises("the user name or the password is wrong", lambda: connect(username=user, password="wrong"))

with connect(username=user, password=password) as connection:
    with connection.cursor() as cursor:
        # embeddings are fixed-size lists, with what tells their space
        cursor.execute("SELECT id, text, embed_text(text) AS e FROM documents ORDER BY id")
        table = cursor.fetch_arrow_table()
        assert table.schema.field("e").type == pa.list_(pa.float32(), 384), table.schema
        assert table.schema.field("e").metadata, table.schema
        assert table.schema.field("text").type == pa.string(), table.schema
        assert table.column("id").to_pylist() == [1, 2, 3]
        assert table.column("e").null_count == 1
        table.to_pandas()

        # parameters
        search = (
            "SELECT text, cosine_distance(embed_text(text), embed_text(?)) AS d FROM documents "
            "WHERE text IS NOT NULL ORDER BY d LIMIT ?"
        )
        for text, expected in [("a kitten", "a cat"), ("two dogs", "the dogs")]:
            cursor.execute(search, (text, 1))
            assert cursor.fetchall()[0][0] == expected
        vector = pa.record_batch([pa.array([table.column("e")[0].as_py()], pa.list_(pa.float32(), 384))], ["v"])
        cursor.execute("SELECT id FROM documents ORDER BY cosine_distance(embed_text(text), ?) LIMIT 1", vector)
        assert cursor.fetchone() == (1,)

        # errors that can be read
        raises("did you mean documents.text?", lambda: cursor.execute("SELECT txt FROM documents"))
        raises("embed_text: text must be a string", lambda: cursor.execute("SELECT embed_text(id) FROM documents"))
        raises("model 'nope' is not on this machine", lambda: cursor.execute("SELECT embed_text(text, 'nope') FROM documents"))
        raises("not allowed", lambda: cursor.execute("SELECT * FROM '/etc/passwd'"))

        # a row larger than a message of gRPC
        cursor.execute("SELECT repeat('x', 5000000) AS t")
        assert len(cursor.fetchone()[0]) == 5_000_000
        # and many rows
        cursor.execute("SELECT value, repeat('x', 1000) AS t FROM range(0, 50000)")
        assert cursor.fetch_arrow_table().num_rows == 50_000

        # types that not every client reads as they are
        cursor.execute(
            "SELECT arrow_cast('a', 'Utf8View') AS v, arrow_cast('a', 'Dictionary(Int32, Utf8)') AS d, "
            "arrow_cast(x'61', 'BinaryView') AS b, [arrow_cast('a', 'Utf8View')] AS l, NULL AS n"
        )
        table = cursor.fetch_arrow_table()
        assert table.schema.types[:3] == [pa.string(), pa.string(), pa.binary()], table.schema
        assert table.to_pylist()[0]["l"] == ["a"]

        # ingestion
        rows = pa.table({"id": pa.array([4, 5], pa.int32()), "text": ["a boat", None]})
        assert cursor.adbc_ingest("documents", rows, mode="append") == 2
        assert cursor.adbc_ingest("boats", rows, mode="create") == 2
        raises("exists", lambda: cursor.adbc_ingest("boats", rows, mode="create"))
        cursor.execute("SELECT count(*) FROM documents")
        assert cursor.fetchone() == (5,)
        cursor.executemany("INSERT INTO boats VALUES (?, ?)", [(6, "a ship"), (7, "a raft")])
        cursor.execute("SELECT count(*) FROM boats")
        assert cursor.fetchone() == (4,)

        # the schema of a statement that does not run
        assert cursor.adbc_execute_schema("SELECT 1 AS one").names == ["one"]

    # metadata
    info = connection.adbc_get_info()
    assert info["vendor_name"] == "semsql", info
    assert "BASE TABLE" not in connection.adbc_get_table_types()
    schema = connection.adbc_get_table_schema("documents")
    assert schema.field("text").type == pa.string(), schema
    objects = connection.adbc_get_objects(depth="all", table_name_filter="documents").read_all().to_pylist()
    tables = [table for catalog in objects for schema in catalog["catalog_db_schemas"] for table in schema["db_schema_tables"]]
    assert [column["column_name"] for column in tables[0]["table_columns"]] == ["id", "text"], tables

    # a query that is not read to its end
    with connection.cursor() as cursor:
        cursor.execute("SELECT value FROM range(0, 100000000)")
        cursor.fetchone()
        cursor.adbc_cancel()

# pyarrow's own client
client = flight.FlightClient(uri, tls_root_certs=pem)
raises("the user name or the password is wrong", lambda: client.authenticate_basic_token(user, "wrong"))
options = flight.FlightCallOptions(headers=[client.authenticate_basic_token(user, password)])


def varint(number):
    bytes_ = b""
    while number > 127:
        bytes_ += bytes([number & 127 | 128])
        number >>= 7
    return bytes_ + bytes([number])


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def command(name, message):
    """A message of Flight SQL in its envelope (google.protobuf.Any), which pyarrow has no types for."""
    return field(1, f"type.googleapis.com/arrow.flight.protocol.sql.{name}".encode()) + field(2, message)


sql = b"SELECT embed_text(text) AS e, repeat('x', 5000000) AS t FROM documents WHERE id = 1"
descriptor = flight.FlightDescriptor.for_command(command("CommandStatementQuery", field(1, sql)))
info = client.get_flight_info(descriptor, options)
assert client.get_schema(descriptor, options).schema == info.schema
table = client.do_get(info.endpoints[0].ticket, options).read_all()
assert table.schema == info.schema, (table.schema, info.schema)
assert table.num_rows == 1 and len(table.column("t")[0].as_py()) == 5_000_000
raises("log in first", lambda: client.get_flight_info(descriptor))
print("ok")
