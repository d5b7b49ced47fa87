-- The nearest of many: each query's best documents, filters, near duplicates, photos like a photo.
CREATE TABLE documents AS
SELECT column1 AS id, column2 AS topic, column3 AS text, embed_text(column3) AS embedding
FROM (VALUES
    (1, 'language', 'Python is a high-level programming language'),
    (2, 'data', 'Machine learning models require training data'),
    (3, 'data', 'Daft is a distributed dataframe library'),
    (4, 'search', 'Embeddings capture semantic meaning of text'),
    (5, 'search', 'The meaning of a text is captured by its embedding'),
    (6, 'language', 'Rust is a programming language without a garbage collector'));

CREATE TABLE queries AS
SELECT column1 AS query, embed_text(column1) AS embedding
FROM (VALUES ('Which languages are there?'), ('How does a vector represent a sentence?'));

-- the two best of each query: the cross join leaves out what cannot be among them (see EXPLAIN)
SELECT query, text, round(cosine_distance(queries.embedding, documents.embedding), 2) AS distance
FROM queries CROSS JOIN documents
QUALIFY row_number() OVER (PARTITION BY query ORDER BY cosine_distance(queries.embedding, documents.embedding)) <= 2
ORDER BY query, distance;
-- ╭─────────────────────────────────────────┬────────────────────────────────────────────────────────────┬──────────╮
-- │ query                                   ┆ text                                                       ┆ distance │
-- │ String                                  ┆ String                                                     ┆  Float64 │
-- ╞═════════════════════════════════════════╪════════════════════════════════════════════════════════════╪══════════╡
-- │ How does a vector represent a sentence? ┆ The meaning of a text is captured by its embedding         ┆     0.47 │
-- │ How does a vector represent a sentence? ┆ Embeddings capture semantic meaning of text                ┆     0.53 │
-- │ Which languages are there?              ┆ Python is a high-level programming language                ┆     0.67 │
-- │ Which languages are there?              ┆ Rust is a programming language without a garbage collector ┆     0.78 │
-- ╰─────────────────────────────────────────┴────────────────────────────────────────────────────────────┴──────────╯
-- (4 rows)

-- the best of each query, by a subquery that is asked for each
SELECT query, best.text
FROM queries CROSS JOIN LATERAL
    (SELECT text FROM documents ORDER BY cosine_distance(queries.embedding, documents.embedding) LIMIT 1) AS best
ORDER BY query;
-- ╭─────────────────────────────────────────┬────────────────────────────────────────────────────╮
-- │ query                                   ┆ text                                               │
-- │ String                                  ┆ String                                             │
-- ╞═════════════════════════════════════════╪════════════════════════════════════════════════════╡
-- │ How does a vector represent a sentence? ┆ The meaning of a text is captured by its embedding │
-- │ Which languages are there?              ┆ Python is a high-level programming language        │
-- ╰─────────────────────────────────────────┴────────────────────────────────────────────────────╯
-- (2 rows)

-- filters come first: two rows come back if two rows pass
SELECT id, text
FROM documents
WHERE topic = 'data'
ORDER BY cosine_distance(embedding, embed_text('How does a vector represent a sentence?'))
LIMIT 2;
-- ╭───────┬───────────────────────────────────────────────╮
-- │    id ┆ text                                          │
-- │ Int64 ┆ String                                        │
-- ╞═══════╪═══════════════════════════════════════════════╡
-- │     2 ┆ Machine learning models require training data │
-- │     3 ┆ Daft is a distributed dataframe library       │
-- ╰───────┴───────────────────────────────────────────────╯
-- (2 rows)

-- near duplicates
SELECT a.text AS text, b.text AS duplicate
FROM documents a JOIN documents b ON a.id < b.id AND cosine_distance(a.embedding, b.embedding) < 0.3;
-- ╭─────────────────────────────────────────────┬────────────────────────────────────────────────────╮
-- │ text                                        ┆ duplicate                                          │
-- │ String                                      ┆ String                                             │
-- ╞═════════════════════════════════════════════╪════════════════════════════════════════════════════╡
-- │ Embeddings capture semantic meaning of text ┆ The meaning of a text is captured by its embedding │
-- ╰─────────────────────────────────────────────┴────────────────────────────────────────────────────╯
-- (1 row)

-- the distance of each query to what is nearest to it
SELECT query, round(min(cosine_distance(queries.embedding, documents.embedding)), 2) AS distance
FROM queries CROSS JOIN documents
GROUP BY query
ORDER BY query;
-- ╭─────────────────────────────────────────┬──────────╮
-- │ query                                   ┆ distance │
-- │ String                                  ┆  Float64 │
-- ╞═════════════════════════════════════════╪══════════╡
-- │ How does a vector represent a sentence? ┆     0.47 │
-- │ Which languages are there?              ┆     0.67 │
-- ╰─────────────────────────────────────────┴──────────╯
-- (2 rows)

-- photos like a photo
WITH photos AS (
    SELECT path, embed_image(decode_image(download(path)), 'efficientnet-lite0') AS embedding
    FROM glob('sql/data/photos/*'))
SELECT b.path
FROM photos a CROSS JOIN photos b
WHERE a.path LIKE '%palace%' AND b.path <> a.path
ORDER BY cosine_distance(a.embedding, b.embedding)
LIMIT 1;
-- ╭────────────────────────────╮
-- │ path                       │
-- │ String                     │
-- ╞════════════════════════════╡
-- │ sql/data/photos/coffee.jpg │
-- ╰────────────────────────────╯
-- (1 row)
