"""Tells what became of the mutants: a table by files and every survivor. Fails under 95 % killed.

    mutants.py REVISION OUTCOMES [REPORT]
"""

import json
import pathlib
import sys

BAR = 95.0
COLUMNS = {"CaughtMutant": "caught", "Timeout": "timeout", "MissedMutant": "missed", "Unviable": "unviable"}


def outcomes(folder):
    """What became of every mutant, by its name; of two attempts the later one."""
    found = {}
    for name in ("mutants.out", "again/mutants.out"):
        for path in sorted(pathlib.Path(folder).glob(f"*/{name}/outcomes.json")):
            for outcome in json.loads(path.read_text())["outcomes"]:
                if outcome["scenario"] != "Baseline":
                    mutant = outcome["scenario"]["Mutant"]
                    found[mutant["name"]] = (mutant["file"], COLUMNS[outcome["summary"]])
    return found


def row(name, results):
    counts = {column: results.count(column) for column in COLUMNS.values()}
    killed = counts["caught"] + counts["timeout"]
    viable = killed + counts["missed"]
    share = 100.0 * killed / viable if viable else 100.0
    numbers = " | ".join(str(count) for count in counts.values())
    return f"| {name} | {numbers} | {share:.1f} % |", share


def main(revision, folder, report=""):
    found = outcomes(folder)
    by_file = {}
    for file, result in found.values():
        by_file.setdefault(file.removeprefix("coordinator/engine/src/"), []).append(result)
    lines = [f"Revision {revision}: {len(found)} mutants.", ""]
    lines += [f"| File | {' | '.join(COLUMNS.values())} | killed |", "|---|---|---|---|---|---|"]
    lines += [row(file, results)[0] for file, results in sorted(by_file.items())]
    total, share = row("**all**", [result for _, result in found.values()])
    lines += [total, "", "Survivors:", ""]
    lines += [f"- `{name}`" for name, (_, result) in sorted(found.items()) if result == "missed"]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if report:
        pathlib.Path(report).write_text(text)
    if share < BAR:
        sys.exit(f"{share:.1f} % killed; at least {BAR} % must be")


main(*sys.argv[1:])
