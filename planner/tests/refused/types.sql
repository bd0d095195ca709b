CREATE SOURCE trades (symbol STRING, price DOUBLE, n INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (connector = 'stream');
CREATE SINK out (symbol STRING, n INT NOT NULL) WITH (connector = 'file', path = 'o');
----
SELECT sum(symbol) FROM trades GROUP BY n;
----
SELECT price FROM trades WHERE n = 1 AND ts > 5;
----
SELECT symbol + ts FROM trades;
----
SELECT split_index(price, '/', 1) AS a FROM trades;
----
SELECT date_format(ts, 'yyyy-QQ') AS d FROM trades;
----
SELECT regexp_extract(symbol, '(') AS d FROM trades;
----
SELECT approx_percentile(price, 95) FROM trades GROUP BY n;
----
INSERT INTO out SELECT symbol, price FROM trades;
----
INSERT INTO out SELECT symbol, n FROM trades;
----
INSERT INTO out SELECT symbol FROM trades;
----
SELECT symbol FROM trades WHERE count(*) > 3;
----
SELECT count(*) FROM TABLE(TUMBLE(TABLE trades, DESCRIPTOR(symbol), INTERVAL '1' MINUTE)) GROUP BY window_end;
