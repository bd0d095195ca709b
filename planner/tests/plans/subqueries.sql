CREATE SOURCE a (id BIGINT NOT NULL, x BIGINT) WITH (connector = 'file', path = 'a.ndjson');
CREATE SOURCE b (id BIGINT NOT NULL, y BIGINT) WITH (connector = 'file', path = 'b.ndjson');
----
SELECT x FROM a WHERE x IN (SELECT y FROM b);
----
SELECT x FROM a WHERE id NOT IN (SELECT id FROM b);
----
SELECT x FROM a WHERE x NOT IN (SELECT y FROM b);
----
SELECT x FROM a WHERE x NOT IN (SELECT y FROM b WHERE b.id = a.id);
----
SELECT x FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.id = a.id AND b.y > a.x);
----
SELECT x FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE b.id = a.id);
----
SELECT x FROM a WHERE x > 10 OR x IN (SELECT y FROM b);
----
SELECT x FROM a WHERE x > 10 OR x NOT IN (SELECT y FROM b);
----
SELECT id, x IN (SELECT y FROM b) AS there, EXISTS (SELECT 1 FROM b WHERE b.id = a.id) AS known FROM a;
----
SELECT x FROM a WHERE x > (SELECT avg(y) FROM b);
----
SELECT id, (SELECT count(*) FROM b WHERE b.id = a.id) AS n FROM a;
----
SELECT id, (SELECT max(y) FROM b WHERE b.id = a.id) AS top FROM a;
----
SELECT x FROM a WHERE x IN (SELECT max(y) FROM b WHERE b.id = a.id);
----
SELECT x FROM a WHERE x >= ALL (SELECT y FROM b);
----
SELECT x FROM a WHERE x = ANY (SELECT y FROM b);
----
SELECT id, sum(x) AS s FROM a GROUP BY id HAVING sum(x) > (SELECT avg(y) FROM b);
----
SELECT a.id, t.n FROM a, LATERAL (SELECT count(*) AS n FROM b WHERE b.id = a.id) AS t;
----
SELECT a.id, t.y FROM a LEFT JOIN LATERAL (SELECT y FROM b WHERE b.id = a.id) AS t ON TRUE;
----
SELECT l.x FROM a AS l WHERE EXISTS (SELECT 1 FROM a AS r WHERE r.id = l.id AND r.x <> l.x AND NOT EXISTS (SELECT 1 FROM b WHERE b.id = r.id));
----
SELECT id, (SELECT y FROM b WHERE b.id = a.id ORDER BY y DESC LIMIT 1) AS top FROM a;
----
SELECT a.id, t.y FROM a, LATERAL (SELECT y FROM b WHERE b.id = a.id ORDER BY y LIMIT 2) AS t;
----
SELECT id, (SELECT count(*) FROM b WHERE b.id < a.id) AS n FROM a;
----
SELECT x FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.id = a.id UNION SELECT 1 FROM b WHERE b.y = a.x);
----
SELECT sum((SELECT max(y) FROM b WHERE b.id = a.id)) AS s FROM a;
----
SELECT x FROM a WHERE x NOT IN (SELECT DISTINCT y FROM b WHERE b.id = a.id);
----
SELECT x FROM a WHERE EXISTS (SELECT count(*) FROM b WHERE b.id = a.id HAVING count(*) > 1);
----
SELECT sum(x - (SELECT avg(y) FROM b)) AS s FROM a;
