CREATE SOURCE trades (symbol STRING, price DOUBLE, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (connector = 'stream');
CREATE SOURCE plain (symbol STRING, price DOUBLE, ts TIMESTAMP(3)) WITH (connector = 'stream');
----
SELECT now() FROM trades WHERE ts > CURRENT_TIMESTAMP;
----
SELECT median(price) FROM trades;
----
SELECT symbol, count(DISTINCT price) FROM trades GROUP BY symbol;
----
SELECT symbol, count(*) FROM plain WINDOW TUMBLING(5m, ts) GROUP BY symbol;
----
SELECT symbol, count(*) FROM plain WINDOW TUMBLING(5m, ts) GROUP BY symbol EMIT FINAL;
----
SELECT symbol, count(*) FROM plain WINDOW TUMBLING(5m, ts) GROUP BY symbol EMIT CHANGES;
----
SELECT symbol, count(*) FROM plain WINDOW TUMBLING(5m) GROUP BY symbol;
----
SELECT symbol, count(*) FROM trades GROUP BY symbol EMIT FINAL;
----
CREATE VIEW v AS SELECT symbol, count(*) AS n FROM trades GROUP BY symbol; SELECT * FROM v EMIT FINAL;
----
CREATE VIEW v AS SELECT symbol, count(*) AS n FROM trades GROUP BY symbol; SELECT n, random() AS r FROM v;
----
CREATE VIEW v AS SELECT symbol, count(*) AS n FROM trades GROUP BY symbol; SELECT max(n) FROM v;
----
CREATE SINK s WITH (connector = 'file', path = 'a', format = 'parquet') AS SELECT symbol, count(*) AS n FROM trades GROUP BY symbol;
----
SELECT window_start, count(*) FROM TABLE(CUMULATE(TABLE trades, DESCRIPTOR(ts), INTERVAL '1' HOUR, INTERVAL '1' DAY))
GROUP BY window_start EMIT FINAL;
