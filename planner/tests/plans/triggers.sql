CREATE SOURCE trades (symbol VARCHAR, price DECIMAL(10, 2), ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '4' SECOND) WITH (connector = 'stream');
CREATE SOURCE quotes (symbol VARCHAR, price DECIMAL(10, 2), ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '4' SECOND) WITH (connector = 'stream');
----
SELECT symbol, count(*) AS n FROM trades WINDOW TUMBLING(5m) TRIGGER ON WATERMARK GROUP BY symbol;
----
SELECT symbol, count(*) AS n, _is_final, _revision FROM trades WINDOW TUMBLING(5m) TRIGGER ON WATERMARK ALLOWED_LATENESS 1m GROUP BY symbol;
----
SELECT symbol, count(*) AS n, _trigger_reason FROM trades WINDOW TUMBLING(5m) GROUP BY symbol;
----
SELECT symbol, count(*) AS n FROM trades WINDOW TUMBLING(5m) TRIGGER EVERY 30s GROUP BY symbol EMIT CHANGES;
----
SELECT symbol, sum(price) AS total FROM trades WHERE price > 1 WINDOW SLIDING(1h, 10m) ON PROCESSING_TIME() TRIGGER EVERY 30s OR EVERY 1000 RECORDS GROUP BY symbol;
----
SELECT symbol, sum(price) AS total FROM trades WINDOW TUMBLING(5m) TRIGGER (ON WATERMARK AND EVERY 1m) OR FIRST(EVERY 10 RECORDS, EVERY 5s) FIRE AND PURGE GROUP BY symbol;
----
SELECT symbol, n FROM (SELECT symbol, count(*) AS n, _is_final FROM trades WINDOW TUMBLING(5m) TRIGGER EVERY 30s GROUP BY symbol) WHERE _is_final;
----
CREATE VIEW early AS SELECT symbol, window_time AS at, count(*) AS n FROM trades WINDOW TUMBLING(1m) TRIGGER EVERY 10 RECORDS GROUP BY symbol;
SELECT window_end, sum(n) AS n FROM early WINDOW TUMBLING(1h, at) TRIGGER EVERY 1m;
