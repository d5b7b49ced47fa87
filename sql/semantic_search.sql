-- Which document answers the question? Embed both, take every pair, sort by distance.

CREATE TABLE documents (doc_id INT, text VARCHAR) AS VALUES
    (1, 'Python is a high-level programming language'),
    (2, 'Machine learning models require training data'),
    (3, 'Daft is a distributed dataframe library'),
    (4, 'Embeddings capture semantic meaning of text');

CREATE TABLE queries (query_text VARCHAR) AS VALUES ('What is Daft?');

SELECT q.query_text, d.text,
       round(cosine_distance(embed_text(q.query_text), embed_text(d.text)), 3) AS distance
FROM queries q CROSS JOIN documents d
ORDER BY distance;
-- ╭───────────────┬───────────────────────────────────────────────┬──────────╮
-- │ query_text    ┆ text                                          ┆ distance │
-- │ String        ┆ String                                        ┆  Float64 │
-- ╞═══════════════╪═══════════════════════════════════════════════╪══════════╡
-- │ What is Daft? ┆ Daft is a distributed dataframe library       ┆      0.4 │
-- │ What is Daft? ┆ Python is a high-level programming language   ┆    0.865 │
-- │ What is Daft? ┆ Embeddings capture semantic meaning of text   ┆    0.953 │
-- │ What is Daft? ┆ Machine learning models require training data ┆    0.958 │
-- ╰───────────────┴───────────────────────────────────────────────┴──────────╯
-- (4 rows)
