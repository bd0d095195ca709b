CREATE SOURCE nation (n_id INT, n_name STRING, PRIMARY KEY (n_id) NOT ENFORCED) WITH (connector = 'file', path = 'n.ndjson');
CREATE SOURCE customer (c_id INT, c_nation INT, PRIMARY KEY (c_id) NOT ENFORCED) WITH (connector = 'file', path = 'c.ndjson');
CREATE SOURCE supplier (s_id INT, s_nation INT, PRIMARY KEY (s_id) NOT ENFORCED) WITH (connector = 'file', path = 's.ndjson');
CREATE SOURCE orders (o_id INT, o_customer INT, PRIMARY KEY (o_id) NOT ENFORCED) WITH (connector = 'file', path = 'o.ndjson');
CREATE SOURCE line (l_order INT, l_supplier INT, l_price DOUBLE) WITH (connector = 'file', path = 'l.ndjson');
CREATE SOURCE few (f_id INT, f_a INT, f_b INT) WITH (connector = 'file', path = 'f.ndjson', 'statistics.rows' = '20');
CREATE SOURCE many (m_id INT, m_a INT, m_b INT) WITH (connector = 'file', path = 'm.ndjson', 'statistics.rows' = '6_000_000', 'statistics.distinct.m_a' = '1000');
CREATE SOURCE some (s_a INT, s_b INT) WITH (connector = 'file', path = 'e.ndjson', 'statistics.rows' = '50000', 'statistics.distinct.s_a' = '500');
CREATE SOURCE a (id BIGINT, x BIGINT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH (connector = 'stream', topic = 'a');
CREATE SOURCE b (id BIGINT, y STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '2' SECOND) WITH (connector = 'stream', topic = 'b');
----
SELECT n_name, l_price FROM line JOIN orders ON l_order = o_id JOIN customer ON o_customer = c_id JOIN nation ON c_nation = n_id WHERE n_name = 'PERU';
----
SELECT n_name, l_price FROM nation, line, customer, orders WHERE l_order = o_id AND o_customer = c_id AND c_nation = n_id;
----
SELECT n_name, sum(l_price) AS s FROM customer, orders, line, supplier, nation
WHERE c_id = o_customer AND l_order = o_id AND l_supplier = s_id AND c_nation = s_nation AND s_nation = n_id AND n_name = 'PERU' GROUP BY n_name;
----
SELECT m_id, s_b, f_b FROM many JOIN some ON m_a = s_a JOIN few ON m_b = f_a;
----
SELECT m_id, s_b, f_b FROM some JOIN many ON m_a = s_a JOIN few ON m_b = f_a WHERE m_a + f_b > s_b;
----
SELECT f_b, o_id, l_price FROM line JOIN orders ON l_order = o_id JOIN few ON f_a = o_customer;
----
SELECT l_price, s_b FROM line JOIN orders ON l_order = o_id CROSS JOIN some;
----
SELECT count(*) AS n FROM many JOIN some ON m_a = s_a JOIN few ON m_b = f_a AND m_id = f_id WHERE m_id NOT IN (SELECT l_order FROM line);
----
SELECT a.x, b.y, c.x AS z FROM a JOIN b ON a.id = b.id AND a.ts = b.ts JOIN a AS c ON b.id = c.x AND b.ts = c.ts;
----
SELECT a.x, b.y, c.x AS z FROM a JOIN b ON a.id = b.id JOIN a AS c ON b.id = c.x OPTIONS ('state.ttl' = '1h');
----
SELECT a.x, few.f_b, line.l_price FROM a JOIN line ON a.x = l_order JOIN few ON a.id = f_id;
----
SELECT a.x, b.y, c.x AS z FROM a JOIN b ON a.id = b.id JOIN (SELECT * FROM a WHERE x = 7) AS c ON b.id = c.x ALLOW UNBOUNDED STATE;
----
EXPLAIN OPTIMIZED SELECT m_id, s_b, f_b FROM many JOIN some ON m_a = s_a JOIN few ON m_b = f_a;
