"""What no linter of workflows looks at: `check-workflows.py [--self-test]`, with the Python of `.ci/lint-workflows`.

- Every action is one of .ci/actions.json, pinned there by commit, with the version in a comment; its inputs are among
  those that stand there, and none is missing that the action requires, or we do. The same for this repository's own
  actions and reusable workflows. A new pin, or a further input, takes a look at what that version's action.yml has.
- Every job states its permissions and its time limit.
- What a `run:` needs comes to it by its environment; its shell is said to be bash, and shellcheck finds nothing in it.
- Every variable and secret that is used is documented in docs/delivery.md, and no other.

Exit code 1 where something is found.
"""

import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

from ruamel.yaml import YAML

ROOT = pathlib.Path(__file__).resolve().parent.parent
# How this repository's own actions and workflows are named: at the commit that runs, without a checkout.
OWN = "$/"


def check(name: str, text: str, actions: dict, own: dict[str, dict]) -> Iterator[str]:
    """What is wrong with a workflow, or with an action made of steps."""
    document = YAML(typ="safe").load(text)
    yield from pins(text, actions)
    if "jobs" not in document:
        yield from steps(name, document["runs"]["steps"], actions, own, given_shell=None)
        return
    # Without one, GitHub's bash goes on where the first command of a pipe fails.
    shell = document.get("defaults", {}).get("run", {}).get("shell")
    for id, job in document["jobs"].items():
        where = f"job {id}"
        if "permissions" not in job:
            yield f"{where}: no permissions"
        if "uses" in job:
            yield from call(where, job, actions, own)
            continue
        if "timeout-minutes" not in job:
            yield f"{where}: no timeout-minutes"
        yield from steps(where, job["steps"], actions, own, given_shell=shell)


def pins(text: str, actions: dict) -> Iterator[str]:
    """By the lines, since a version is a comment."""
    for number, line in enumerate(text.splitlines(), start=1):
        found = re.match(r"\s*(?:- )?uses:\s*(\S+)(.*)$", line)
        if found is None or found[1].startswith(OWN):
            continue
        where = f"line {number}"
        reference = re.fullmatch(r"([^@]+)@([0-9a-f]{40})", found[1])
        if reference is None:
            yield f"{where}: {found[1]} is not pinned by a commit"
            continue
        known = actions.get(reference[1])
        if known is None:
            yield f"{where}: {reference[1]} is not in .ci/actions.json"
        elif (reference[2], found[2].strip()) != (known["pin"], f"# {known['version']}"):
            yield f"{where}: expected {reference[1]}@{known['pin']} # {known['version']}"


def steps(name: str, given: list[dict], actions: dict, own: dict[str, dict], given_shell: str | None) -> Iterator[str]:
    for number, step in enumerate(given, start=1):
        where = f"{name}, step {number}"
        if "uses" in step:
            yield from call(where, step, actions, own)
        if "run" in step:
            shell = step.get("shell", given_shell)
            if shell != "bash":
                yield f"{where}: shell {shell}, which nobody checks"
            elif "${{" in step["run"]:
                yield f"{where}: an expression in run; give it by env"
            else:
                yield from shellcheck(where, step["run"])


def call(where: str, caller: dict, actions: dict, own: dict[str, dict]) -> Iterator[str]:
    """The inputs and secrets that a step or a job gives to what it uses."""
    used = caller["uses"]
    if used.startswith(OWN):
        path = used.removeprefix(OWN)
        if path not in own:
            yield f"{where}: {used} is not there"
            return
        taken = own[path]
    else:
        known = actions.get(used.partition("@")[0])
        if known is None:
            return  # told by its pin
        required = known.get("required", [])
        taken = {"with": {input: input in required for input in known["inputs"]}, "secrets": {}}
    for kind in ("with", "secrets"):
        given = caller.get(kind, {})
        for input in given:
            if input not in taken[kind]:
                yield f"{where}: {used} knows no {input} ({kind})"
        for input, required in taken[kind].items():
            if required and input not in given:
                yield f"{where}: {used} needs {input} ({kind})"


def interface(document: dict) -> dict:
    """What one of this repository's own actions or reusable workflows takes: which names, and whether they are required."""
    # `on` is a name and not the truth: this is YAML 1.2.
    takes = document if "runs" in document else (document["on"]["workflow_call"] or {})
    return {
        kind: {name: bool(about.get("required", False)) for name, about in (takes.get(key) or {}).items()}
        for kind, key in (("with", "inputs"), ("secrets", "secrets"))
    }


def shellcheck(where: str, script: str) -> Iterator[str]:
    checked = subprocess.run(
        [pathlib.Path(sys.executable).parent / "shellcheck", "--shell=bash", "--format=gcc", "-"],
        input=f"set -eo pipefail\n{script}",
        capture_output=True,
        text=True,
        check=False,
    )
    if checked.returncode not in (0, 1):
        raise RuntimeError(f"shellcheck: {checked.stderr}")
    for line in checked.stdout.splitlines():
        yield f"{where}: {line}"


def documented(texts: list[str], document: str) -> Iterator[str]:
    """Whether the variables and secrets of the workflows are those in the table of the documentation, as `vars.NAME`."""
    used = {name for text in texts for name in re.findall(r"\b(?:vars|secrets)\.[A-Z_]+", text)}
    told = set(re.findall(r"^ *\| `((?:vars|secrets)\.[A-Z_]+)` \|", document, re.MULTILINE))
    yield from (f"docs/delivery.md does not tell of {name}" for name in sorted(used - told))
    yield from (f"docs/delivery.md tells of {name}, which nothing uses" for name in sorted(told - used))


def repository() -> Iterator[str]:
    files = sorted([*ROOT.glob(".github/workflows/*.y*ml"), *ROOT.glob(".github/actions/*/action.y*ml")])
    texts = {str(file.relative_to(ROOT)): file.read_text() for file in files}
    actions = json.loads((ROOT / ".ci/actions.json").read_text())
    own = {}
    for name, text in texts.items():
        document = YAML(typ="safe").load(text)
        if "runs" in document:
            own[str(pathlib.PurePath(name).parent)] = interface(document)
        elif "workflow_call" in document["on"]:
            own[name] = interface(document)
    for name, text in texts.items():
        yield from (f"{name}: {finding}" for finding in check(name, text, actions, own))
    all = "\n".join(texts.values())
    yield from (f".ci/actions.json: {name} is not used" for name in actions if f"uses: {name}@" not in all)
    yield from documented(list(texts.values()), (ROOT / "docs/delivery.md").read_text())


GOOD = """
on: push
defaults:
  run:
    shell: bash
jobs:
  deploy:
    permissions: {}
    timeout-minutes: 5
    runs-on: ubuntu-24.04
    steps:
      - uses: some/action@0123456789012345678901234567890123456789 # v1.2.3
        with:
          command: preview
      - uses: $/actions/own
        with:
          role: admin
      - run: echo "$STACK"
  tell:
    permissions: {}
    uses: $/workflows/tell.yml
    secrets:
      HOOK: ${{ secrets.HOOK }}
"""
# A name, what is changed in GOOD into what, and what has to be said of it.
BROKEN = [
    ("a mistyped input", "command: preview", "comand: preview", "knows no comand (with)"),
    ("a missing input", "command: preview", "stack: dev", "needs command (with)"),
    ("no inputs at all", "        with:\n          command: preview\n", "", "needs command (with)"),
    ("an unknown action", "some/action", "other/action", "other/action is not in .ci/actions.json"),
    ("a tag for a pin", "@0123456789012345678901234567890123456789", "@v1", "not pinned by a commit"),
    ("another commit", "@0123", "@3210", "expected some/action@0123"),
    ("no version", " # v1.2.3", "", "# v1.2.3"),
    ("another version", "# v1.2.3", "# v1.2.4", "# v1.2.3"),
    ("a mistyped input of an own action", "role: admin", "rule: admin", "knows no rule (with)"),
    ("an own action that is not there", "$/actions/own", "$/actions/gone", "$/actions/gone is not there"),
    ("a mistyped secret", "HOOK: ", "HOK: ", "needs HOOK (secrets)"),
    ("no time limit", "    timeout-minutes: 5\n", "", "job deploy: no timeout-minutes"),
    ("no permissions", "    permissions: {}\n    uses:", "    uses:", "job tell: no permissions"),
    ("an expression in a script", '"$STACK"', '"${{ inputs.stack }}"', "an expression in run"),
    ("an unquoted variable", '"$STACK"', "$STACK", "SC2086"),
    ("no shell", "    shell: bash\n", "    working-directory: infra\n", "shell None"),
    ("another shell", 'run: echo "$STACK"', "run: print()\n        shell: python", "shell python"),
]


def self_test() -> None:
    """Nothing is found in GOOD, and each break of it is."""
    pin = "0123456789012345678901234567890123456789"
    actions = {"some/action": {"pin": pin, "version": "v1.2.3", "required": ["command"], "inputs": ["command", "stack"]}}
    own = {
        "actions/own": interface({"inputs": {"role": {"required": True}, "region": {}}, "runs": {}}),
        "workflows/tell.yml": interface({"on": {"workflow_call": {"secrets": {"HOOK": {"required": True}}}}}),
    }
    cases = [("a good workflow", "", "", None), *BROKEN]
    for name, old, new, expected in cases:
        changed = GOOD.replace(old, new) if old else GOOD
        if (changed == GOOD) != (expected is None):
            sys.exit(f"self-test, {name}: the good workflow has no {old!r}")
        found = list(check("test", changed, actions, own))
        if (expected is None and found) or (expected is not None and not any(expected in line for line in found)):
            sys.exit(f"self-test, {name}: expected {expected}, found {found}")
    table = "| `vars.ROLE` | a role |\n| `secrets.GONE` | nothing |\n"
    found = list(documented(["${{ vars.ROLE }} ${{ secrets.HOOK }}"], table))
    expected = ["docs/delivery.md does not tell of secrets.HOOK", "docs/delivery.md tells of secrets.GONE, which nothing uses"]
    if found != expected:
        sys.exit(f"self-test, documentation: expected {expected}, found {found}")
    print(f"check-workflows: {len(BROKEN) + 1} broken workflows were found out")


if sys.argv[1:] == ["--self-test"]:
    self_test()
else:
    findings = list(repository())
    print("\n".join(findings) or "check-workflows: nothing found")
    sys.exit(1 if findings else 0)
