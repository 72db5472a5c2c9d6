"""Holds a report of the conformance runner against the list of known differences.

usage: known_differences.py REPORT.json LIST

A case may fail only if the list names it, and a case that the list names must fail: the list can only become shorter.
Prints what is wrong, then `N passed, M failed, K skipped`, where a case that fails as expected counts as skipped.
Exits 1 if something is wrong.
"""

import json
import sys
from pathlib import Path


def main(report: Path, differences: Path) -> int:
    outcomes = {case["name"]: case["outcome"] for case in json.loads(report.read_text("utf-8"))["cases"]}
    known, wrong = read(differences)
    for name, reason in known.items():
        if name not in outcomes:
            wrong.append(f"{name}: listed as a known difference, and there is no such case among those that ran")
        elif outcomes[name] == "pass":
            wrong.append(f"{name}: passes, but is listed as a known difference ({reason}): take it off {differences}")
    failed = {name for name, outcome in outcomes.items() if outcome not in ("pass", "skip")}
    wrong += [f"{name}: fails, and is not listed as a known difference" for name in sorted(failed - known.keys())]
    expected = sum(outcomes.get(name) != "pass" for name in known)
    passed = sum(outcome == "pass" and name not in known for name, outcome in outcomes.items())
    skipped = expected + sum(outcome == "skip" and name not in known for name, outcome in outcomes.items())
    for text in wrong:
        print(text)
    print(f"{expected} known differences")
    print(f"{passed} passed, {len(wrong)} failed, {skipped} skipped")
    return 1 if wrong or not passed else 0


def read(file: Path) -> tuple[dict[str, str], list[str]]:
    """The reasons by name, and what is wrong with the list itself."""
    known: dict[str, str] = {}
    wrong: list[str] = []
    for line in file.read_text("utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, reason = line.partition(" ")
        if not reason.strip():
            wrong.append(f"{name}: listed as a known difference without a reason")
        if name in known:
            wrong.append(f"{name}: listed as a known difference twice")
        known[name] = reason.strip()
    return known, wrong


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
