CREATE SOURCE a (id BIGINT, x BIGINT, tags ARRAY<STRING>, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH (connector = 'stream');
CREATE SOURCE b (id BIGINT, y STRING, ts TIMESTAMP(3)) WITH (connector = 'stream');
CREATE SOURCE c (id INT, z DOUBLE) WITH (connector = 'file', path = 'c.ndjson');
CREATE SOURCE d (id INT, w DOUBLE) WITH (connector = 'file', path = 'd.ndjson');
----
SELECT a.x, b.y FROM a JOIN b ON a.id = b.id AND a.ts > b.ts;
----
SELECT a.x, c.z FROM c LEFT JOIN a ON a.id = c.id;
----
SELECT a.x, c.z FROM a FULL JOIN c ON a.id = c.id;
----
SELECT a.x, b.y FROM a JOIN b ON a.id = b.id WITHIN 5m;
----
SELECT a.x, b.y FROM a JOIN b USING (id) WITHIN 5m;
----
SELECT a.x, b.y FROM a JOIN b ON a.id = b.id WITHIN -5m;
----
SELECT c.id, w FROM c FULL JOIN d USING (id);
----
SELECT c.id FROM c NATURAL FULL JOIN d;
----
SELECT * FROM c NATURAL JOIN (SELECT w FROM d) AS e;
----
SELECT z FROM c WHERE z > (SELECT w FROM d);
----
SELECT z FROM c WHERE z = (SELECT max(w) FROM d GROUP BY id);
----
SELECT c.z FROM c JOIN d ON c.id = d.id AND random() < c.z + d.w;
----
SELECT c.z FROM c JOIN d ON c.id = d.nothing;
----
SELECT id FROM c JOIN d ON c.id = d.id;
----
SELECT c.z FROM c JOIN d ON c.z = d.x AND upper(c.zz) = 'A';
----
SELECT id FROM c INTERSECT SELECT id, w FROM d;
----
SELECT id FROM a INTERSECT SELECT id FROM b;
----
SELECT z FROM c EXCEPT SELECT y FROM b;
----
SELECT z FROM c FOR SYSTEM_TIME AS OF TIMESTAMP '2024-01-01 00:00:00';
----
SELECT a.x, b.y FROM a JOIN b FOR SYSTEM_TIME AS OF a.ts ON a.id = b.id;
----
SELECT a.x, b.y FROM a ASOF JOIN b MATCH_CONDITION (a.ts = b.ts) ON a.id = b.id;
----
SELECT a.x, b.y FROM a ASOF JOIN b MATCH_CONDITION (a.ts >= b.ts) ON a.id = b.id;
----
SELECT a.x FROM a CROSS JOIN UNNEST(x) AS t (n);
----
SELECT t.n FROM a CROSS JOIN UNNEST(tags) AS t (n, m);
----
SELECT * FROM c CROSS APPLY d;
----
VALUES (1, 2), (3);
----
SELECT nope FROM c WHERE unknown_function(z) > 3;
