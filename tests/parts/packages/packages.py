"""What the tests of the chart and of the manifests need of Python: the engine of Helm, schemas of Kubernetes, YAML.

usage: packages.py render CHART     stdin: [{name, namespace, values}]; stdout: [{objects, notes} or {error}]
       packages.py lint CHART       stdin: [values]; stdout: [[message]], of warnings and errors
       packages.py judge            stdin: [object]; stdout: {wrong, unknown}: what the schemas of Kubernetes say, and kinds
                                    that they do not have
       packages.py yaml             stdin: YAML; stdout: [document]
       packages.py table VALUES     stdout: a table of what the file says about each value, in Markdown

All in JSON, apart from `table`.
"""

import functools
import json
import re
import sys
from pathlib import Path

import yaml

KUBERNETES = "1.37"


def main(command: str, *arguments: str) -> None:
    match command:
        case "render":
            answer = render(Path(*arguments), json.load(sys.stdin))
        case "lint":
            answer = lint(Path(*arguments), json.load(sys.stdin))
        case "judge":
            answer = judged(json.load(sys.stdin))
        case "yaml":
            answer = documents(sys.stdin.read())
        case "table":
            print(table(Path(*arguments).read_text("utf-8")), end="")
            return
        case _:
            sys.exit(__doc__)
    json.dump(answer, sys.stdout)


def render(folder: Path, cases: list[dict]) -> list[dict]:
    import helm_python

    answers = []
    with helm_python.Chart.load(folder) as chart:
        for case in cases:
            try:
                chart.validate_schema(chart.merge_values(case["values"]))
                pages = chart.render(case["values"], name=case["name"], namespace=case["namespace"])
            except helm_python.HelmError as error:
                answers.append({"error": str(error)})
                continue
            notes = "".join(text for path, text in pages.items() if path.endswith("NOTES.txt"))
            objects = [
                found
                for path, text in sorted(pages.items())
                if path.endswith(".yaml")
                for found in documents(text)
            ]
            answers.append({"objects": objects, "notes": notes})
    return answers


def lint(folder: Path, cases: list[dict]) -> list[list[str]]:
    import helm_python

    reports = (helm_python.lint(folder, values, strict=True, namespace="usher") for values in cases)
    return [
        [f"{message['path']}: {message['error']}" for message in report["messages"] if message["severity"] > 1]
        + report["errors"]
        for report in reports
    ]


def judged(objects: list[dict]) -> dict:
    import kubernetes_validate
    from kubernetes_validate import utils

    # The schemas are megabytes, and the same for all objects.
    utils.schema_contents = functools.lru_cache(None)(utils.schema_contents)
    wrong, unknown = [], set()
    for found in objects:
        try:
            utils.validate(found, KUBERNETES, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            unknown.add(found["kind"])
        except kubernetes_validate.ValidationError as error:
            place = ".".join(str(part) for part in error.path)
            wrong.append(f"{found['kind']} {found['metadata']['name']}: {place}: {error.message}")
    return {"wrong": wrong, "unknown": sorted(unknown)}


class Loader(yaml.CSafeLoader):
    """Of keys that stand twice, YAML takes the last and says nothing."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(f"{node.start_mark}: {sorted(twice)} stand twice")
        return super().construct_mapping(node, deep)


def documents(text: str) -> list[dict]:
    return [found for found in yaml.load_all(text, Loader) if found]


def table(text: str) -> str:
    """A line for each value with a comment that begins with `# --`, or that is below a key without one."""
    rows, path, comment = [], [], []
    lines = text.splitlines()
    for number, line in enumerate(lines):
        said = re.match(r"( *)# (?:(--) )?(.*)", line)
        key = re.match(r"( *)([\w]+):(?: (.*))?$", line)
        if said:
            if said[2]:
                comment = [said[3]]
            elif comment:
                comment.append(said[3])
        elif key:
            depth = len(key[1]) // 2
            path[depth:] = [key[2]]
            has_children = not key[3]
            if comment or not has_children:
                if not any(".".join(path).startswith(whole + ".") for whole in (row[0] for row in rows)):
                    default = key[3] or inner(lines, number, depth)
                    rows.append((".".join(path), default, " ".join(comment)))
            comment = []
        else:
            comment = []
    cells = [f"| `{name}` | {f'`{default}`' if default != chr(34) * 2 else ''} | {words} |" for name, default, words in rows]
    return "\n".join(["| value | default | |", "| --- | --- | --- |", *cells]) + "\n"


def inner(lines: list[str], number: int, depth: int) -> str:
    below = []
    for line in lines[number + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) <= 2 * depth:
            break
        below.append(line)
    value = yaml.safe_load("\n".join(below))
    return json.dumps(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
