SELECT symbol, price FROM 'trades.ndjson' WHERE price > 10;
SELECT t.a FROM 'x.csv' t JOIN 'y.csv' AS u ON t.a = u.a;
FROM 'trades.ndjson';
FROM trades SELECT symbol, count(*) WINDOW TUMBLING(5m) GROUP BY symbol;
SELECT count(*) FILTER (WHERE a > 1), sum(a) OVER (PARTITION BY b ORDER BY c), array_agg(DISTINCT x ORDER BY y) FROM t;
SELECT * EXCLUDE (a) FROM t QUALIFY row_number() OVER (PARTITION BY k ORDER BY ts DESC) <= 3;
SELECT a::BIGINT, CAST(b AS DECIMAL(10, 2)), [1, 2, 3], ARRAY[1], {'k': 1}, `odd name`, "Other", s.f.g, arr[1] FROM t;
SELECT ts + INTERVAL '5' SECOND, ts - INTERVAL '5 seconds', ts - INTERVAL 5 MINUTE, ts - 5m, ts - 1h 30m, ts - 1.5s FROM t;
SELECT EXTRACT(HOUR FROM ts), TRIM(LEADING 'x' FROM name), a IS DISTINCT FROM 'b', ts AT TIME ZONE 'UTC' FROM t;
SELECT rank() OVER w FROM t WINDOW w AS (PARTITION BY a ORDER BY b), w2 AS (ORDER BY c) EMIT CHANGES;
SELECT a FROM t UNION ALL SELECT b FROM u EMIT CHANGES ALLOW UNBOUNDED STATE;
SELECT a FROM t ALLOW UNBOUNDED STATE EMIT FINAL;
SELECT a FROM t EMIT AFTER WINDOW CLOSE;
SELECT a FROM t EMIT CHANGES ORDER BY a LIMIT 3;
SELECT emit changes, trigger, allow, t.window, final FROM t emit WHERE emit.window = trigger;
SELECT a FROM t trigger JOIN u ON EVENT_TIME(u.a) = trigger.a;
WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r;
SELECT * FROM UNNEST([1, 2]) AS x(v), generate_series(1, 3);
SELECT 1
