CREATE SOURCE a (id BIGINT, x BIGINT, tags ARRAY<STRING>, props MAP<STRING, BIGINT>, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  WITH (connector = 'stream', topic = 'a');
CREATE SOURCE b (id BIGINT, y STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '2' SECOND) WITH (connector = 'stream', topic = 'b');
CREATE SOURCE c (id INT, z DOUBLE) WITH (connector = 'file', path = 'c.ndjson');
CREATE SOURCE d (id INT, w DOUBLE) WITH (connector = 'file', path = 'd.ndjson');
----
SELECT * FROM c RIGHT JOIN d USING (id);
----
SELECT id, z, w FROM c FULL JOIN d USING (id);
----
SELECT *, _offset FROM c JOIN (SELECT id, w FROM d) AS e USING (id);
----
SELECT z, w, c._offset FROM c NATURAL JOIN d;
----
SELECT a.x, b.y FROM a JOIN b ON a.id = b.id WITHIN 5m;
----
SELECT a.x, b.y FROM a LEFT JOIN b WITHIN (1m, 30s) ON a.id = b.id EMIT FINAL;
----
SELECT a.x, b.y, c.z FROM a JOIN b ON a.id = b.id OR a.x = 3 WITHIN INTERVAL '5' SECOND JOIN c ON c.id = a.id ALLOW UNBOUNDED STATE;
----
SELECT a.x, b.y FROM a JOIN b FOR SYSTEM_TIME AS OF a.ts ON a.id = b.id;
----
SELECT a.x, r.y FROM a LEFT JOIN b FOR SYSTEM_TIME AS OF a.ts AS r ON a.id = r.id AND r.y <> 'none';
----
SELECT a.x, b.y FROM a JOIN b FOR SYSTEM_TIME AS OF PROCTIME() ON a.id = b.id;
----
SELECT a.x, b.y FROM a ASOF JOIN b MATCH_CONDITION (a.ts > b.ts) ON a.id = b.id;
----
SELECT a.x, c.z FROM a ASOF JOIN c MATCH_CONDITION (a.x >= c.z) USING (id) ALLOW UNBOUNDED STATE;
----
SELECT a.id, t.tag FROM a CROSS JOIN UNNEST(tags) AS t (tag);
----
SELECT id, tag, n FROM a LEFT JOIN UNNEST(a.tags) WITH ORDINALITY AS t (tag, n) ON TRUE WHERE x > 3;
----
SELECT id, k, v FROM a, UNNEST(props) AS p (k, v);
----
SELECT window_start, count(*) AS n FROM (
  SELECT a.ts AS at, a.id FROM a JOIN b ON a.id = b.id WITHIN 5s
) AS j WINDOW TUMBLING(10s) ON EVENT_TIME(at) GROUP BY id;
----
SELECT a.id, t.tag FROM a JOIN c ON c.id = a.id, UNNEST(a.tags) AS t (tag) ALLOW UNBOUNDED STATE;
----
SELECT B.id, B.x, B.ts FROM a AS B JOIN (
  SELECT max(x) AS top, window_end AS ts FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end
) AS B1 ON B.x = B1.top WHERE B.ts BETWEEN B1.ts - INTERVAL '10' SECOND AND B1.ts;
----
SELECT P.id, P.starttime FROM (
  SELECT id, window_start AS starttime, window_end AS endtime FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY id, window_start, window_end
) AS P JOIN (
  SELECT id, window_start AS starttime, window_end AS endtime FROM TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY id, window_start, window_end
) AS A ON P.id = A.id AND P.starttime = A.starttime AND P.endtime = A.endtime;
----
SELECT AuctionBids.id, AuctionBids.num FROM (
  SELECT id, count(*) AS num, window_start AS starttime, window_end AS endtime FROM TABLE(HOP(TABLE a, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)) GROUP BY id, window_start, window_end
) AS AuctionBids JOIN (
  SELECT max(CountBids.num) AS maxn, CountBids.starttime, CountBids.endtime FROM (
    SELECT count(*) AS num, window_start AS starttime, window_end AS endtime FROM TABLE(HOP(TABLE a, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)) GROUP BY id, window_start, window_end
  ) AS CountBids GROUP BY CountBids.starttime, CountBids.endtime
) AS MaxBids ON AuctionBids.starttime = MaxBids.starttime AND AuctionBids.endtime = MaxBids.endtime AND AuctionBids.num >= MaxBids.maxn;
----
SELECT L.x, R.y, L.window_end FROM TABLE(TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '10' SECOND)) AS L
LEFT JOIN TABLE(TUMBLE(TABLE b, DESCRIPTOR(ts), INTERVAL '10' SECOND)) AS R
ON L.id = R.id AND L.window_start = R.window_start AND L.window_end = R.window_end EMIT FINAL;
