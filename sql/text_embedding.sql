-- Text to embeddings: one vector a row, NULL for NULL, equal texts embedded once.

SELECT text, embed_text(text) AS embedding
FROM (VALUES ('Hello World'), ('Hello World'), (NULL), ('')) AS t(text);
-- ╭─────────────┬──────────────────────────╮
-- │ text        ┆ embedding                │
-- │ String      ┆ Embedding[Float32; 384]  │
-- ╞═════════════╪══════════════════════════╡
-- │ Hello World ┆ ▄▄▅▅▅▃█▅█▆▄▇▇▄▇▅▁▄▅▆▅▄▃█ │
-- │ Hello World ┆ ▄▄▅▅▅▃█▅█▆▄▇▇▄▇▅▁▄▅▆▅▄▃█ │
-- │ NULL        ┆ NULL                     │
-- │             ┆ ▃▃▄▃▆▂▇▅▆▄▄▄▄▅▅▅▅▄▁▅▆▃▃█ │
-- ╰─────────────┴──────────────────────────╯
-- (4 rows)

-- The model is an argument, or an option of the session.

SET semantic.text_model = 'all-MiniLM-L6-v2';

SELECT arrow_typeof(embed_text('Hello World')) AS type,
       round(cosine_distance(embed_text('Hello World'),
                             embed_text('Hello World', model => 'all-MiniLM-L6-v2@int8')), 2) AS int8_distance;
-- ╭──────────────────────────────┬───────────────╮
-- │ type                         ┆ int8_distance │
-- │ String                       ┆       Float64 │
-- ╞══════════════════════════════╪═══════════════╡
-- │ FixedSizeList(384 x Float32) ┆          0.01 │
-- ╰──────────────────────────────┴───────────────╯
-- (1 row)

-- How alike are two sentences? 0 is the same direction.

SELECT a, b, round(cosine_distance(embed_text(a), embed_text(b)), 2) AS distance
FROM (VALUES ('A man is eating food.', 'A man is eating a piece of bread.'),
             ('A man is eating food.', 'How do I reset my password?')) AS t(a, b)
ORDER BY distance;
-- ╭───────────────────────┬───────────────────────────────────┬──────────╮
-- │ a                     ┆ b                                 ┆ distance │
-- │ String                ┆ String                            ┆  Float64 │
-- ╞═══════════════════════╪═══════════════════════════════════╪══════════╡
-- │ A man is eating food. ┆ A man is eating a piece of bread. ┆     0.24 │
-- │ A man is eating food. ┆ How do I reset my password?       ┆      1.0 │
-- ╰───────────────────────┴───────────────────────────────────┴──────────╯
-- (2 rows)
