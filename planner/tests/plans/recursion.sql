CREATE SOURCE edge (a BIGINT NOT NULL, b BIGINT NOT NULL, w DOUBLE) WITH (connector = 'file', path = 'edge.ndjson');
CREATE SOURCE s (a BIGINT, b BIGINT) WITH (connector = 'stream', topic = 's');
----
WITH RECURSIVE reach(n) AS (SELECT 1 UNION SELECT b FROM edge JOIN reach ON a = n) SELECT * FROM reach;
----
SET recursion_limit = 50;
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 10) SELECT n FROM t WHERE n > 3;
----
WITH RECURSIVE path AS (SELECT a, b FROM edge UNION SELECT p.a, q.b FROM path p JOIN path q ON p.b = q.a) SELECT * FROM path;
----
WITH RECURSIVE near(n) AS (SELECT 1 UNION SELECT b FROM near, edge WHERE a = n UNION SELECT a FROM near, edge WHERE b = n AND w > 2) SELECT * FROM near;
----
WITH RECURSIVE
  reach(n) AS (SELECT 1 UNION SELECT b FROM edge JOIN reach ON a = n),
  total AS (SELECT count(*) AS c FROM reach)
SELECT n, c FROM reach, total;
----
WITH RECURSIVE reach(n) AS (SELECT a FROM s UNION SELECT DISTINCT b FROM s JOIN reach ON a = n) SELECT * FROM reach ALLOW UNBOUNDED STATE;
----
WITH RECURSIVE plain AS (SELECT a FROM edge UNION ALL SELECT b FROM edge ORDER BY 1 LIMIT 3) SELECT * FROM plain;
----
WITH RECURSIVE days AS (SELECT a, 1 AS n FROM s UNION ALL SELECT a, n + 1 FROM days WHERE n < 7) SELECT * FROM days;
----
WITH RECURSIVE r AS (SELECT a FROM edge UNION ALL SELECT a + 1 FROM r UNION SELECT b FROM edge) SELECT * FROM r;
----
WITH RECURSIVE reach(n) AS (SELECT 1 UNION ALL SELECT b FROM edge JOIN reach ON a = n WHERE b IN (SELECT a FROM edge)) SELECT * FROM reach;
----
WITH RECURSIVE reach(n) AS (SELECT 1 UNION SELECT b FROM edge JOIN reach ON a = n WHERE NOT EXISTS (SELECT 1 FROM edge x WHERE x.b = edge.b AND x.w > 9)) SELECT * FROM reach;
----
WITH RECURSIVE walk(n, d) AS (SELECT 1::BIGINT, 0 UNION ALL SELECT b, d + 1 FROM walk LEFT JOIN edge ON a = n WHERE d < 3) SELECT * FROM walk;
