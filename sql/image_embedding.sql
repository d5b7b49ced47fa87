-- Four photos in four formats: found, read, decoded, converted to RGB, resized, embedded.

SELECT path, size,
       resize(convert_image(decode_image(download(path)), 'RGB'), 288, 288) AS image,
       embed_image(resize(convert_image(decode_image(download(path)), 'RGB'), 288, 288)) AS embedding
FROM glob('sql/data/photos/*');
-- ╭─────────────────────────────┬────────┬─────────────────────┬──────────────────────────╮
-- │ path                        ┆   size ┆ image               ┆ embedding                │
-- │ String                      ┆  Int64 ┆ Image[RGB; 288x288] ┆ Embedding[Float32; 384]  │
-- ╞═════════════════════════════╪════════╪═════════════════════╪══════════════════════════╡
-- │ sql/data/photos/cat.png     ┆ 118199 ┆ <Image RGB 288x288> ┆ ▃▅█▁▂▃▄▁▄▆▂▄▅▅▆▃▇▂▅▃▅▃▅▆ │
-- │ sql/data/photos/coffee.jpg  ┆  43268 ┆ <Image RGB 288x288> ┆ ▅▄▆▄▄▁▄▁█▄▂▅▄▄▇▁▄▂▆▅▆▄▁▆ │
-- │ sql/data/photos/palace.webp ┆  39140 ┆ <Image RGB 288x288> ┆ ▇▄▇▅▁▂▅▁█▆▆▅▄▅▆▄█▃▇▂▄▃▆▆ │
-- │ sql/data/photos/rocket.tiff ┆ 172654 ┆ <Image RGB 288x288> ┆ █▄▆▄▆▄▄▁▆▇▅▆▆▃▆█▇▄▇▄▅▃▇▄ │
-- ╰─────────────────────────────┴────────┴─────────────────────┴──────────────────────────╯
-- (4 rows)

-- Features of another model: 1,280 dimensions, for finding images by images.

SELECT a.path AS photo, b.path AS other,
       round(cosine_distance(embed_image(decode_image(download(a.path)), 'efficientnet-lite0'),
                             embed_image(decode_image(download(b.path)), 'efficientnet-lite0')), 2) AS distance
FROM glob('sql/data/photos/*') a CROSS JOIN glob('sql/data/photos/*') b
WHERE a.path < b.path
ORDER BY distance, photo
LIMIT 3;
-- ╭─────────────────────────────┬─────────────────────────────┬──────────╮
-- │ photo                       ┆ other                       ┆ distance │
-- │ String                      ┆ String                      ┆  Float64 │
-- ╞═════════════════════════════╪═════════════════════════════╪══════════╡
-- │ sql/data/photos/coffee.jpg  ┆ sql/data/photos/palace.webp ┆     0.83 │
-- │ sql/data/photos/palace.webp ┆ sql/data/photos/rocket.tiff ┆     0.83 │
-- │ sql/data/photos/coffee.jpg  ┆ sql/data/photos/rocket.tiff ┆     0.87 │
-- ╰─────────────────────────────┴─────────────────────────────┴──────────╯
-- (3 rows)
