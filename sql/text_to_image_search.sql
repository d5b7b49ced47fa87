-- A text finds photos: the default image model embeds them into the space of the default text model.

CREATE TABLE photos AS
SELECT path, embed_image(decode_image(download(path))) AS embedding
FROM glob('sql/data/photos/*');

SELECT path, round(cosine_distance(embedding, embed_text('a photo of a cat')), 2) AS distance
FROM photos
ORDER BY distance
LIMIT 1;
-- ╭─────────────────────────┬──────────╮
-- │ path                    ┆ distance │
-- │ String                  ┆  Float64 │
-- ╞═════════════════════════╪══════════╡
-- │ sql/data/photos/cat.png ┆     0.17 │
-- ╰─────────────────────────┴──────────╯
-- (1 row)

-- Several questions at once: the best photo for each.

SELECT question, path
FROM (SELECT question, path,
             row_number() OVER (PARTITION BY question
                                ORDER BY cosine_distance(embedding, embed_text(question))) AS rank
      FROM photos CROSS JOIN (VALUES ('a cup of coffee'), ('a palace'), ('a rocket launch')) AS q(question))
WHERE rank = 1
ORDER BY question;
-- ╭─────────────────┬─────────────────────────────╮
-- │ question        ┆ path                        │
-- │ String          ┆ String                      │
-- ╞═════════════════╪═════════════════════════════╡
-- │ a cup of coffee ┆ sql/data/photos/coffee.jpg  │
-- │ a palace        ┆ sql/data/photos/palace.webp │
-- │ a rocket launch ┆ sql/data/photos/rocket.tiff │
-- ╰─────────────────┴─────────────────────────────╯
-- (3 rows)
