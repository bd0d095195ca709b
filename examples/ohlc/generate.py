"""Writes trades.csv: ten minutes of trades of two symbols, out of order by up to eight seconds, two of them too late. The same on every run."""

import datetime
import pathlib

here = pathlib.Path(__file__).parent
state = 7


def draw(n):
    """A number below n, by a linear congruential generator: the same in every version of every language."""
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    return (state >> 33) % n


start = datetime.datetime(2024, 1, 2, 9, 30)
price = {"ACME": 10000, "BOLT": 4250}  # in cents
rows = []
for number in range(150):
    at = start + datetime.timedelta(milliseconds=4000 * number + draw(4000))
    symbol = ["ACME", "BOLT"][draw(2)]
    price[symbol] += draw(41) - 20
    rows.append((at, number + 1, symbol, price[symbol], (draw(20) + 1) * 10))

# Trades are reported up to eight seconds late: within what the watermark allows.
arrived = sorted(rows, key=lambda row: row[0] + datetime.timedelta(milliseconds=draw(8000)))
# Two are reported when their minute has long been over: one with the lowest price of all, one with the highest.
arrived.insert(90, (start + datetime.timedelta(seconds=70), 901, "ACME", 1, 1000))
arrived.insert(120, (start + datetime.timedelta(seconds=200), 902, "BOLT", 999999, 1000))

lines = ["trade_id,symbol,price,volume,trade_time"]
for at, number, symbol, cents, volume in arrived:
    lines.append(f"{number},{symbol},{cents // 100}.{cents % 100:02},{volume},{at.isoformat(sep='T', timespec='milliseconds')}")
(here / "trades.csv").write_text("\n".join(lines) + "\n")
