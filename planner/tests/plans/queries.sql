CREATE SOURCE bid (auction BIGINT NOT NULL, bidder BIGINT, price BIGINT, channel STRING, url STRING, ts TIMESTAMP(3), extra STRING,
  WATERMARK FOR ts AS ts - INTERVAL '4' SECOND) WITH (connector = 'stream', topic = 'bid');
CREATE SOURCE old (symbol STRING, price DOUBLE, ts TIMESTAMP(3), tags ARRAY<STRING>, pos ROW<lat DOUBLE, lon DOUBLE>)
  WITH (connector = 'file', path = 'old.ndjson');
----
SELECT * FROM bid;
----
SELECT auction, 0.908 * price AS price, Bidder FROM bid WHERE MOD(auction, 123) = 0;
----
SELECT auction, count(*), max(price) AS top FROM bid GROUP BY auction HAVING count(*) > 10;
----
SELECT DISTINCT auction FROM bid;
----
SELECT auction FROM bid UNION ALL SELECT bidder FROM bid WHERE price > 5;
----
SELECT auction FROM bid UNION SELECT bidder FROM bid;
----
WITH big AS (SELECT auction, price FROM bid WHERE price > 10) SELECT price * 2 AS p FROM big WHERE price < 100;
----
SELECT CASE WHEN lower(channel) = 'apple' THEN '0' ELSE REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2) END AS id,
  SPLIT_INDEX(url, '/', 3) AS dir1, DATE_FORMAT(ts, 'yyyy-MM-dd') AS day, HOUR(ts) AS h
FROM bid WHERE REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2) IS NOT NULL;
----
SELECT symbol, unnest(tags) AS tag, pos.lat FROM old;
----
SELECT count(*) FROM old;
----
SELECT symbol, price, ts FROM 'trades.ndjson' WHERE price > 1.5;
----
SELECT avg(price), sum(price), min(symbol), count(DISTINCT symbol), stddev(price), median(price), approx_percentile(price, 0.95),
  string_agg(symbol, '; ' ORDER BY price DESC), array_agg(price), first_value(price), arg_max(symbol, price), approx_distinct(symbol),
  count(*) FILTER (WHERE price > 3), any_value(symbol)
FROM old;
----
SELECT _partition, _offset, price FROM old WHERE _offset > 10;
----
SELECT *, _timestamp FROM bid;
----
SELECT IF(price > 10, 'high', 'low') AS level, PROCTIME() AS at, TO_TIMESTAMP_LTZ(price, 3) AS t FROM bid;
----
SELECT auction FROM bid WHERE false;
----
SELECT auction, sum(price) FROM bid WHERE price > 1 AND price > 1 GROUP BY auction, auction + 0;
----
SELECT date_trunc('hour', ts) AS hour, count(*) AS n FROM bid GROUP BY date_trunc('hour', ts);
----
SELECT median(price) FROM bid ALLOW UNBOUNDED STATE;
----
SELECT random() AS r FROM bid;
