"""Check, or write, the list of verified results that is shipped with the code.

    python ci/verified.py            # each listed sha256 is that of a result file under results/
    python ci/verified.py --update   # write the list from the user's own verdicts (zoo verify) on those files

A result in results/ that is not listed is `reported`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from zoo_eval.store import STATES, result_files
from zoo_eval.store.states import SHIPPED, recorded_states

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "evaluation" / "zoo_eval" / "store" / SHIPPED


def committed() -> dict[str, Path]:
    """Return sha256 -> path of the result files under results/."""
    paths = result_files(ROOT / "results") if (ROOT / "results").is_dir() else []
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in paths}


def faults(listed: object, files: Mapping[str, Path]) -> list[str]:
    """Return what is wrong with the list, one line each."""
    if not isinstance(listed, dict) or set(listed) != set(STATES[1:]):
        return [f"expected an object with the keys {', '.join(STATES[1:])}"]
    every = [sha256 for state in STATES[1:] for sha256 in listed[state]]
    lines = [
        f"{sha256} is not the sha256 of a file under results/" for sha256 in every if sha256 not in files
    ]
    if len(set(every)) < len(every):
        lines.append("a sha256 is listed twice")
    if any(listed[state] != sorted(listed[state]) for state in STATES[1:]):
        lines.append("the lists are not sorted")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true", help="write the list from the user's own verdicts")
    files = committed()
    if parser.parse_args().update:
        states = recorded_states()
        found = {state: sorted(s for s in files if states.get(s) == state) for state in STATES[1:]}
        LIST.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    wrong = faults(json.loads(LIST.read_text(encoding="utf-8")), files)
    for line in wrong:
        print(f"{LIST.relative_to(ROOT)}: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
