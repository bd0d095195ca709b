"""Writes clicks.csv: an hour of page views. The same on every run."""

import datetime
import pathlib

here = pathlib.Path(__file__).parent
state = 7


def draw(n):
    """A number below n, by a linear congruential generator: the same in every version of every language."""
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
    return (state >> 33) % n


pages = ["/", "/", "/", "/search", "/search", "/item/1", "/item/2", "/cart", "/checkout"]
start = datetime.datetime(2024, 3, 1, 12, 0)
lines = ["at,visitor,page,country,load_ms"]
for number in range(1200):
    at = start + datetime.timedelta(seconds=3 * number, milliseconds=draw(3000))
    country = ["de", "fr", "us", ""][draw(4)]  # an empty field is null
    lines.append(f"{at.isoformat(sep=' ', timespec='milliseconds')},u{draw(150):03},{pages[draw(len(pages))]},{country},{20 + draw(400)}")
(here / "clicks.csv").write_text("\n".join(lines) + "\n")
