SELECT "symbol FROM trades
