CREATE SOURCE trades (symbol VARCHAR, price DECIMAL(10, 2), ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '4' SECOND) WITH (connector = 'stream');
CREATE SOURCE quotes (symbol VARCHAR, price DECIMAL(10, 2), ts TIMESTAMP(3)) WITH (connector = 'stream');
CREATE VIEW counts AS SELECT symbol, ts, count(*) AS n FROM trades GROUP BY symbol, ts EMIT CHANGES;
----
SELECT symbol, count(*) FROM trades WINDOW TUMBLING(5m) TRIGGER EVERY 30s GROUP BY symbol EMIT FINAL;
----
SELECT symbol, count(*), _is_final FROM trades WINDOW TUMBLING(5m) GROUP BY symbol EMIT CHANGES;
----
SELECT symbol, _is_final FROM trades;
----
SELECT symbol, count(*), _revision() FROM trades GROUP BY symbol;
----
SELECT symbol, _revision() OVER (PARTITION BY symbol ORDER BY ts) FROM trades;
----
SELECT symbol, sum(n) FROM counts WINDOW TUMBLING(5m, ts) TRIGGER EVERY 10 RECORDS GROUP BY symbol;
----
SELECT symbol, sum(n) FROM counts WINDOW TUMBLING(5m, ts) TRIGGER EVERY 30s FIRE AND PURGE GROUP BY symbol;
----
SELECT symbol, count(*) FROM quotes WINDOW TUMBLING(5m, ts) TRIGGER EVERY 30s GROUP BY symbol;
----
SELECT symbol, count(*) FROM quotes WINDOW TUMBLING(5m, ts) TRIGGER ON WATERMARK GROUP BY symbol;
----
SELECT * FROM trades WINDOW TUMBLING(5m) TRIGGER EVERY 30s;
----
SELECT symbol, count(*) FROM quotes WINDOW SESSION(ts, 5m) GROUP BY symbol EMIT CHANGES;
