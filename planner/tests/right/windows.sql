-- 1. The clause.
SELECT symbol, avg(price) FROM trades WINDOW TUMBLING(5m) GROUP BY symbol;
SELECT t.symbol, count(*) FROM trades t WHERE t.price > 0 WINDOW SLIDING(1h, 10m) GROUP BY t.symbol HAVING count(*) > 1 EMIT CHANGES;
SELECT count(*) FROM trades GROUP BY symbol WINDOW TUMBLING (INTERVAL 1 HOUR, event_time);
SELECT count(*) FROM trades WINDOW TUMBLING(event_time, INTERVAL '1' HOUR);
SELECT count(*) FROM trades AS t WINDOW HOPPING(1 hour, 10 minutes, OFFSET 5m) ON EVENT_TIME(t.trade_timestamp);
SELECT count(*) FROM trades WINDOW CUMULATING(10m, 1d) ON PROCESSING_TIME();
SELECT count(*) FROM trades WINDOW TUMBLING(1d, 30h) TRIGGER ON WATERMARK ALLOWED_LATENESS 0s LATE_DATA_STRATEGY DROP GROUP BY symbol EMIT FINAL;
SELECT count(*) FROM trades WINDOW TUMBLING(5m) GROUP BY symbol LATE_DATA_STRATEGY DROP ON EVENT_TIME(ts) HAVING count(*) > 2;
SELECT symbol, price FROM trades WINDOW TUMBLING(5m);
SELECT * FROM trades WINDOW TUMBLING(5m) WHERE price > 1;
SELECT DISTINCT symbol FROM trades WINDOW TUMBLING(5m);
SELECT DISTINCT * FROM trades WINDOW TUMBLING(5m);
SELECT sum(price) OVER (ORDER BY ts) FROM trades WINDOW TUMBLING(5m);
SELECT symbol, _window_start, t._window_end AS e, max(price) FROM trades t WINDOW TUMBLING(5m) GROUP BY symbol, window_end ORDER BY _window_start, _window_end;
SELECT symbol, 1, avg(price) FROM trades WINDOW TUMBLING(5m) GROUP BY ALL;
SELECT avg(p) FROM (SELECT price * 2 AS p FROM trades WHERE price > 0) AS d WINDOW TUMBLING(5m);
SELECT avg(price) FROM 'trades.ndjson' WINDOW TUMBLING(5m) ON EVENT_TIME(ts);
SELECT avg(a) FROM trades AS t(a, b) WINDOW TUMBLING(5m);
SELECT TUMBLE_START(ts, 5m), TUMBLE_END() FROM trades WINDOW TUMBLING(5m) GROUP BY symbol;
SELECT count(*) FROM s.trades WINDOW TUMBLING('10s');
-- Nested, each with its own.
WITH a AS (SELECT symbol, count(*) AS n FROM trades WINDOW TUMBLING(1m) GROUP BY symbol), b AS (SELECT symbol FROM quotes WINDOW TUMBLING(2m))
SELECT * FROM a JOIN (SELECT avg(x) FROM z WINDOW SLIDING(3m, 1m)) b ON a.n = b.n
UNION ALL SELECT count(*) FROM (SELECT symbol, max(price) AS p FROM trades WINDOW TUMBLING(4m) GROUP BY symbol) WINDOW TUMBLING(8m);
SELECT a FROM t WHERE a IN (SELECT max(b) FROM u WINDOW TUMBLING(1m) GROUP BY c) GROUP BY a;
-- 2. Table functions.
SELECT window_start, window_end, sum(price) FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end;
SELECT * FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' MINUTES, INTERVAL '1' MINUTES)) AS w;
SELECT * FROM TUMBLE(bid, ts, INTERVAL '10' SECOND);
SELECT * FROM tumble(bid, 10 s) b JOIN tumble(ask, b.ts, 1h 30m) a ON a.window_start = b.window_start;
SELECT * FROM TABLE(HOP(TABLE bid, DESCRIPTOR(ts), INTERVAL '5' MINUTES, INTERVAL '10' MINUTES));
SELECT * FROM TABLE(CUMULATE(TABLE bid, DESCRIPTOR(ts), INTERVAL '2' MINUTES, INTERVAL '10' MINUTES));
SELECT * FROM TABLE(HOP(DATA => TABLE bid, TIMECOL => DESCRIPTOR(ts), SLIDE => INTERVAL '5' MINUTES, SIZE => INTERVAL '10' MINUTES, OFFSET => INTERVAL '7' MINUTES));
SELECT * FROM TABLE(TUMBLE((SELECT * FROM bid WHERE price > 1), DESCRIPTOR(ts), INTERVAL '10' SECOND));
SELECT * FROM TUMBLE(TABLE (SELECT a FROM x WINDOW TUMBLING(1s)), ts, 5s);
SELECT * FROM TUMBLE('bids.ndjson', bid.ts, 5s), TUMBLE(TABLE c.bid, bid.ts, 5s), TUMBLE(x, proctime(), 5s);
-- 3. Group windows.
SELECT TUMBLE_START(ts, INTERVAL '1' MINUTE) AS s, TUMBLE_END(ts, INTERVAL '1' MINUTE), TUMBLE_ROWTIME(ts, INTERVAL '1' MINUTE), user, count(*)
FROM bid GROUP BY TUMBLE(ts, INTERVAL '1' MINUTE), user;
SELECT HOP_START(ts, INTERVAL '1' MINUTE, INTERVAL '1' HOUR), count(*) FROM bid AS b WHERE price > 1 GROUP BY user, HOP(b.ts, INTERVAL '1' MINUTE, INTERVAL '1' HOUR) HAVING count(*) > 1;
SELECT count(*), CUMULATE_END(ts, 1m, 1h) FROM bid GROUP BY CUMULATE(ts, 1m, 1h);
SELECT count(*) FROM orders GROUP BY TUMBLING_WINDOW(event_time, INTERVAL 1 HOUR);
SELECT count(*), _window_start FROM orders GROUP BY SLIDING_WINDOW(event_time, 1h, 10m) ORDER BY TUMBLE_START;
SELECT count(*) FROM orders GROUP BY TUMBLE(proctime(), 10s), k;
SELECT symbol, window_start, count(*) FROM trades WINDOW TUMBLING(100 ROWS) GROUP BY symbol;
SELECT symbol, count(*) FROM trades GROUP BY symbol WINDOW HOPPING(100 ROWS, 1 ROW) EMIT CHANGES;
SELECT _window_end, max(price) FROM trades WINDOW SLIDING(1000 RECORDS, 10 RECORDS);
