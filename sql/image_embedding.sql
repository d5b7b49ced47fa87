-- Four photos in four formats: found, read, decoded, converted to RGB, resized, embedded.

SELECT path, size,
       resize(convert_image(decode_image(download(path)), 'RGB'), 288, 288) AS image,
       embed_image(resize(convert_image(decode_image(download(path)), 'RGB'), 288, 288)) AS embedding
FROM glob('sql/data/photos/*');

-- Features of another model: 1,280 dimensions, for finding images by images.

SELECT a.path AS photo, b.path AS other,
       round(cosine_distance(embed_image(decode_image(download(a.path)), 'efficientnet-lite0'),
                             embed_image(decode_image(download(b.path)), 'efficientnet-lite0')), 2) AS distance
FROM glob('sql/data/photos/*') a CROSS JOIN glob('sql/data/photos/*') b
WHERE a.path < b.path
ORDER BY distance
LIMIT 3;
