CREATE SOURCE s (
  a VARCHR,
  b DECIMAL(40, 2),
  c TIMESTAMP(9),
  d INT DEFAULT 1,
  e ARRAY<INT,
  f MAP<VARCHAR>,
  g ROW<x>,
  h AS a +,
  i INT NOT,
  j,
  UNIQUE (a),
  PRIMARY KEY a,
  ok INT
) WITH (connector = 'x');
CREATE SOURCE s (a INT b INT) WITH (connector = 'x');
CREATE SOURCE s () WITH (connector = 'x');
CREATE SOURCE a.b (x INT) WITH (connector = 'x');
CREATE SOURCE s (x INT PRIMARY KEY, PRIMARY KEY (x) NOT ENFORCED) WITH (connector = 'x');
CREATE SOURCE s (x ARRAY<INT>>) WITH (connector = 'x');
CREATE SINK s (x INT METADATA, y AS x, WATERMARK FOR x AS x) WITH (connector = 'x');
