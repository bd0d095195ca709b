CREATE SOURCE bid (auction BIGINT NOT NULL, price BIGINT, ts TIMESTAMP(3), seen TIMESTAMP(3),
  WATERMARK FOR ts AS ts - INTERVAL '4' SECOND) WITH (connector = 'stream');
CREATE SOURCE old (symbol STRING, price DOUBLE, ts TIMESTAMP(3)) WITH (connector = 'file', path = 'old.ndjson');
----
SELECT auction, count(*) AS n, window_start, window_end
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY auction, window_start, window_end;
----
SELECT auction, count(*) AS n FROM bid WINDOW TUMBLING(5m) GROUP BY auction EMIT CHANGES;
----
SELECT auction, max(price) AS top FROM bid WHERE price > 3 WINDOW SLIDING(1h, 10m) GROUP BY auction;
----
SELECT window_end, count(*) AS n FROM TABLE(HOP(TABLE bid, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)) GROUP BY window_end;
----
SELECT window_start, count(*) AS n FROM TABLE(CUMULATE(TABLE bid, DESCRIPTOR(ts), INTERVAL '1' HOUR, INTERVAL '1' DAY))
GROUP BY window_start;
----
SELECT window_end, count(*) AS n FROM TABLE(CUMULATE(TABLE bid, DESCRIPTOR(ts), INTERVAL '1' HOUR, INTERVAL '1' DAY)) GROUP BY window_end;
----
SELECT TUMBLE_START(ts, INTERVAL '1' MINUTE) AS start, sum(price) AS total FROM bid GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE);
----
SELECT symbol, first_value(price) AS open, last_value(price ORDER BY ts) AS close FROM old WINDOW TUMBLING(1m, ts) GROUP BY symbol;
----
SELECT auction, count(*) AS n FROM bid WINDOW TUMBLING(10s) ON PROCESSING_TIME() GROUP BY auction;
----
CREATE VIEW per_auction AS SELECT auction, count(*) AS n, window_start, window_end
  FROM TABLE(HOP(TABLE bid, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)) GROUP BY auction, window_start, window_end;
SELECT window_start, window_end, max(n) AS most FROM per_auction GROUP BY window_start, window_end;
SELECT auction, n FROM per_auction WHERE n > 5;
----
SELECT * FROM bid WINDOW TUMBLING(5m);
----
SELECT auction, max(window_end) AS last FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY auction;
----
SELECT window_end, max(window_start) AS last FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_end;
----
SELECT symbol, count(*) AS n FROM old GROUP BY symbol EMIT FINAL;
----
CREATE VIEW both AS SELECT ts, price FROM bid UNION ALL SELECT ts - INTERVAL '5' SECOND AS ts, auction AS price FROM bid;
SELECT sum(price) AS total, window_end FROM TABLE(TUMBLE(TABLE both, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_end;
----
SELECT DISTINCT auction, window_start, window_end FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND));
----
SELECT auction, count(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND))
GROUP BY auction, window_start, window_end HAVING window_end > TIMESTAMP '2024-01-01 00:00:00' AND auction > 3;
----
SELECT auction, count(*) AS n, max(price) AS most FROM bid WHERE price > 10 WINDOW SESSION(30m TIMEOUT) GROUP BY auction;
----
SELECT auction, window_start, window_end, count(*) AS n
FROM TABLE(SESSION(TABLE bid PARTITION BY auction, DESCRIPTOR(ts), INTERVAL '10' SECOND))
WHERE auction <> 7 GROUP BY auction, window_start, window_end HAVING window_end > TIMESTAMP '2024-01-01 00:00:00' EMIT CHANGES;
----
CREATE VIEW visits AS SELECT auction, window_time AS at, count(*) AS n FROM bid WINDOW SESSION(1m) GROUP BY auction;
SELECT window_start, count(*) AS visits, sum(n) AS total FROM visits WINDOW TUMBLING(1h, at);
----
SELECT symbol, window_start, window_end, count(*) AS n, median(price) AS middle FROM old WHERE price > 0 WINDOW TUMBLING(100 ROWS) GROUP BY symbol;
----
SELECT auction, window_end, max(price) AS top FROM bid WINDOW SLIDING(100 ROWS, 10 ROWS) GROUP BY auction HAVING window_start >= 0 EMIT CHANGES
OPTIONS ('state.ttl' = '1h');
