"""Writes trades.ndjson: half an hour of trades of three symbols, with one late row and one bad row. The same on every run."""

import datetime
import json
import pathlib

here = pathlib.Path(__file__).parent
state = 20240102


def draw(n):
    """A number below n, by a linear congruential generator: the same in every version of every language."""
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    return (state >> 33) % n


start = datetime.datetime(2024, 1, 2, 9, 30)
price = {"ACME": 10000, "BOLT": 4250, "CORE": 31800}  # in cents
rows = []
for number in range(600):
    at = start + datetime.timedelta(milliseconds=3000 * number + draw(3000))
    symbol = ["ACME", "BOLT", "CORE"][draw(3)]
    price[symbol] += draw(41) - 20
    rows.append((at, number + 1, symbol, price[symbol], (draw(20) + 1) * 10))

# Rows arrive up to 4 seconds out of order: within what the watermark allows.
arrived = sorted(rows, key=lambda row: row[0] + datetime.timedelta(milliseconds=draw(4000)))

lines = []
for at, number, symbol, cents, volume in arrived:
    lines.append(
        json.dumps(
            {
                "trade_id": number,
                "symbol": symbol,
                "price": f"{cents // 100}.{cents % 100:02}",
                "volume": volume,
                "trade_time": at.isoformat(sep="T", timespec="milliseconds"),
            }
        )
    )
# One trade is reported ten minutes late, when its window has closed; one line was cut off while it was written.
lines.insert(400, '{"trade_id": 9001, "symbol": "ACME", "price": "150.00", "volume": 10, "trade_time": "2024-01-02T09:40:00.000"}')
lines.insert(200, '{"trade_id": 9002, "symbol": "BOLT", "pri')
(here / "trades.ndjson").write_text("\n".join(lines) + "\n")
