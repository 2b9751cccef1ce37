"""How long the leaderboard's page takes to write and to open: 10,000 entries, from disk, in a real Chromium.

    python ci/bench/page.py [--rows 10000] [--rounds 5]

Every entry is a file of about 7 kB, with curves of 50 points attached. Printed: the size of the page, the
seconds to read the files and to write the page, and the seconds from the navigation to the first row that can
be opened, of each round and their median.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from board import make
from playwright.sync_api import sync_playwright

from zoo_core.results.attachments import attachment_of, write_attachment
from zoo_eval.leaderboard.facts import installed
from zoo_eval.leaderboard.page import write_page
from zoo_eval.leaderboard.table import make_groups
from zoo_eval.store import collect


def write_entries(folder: Path, count: int) -> None:
    """Write one result for each of `count` configurations, all with the same curves."""
    rng = random.Random(0)
    series = {f"loss-{i}": [[step, rng.random()] for step in range(50)] for i in range(3)}
    content = json.dumps(series).encode()
    curves = attachment_of("curves", content, "json")
    folder.mkdir()
    write_attachment(folder, curves, content)
    for k in range(count):
        changes = {"attachments": {"curves": curves}, "content_sha256": None}
        made = make(k, 0, rng).model_copy(update=changes)
        (folder / f"result-{k}.json").write_bytes(made.text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        write_entries(Path(folder) / "results", asked.rows)
        start = time.perf_counter()
        groups = make_groups(collect([Path(folder) / "results"]).entries, installed())
        read = time.perf_counter()
        page = write_page(groups, Path(folder) / "page")
        written = time.perf_counter()
        megabytes = page.stat().st_size / 1e6
        print(f"{asked.rows:,} entries: read in {read - start:.1f} s")
        print(f"page of {megabytes:.1f} MB: written in {written - read:.1f} s")
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        times = []
        for _ in range(asked.rounds):
            view = browser.new_page()
            start = time.perf_counter()
            view.goto(page.as_uri())
            view.wait_for_selector("#rows .open")
            times.append(time.perf_counter() - start)
            view.close()
        browser.close()
    print(f"open: median {statistics.median(times):.2f} s of {', '.join(f'{t:.2f}' for t in times)}")


if __name__ == "__main__":
    main()
