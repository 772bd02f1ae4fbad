"""The console in a real browser: `run.py [--command PATH] [--pictures FOLDER] [--large] [--minutes N] [NAME…]`, by `.ci/browser`.

Without names all tests run; a name is a part of theirs. Those that take minutes run alone, by `--large` and `--minutes`. The pictures of README.md are made on the way.
"""

import argparse
import pathlib
import sys
import time
import traceback

# The tests; whoever imports them has them in TESTS.
import looks, sizes, engine, letters, load  # noqa: E401, F401
from devtools import Browser, found
from opened import TESTS

ROOT = pathlib.Path(__file__).resolve().parents[4]


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--command", type=pathlib.Path, default=ROOT / "target/debug/quadrille")
    asked.add_argument("--pictures", type=pathlib.Path)
    asked.add_argument("--large", action="store_true", help="100,000 orders on a real engine; the command should be optimised")
    asked.add_argument("--minutes", type=int, help="a real engine under load, watched for so long")
    asked.add_argument("names", nargs="*")
    args = asked.parse_args()
    program = found()
    if program is None:
        print("no Chromium is installed: .ci/browser installs it", file=sys.stderr)
        return 1
    if not args.command.is_file():
        print(f"{args.command} is not built", file=sys.stderr)
        return 1
    options = [name for name in ("large", "minutes") if getattr(args, name)] or [None]
    chosen = [test for test in TESTS if test.option in options and (not args.names or any(name in test.__name__ for name in args.names))]
    if not chosen:
        print(f"no test has such a name; there are {', '.join(test.__name__ for test in TESTS)}", file=sys.stderr)
        return 1
    failed, began = [], time.monotonic()
    browser = Browser(program)
    try:
        for test in chosen:
            start = time.monotonic()
            try:
                test(browser, args)
                how = "ok"
            except Exception:
                traceback.print_exc()
                how = "FAILED"
                failed.append(test.__name__)
            print(f"{how:6} {test.__name__}, {time.monotonic() - start:.1f} s", flush=True)
            browser.events.clear()
    finally:
        browser.close()
    print(f"{len(chosen) - len(failed)} of {len(chosen)} passed in {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
