SELECT count(* FROM trades;
SELECT (1 + 2)) FROM t;
SELECT arr[1) FROM t;
