CREATE SOURCE bid (auction BIGINT NOT NULL, bidder INT, price BIGINT, amount DECIMAL(12, 2), rate FLOAT, ok BOOLEAN, name STRING,
  day DATE, ts TIMESTAMP(3), ltz TIMESTAMP_LTZ(3), tags ARRAY<STRING>, m MAP<STRING, INT>, pos ROW<lat DOUBLE, lon DOUBLE>,
  WATERMARK FOR ltz AS ltz - INTERVAL '4' SECOND) WITH (connector = 'stream');
----
SELECT window_start, auction, sum(bidder), sum(amount), sum(rate), avg(bidder), avg(amount), avg(rate), min(name), max(day), bool_and(ok),
  bit_or(price), var_pop(price), stddev_samp(rate), count(name), count(DISTINCT auction), first_value(name IGNORE NULLS), last_value(ts)
FROM bid WINDOW TUMBLING(1m) GROUP BY auction;
----
SELECT auction * 1.5, rate * 1.5, rate > 0.1, amount * 1.1, amount / 3, price / 2, price % 7, name || 'x', ts + INTERVAL '1' DAY,
  ltz - ts, day + INTERVAL '1' DAY, CAST(price AS INT), TRY_CAST(name AS DOUBLE), coalesce(rate, 0.5), nullif(price, 0),
  price BETWEEN 1 AND 2.5, name LIKE 'a%', name IN ('a', 'b'), rate IN (0.5, 1.5), CASE WHEN ok THEN 1.5 ELSE rate END, tags[1], m['a'],
  pos.lat, date_trunc('day', ts), EXTRACT(HOUR FROM ts), to_char(ts, '%Y'), upper(name), char_length(name), abs(rate), round(amount, 1),
  substring(name, 1, 2), position('a' IN name), md5(name), array_has(tags, 'x'), NOT ok, price IS NULL, -price, greatest(price, 1)
FROM bid;
----
SELECT date_part('hour', ts) AS h, count(*) AS n FROM bid GROUP BY date_part('hour', ts) HAVING sum(price) > 10 AND h < 3;
----
SELECT auction, count(*) AS n FROM bid GROUP BY 1;
----
SELECT count(*) FROM (SELECT DISTINCT auction, bidder FROM bid) AS t;
----
SELECT count(*) FROM (SELECT auction FROM bid UNION ALL SELECT price FROM bid) AS t;
----
WITH t AS (SELECT auction, window_start, window_end, count(*) AS n FROM bid WINDOW SLIDING(10s, 2s) GROUP BY auction)
SELECT window_end, max(n) AS most, arg_max(auction, n) AS hottest FROM t GROUP BY window_end;
----
WITH t AS (SELECT auction, window_start, window_end, count(*) AS n FROM bid WINDOW TUMBLING(10s) GROUP BY auction)
SELECT sum(n) AS n, window_end FROM TABLE(TUMBLE(
  (SELECT auction, n, window_end AS w FROM t), DESCRIPTOR(w), INTERVAL '1' MINUTE)) GROUP BY window_end;
----
SELECT name, approx_percentile(price, 0.5) AS p, percentile_cont(0.9) WITHIN GROUP (ORDER BY price) AS q, approx_median(price) AS r
FROM bid WINDOW TUMBLING(1m) GROUP BY name;
----
SELECT array_agg(DISTINCT name ORDER BY name) AS names, string_agg(name) AS joined FROM bid WINDOW TUMBLING(1m);
----
SELECT arg_min(name, price) AS cheapest, b.auction FROM bid b WHERE b.price > 0 GROUP BY b.auction;
----
SELECT b.*, _offset FROM bid AS b WHERE rate > 0.25;
----
SELECT n.total FROM (SELECT sum(price) AS total FROM bid) AS n WHERE n.total > 5;
----
SELECT ts, count(*) FILTER (WHERE ok) AS good FROM bid GROUP BY ALL;
----
SELECT floor(rate) AS f, count(*) AS n FROM bid GROUP BY f;
----
SELECT auction, auction + 1 AS next FROM (SELECT auction FROM bid WHERE ok) AS t WHERE auction > 10;
----
SELECT 'x', 'x', count(*), count(*) FROM bid GROUP BY auction;
----
CREATE VIEW v (a, w) AS SELECT auction, window_end FROM bid WINDOW TUMBLING(1m) GROUP BY auction EMIT CHANGES;
SELECT w, count(*) AS n FROM v GROUP BY w;
----
SELECT auction, auction FROM bid;
