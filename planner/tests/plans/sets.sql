CREATE SOURCE a (id BIGINT NOT NULL, x BIGINT) WITH (connector = 'file', path = 'a.ndjson');
CREATE SOURCE b (id INT, y DOUBLE) WITH (connector = 'file', path = 'b.ndjson');
CREATE SOURCE s (id BIGINT, x BIGINT) WITH (connector = 'stream', topic = 's');
----
SELECT id FROM a INTERSECT SELECT id FROM b;
----
SELECT id, x FROM a INTERSECT ALL SELECT id, y FROM b;
----
SELECT id FROM a EXCEPT SELECT id FROM b;
----
SELECT id FROM a EXCEPT ALL SELECT id FROM b WHERE y > 3;
----
SELECT id FROM a UNION ALL SELECT id FROM b INTERSECT SELECT x FROM a EXCEPT SELECT 3;
----
SELECT n FROM (SELECT id AS n FROM a INTERSECT SELECT id FROM b) AS t WHERE n > 5;
----
SELECT id FROM s EXCEPT SELECT x FROM s ALLOW UNBOUNDED STATE;
----
SELECT DISTINCT id FROM s INTERSECT SELECT DISTINCT x FROM s;
----
VALUES (1, 'a'), (2, NULL);
----
SELECT 1 AS one, 'x' AS word;
----
SELECT t.k, a.x FROM a JOIN (VALUES (1, 'one'), (2, 'two')) AS t (id, k) ON a.id = t.id;
----
WITH t (id, k) AS (VALUES (1, 'one')) SELECT * FROM t;
----
SELECT count(*) FROM (SELECT 1) AS t;
----
SELECT * FROM (VALUES (1.5, TRUE), (2, FALSE)) AS t (n, b) WHERE b;
----
SELECT unnest(make_array(1, 2, 3)) AS n;
