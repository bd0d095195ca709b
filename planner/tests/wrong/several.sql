-- Every statement is read, whatever is wrong with those before it.
SELCT 1;
SELECT a FORM t;
SELECT a FROM t WHRE a > 1;
CREATE SORCE s WITH (connector = 'x');
SELECT a FROM t GROPU BY a;
SELECT a FROM t JION u ON t.a = u.a;
SELECT 1;
SELECT a, FROM WHERE;
SELECT FROM t;
