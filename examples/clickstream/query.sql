-- Views and visitors of each page over the last half hour, every quarter of an hour.
CREATE SOURCE clicks (
    at       TIMESTAMP(3),
    visitor  VARCHAR,
    page     VARCHAR,
    country  VARCHAR,
    load_ms  INT,
    section  AS split_part(page, '/', 2),
    WATERMARK FOR at AS at - INTERVAL '1' SECOND
) WITH (
    connector = 'file',
    path = 'examples/clickstream/clicks.csv',
    format = 'csv',
    header = 'true'
);

SELECT window_start,
       window_end,
       page,
       count(*)                                    AS views,
       count(DISTINCT visitor)                     AS visitors,
       count(*) FILTER (WHERE country IS NOT NULL) AS located,
       round(avg(load_ms), 1)                       AS load_ms_mean,
       max(load_ms)                                AS load_ms_max
FROM clicks
WHERE section <> 'checkout'
WINDOW SLIDING(30m, 15m)
GROUP BY page
HAVING count(*) > 30
EMIT FINAL;
