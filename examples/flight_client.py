"""Semantic search over a server, from Python: examples/flight_client.py [URI]

Start one with `semsql serve --allow-writes`; pip install adbc-driver-flightsql adbc-driver-manager pyarrow.
"""

import sys

import adbc_driver_flightsql.dbapi as flight_sql
import pyarrow as pa

uri = sys.argv[1] if len(sys.argv) > 1 else "grpc://127.0.0.1:50051"
documents = pa.table(
    {
        "id": [1, 2, 3, 4],
        "text": [
            "Python is a high-level programming language",
            "Machine learning models require training data",
            "Daft is a distributed dataframe library",
            "Embeddings capture semantic meaning of text",
        ],
    }
)

# with users: db_kwargs={"username": "ada", "password": "..."}
with flight_sql.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
    cursor.adbc_ingest("documents", documents, mode="replace")
    cursor.execute("CREATE OR REPLACE TABLE embedded AS SELECT *, embed_text(text) AS embedding FROM documents")

    # embeddings are fixed-size lists: one block of numbers
    cursor.execute("SELECT embedding FROM embedded")
    column = cursor.fetch_arrow_table().column("embedding").combine_chunks()
    print(f"{len(column)} embeddings of {column.type.list_size} dimensions")

    search = "SELECT text, cosine_distance(embedding, embed_text(?)) AS distance FROM embedded ORDER BY distance LIMIT ?"
    cursor.execute(search, ("What is Daft?", 2))
    for text, distance in cursor.fetchall():
        print(f"{distance:.2f}  {text}")
