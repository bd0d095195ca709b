CREATE SOURCE a (id BIGINT, x BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (connector = 'stream', topic = 'a');
CREATE SOURCE b (id BIGINT, y STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '2' SECOND) WITH (connector = 'stream', topic = 'b');
CREATE SOURCE c (id INT, z DOUBLE) WITH (connector = 'file', path = 'c.ndjson');
CREATE SOURCE d (id INT, w DOUBLE) WITH (connector = 'file', path = 'd.ndjson');
----
SELECT a.x, b.y FROM a JOIN b ON a.id = b.id ALLOW UNBOUNDED STATE;
----
SELECT c.z, d.w FROM c JOIN d ON c.id = d.id;
----
SELECT z, w FROM c, d WHERE c.id = d.id AND z > w AND z > 3;
----
SELECT * FROM c LEFT JOIN d ON c.id = d.id AND d.w > c.z;
----
SELECT * FROM c RIGHT JOIN d USING (id);
----
SELECT * FROM c FULL JOIN d USING (id);
----
SELECT * FROM c NATURAL JOIN d;
----
SELECT c.z FROM c LEFT SEMI JOIN d ON c.id = d.id;
----
SELECT d.w FROM c RIGHT ANTI JOIN d ON c.id = d.id;
----
SELECT c.z, d.w FROM c CROSS JOIN d;
----
SELECT count(*) FROM c CROSS JOIN d;
----
SELECT l.z, r.z AS other FROM c AS l JOIN c AS r ON l.id = r.id + 1;
----
SELECT a.x, b.y, c.z FROM a JOIN b ON a.id = b.id JOIN c ON b.id = c.id ALLOW UNBOUNDED STATE;
----
SELECT c.z, d.w FROM c JOIN d ON c.id IS NOT DISTINCT FROM d.id;
----
SELECT c.z, d.w FROM c JOIN d ON c.z < d.w;
----
SELECT a.x, b.y, a.ts FROM a JOIN b ON a.id = b.id AND a.ts BETWEEN b.ts - INTERVAL '5' SECOND AND b.ts + INTERVAL '10' SECOND;
----
SELECT a.x, b.y FROM a JOIN b ON a.id = b.id AND a.ts - b.ts < INTERVAL '5' SECOND AND b.ts - INTERVAL '1' MINUTE <= a.ts;
----
SELECT a.x, b.y FROM a LEFT JOIN b ON a.id = b.id AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '10' SECOND EMIT FINAL;
----
SELECT a.x, b.y FROM a LEFT JOIN b ON a.id = b.id AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '10' SECOND;
----
SELECT p.n, q.n AS m FROM (SELECT id, count(*) AS n FROM a GROUP BY id) AS p JOIN (SELECT id, count(*) AS n FROM b GROUP BY id) AS q ON p.id = q.id;
----
SELECT a.x, c.z FROM a JOIN c ON a.id = c.id;
----
SELECT a.x, c.z FROM c RIGHT JOIN a ON a.id = c.id;
----
SELECT x FROM a WHERE id NOT IN (SELECT id FROM c);
----
SELECT a.x, b.y, c.z FROM a JOIN c ON a.id = c.id JOIN b ON a.id = b.id ALLOW UNBOUNDED STATE;
