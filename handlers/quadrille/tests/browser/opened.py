"""A page that is open, and has to have done nothing wrong when it is closed."""

import contextlib
import urllib.parse

from devtools import Browser, Page

# A frame that takes longer is felt.
FRAME_MILLIS_MAX = 50
# A machine that does other things as well makes a frame long now and then: one calm run of these is enough, as long as nothing is compiled beside it.
TRIES = 6
# What a page may hold more after long than after a while. The view that was left last may still be held; an entry that was told is
# some 10 nodes, and 100 bytes or more.
HELD_MORE_MAX = {"nodes": 1_000, "listeners": 20, "heap": 4_000_000}
# All tests, in the order in which they are defined.
TESTS = []


def test(what):
    """Marks a test: it gets the browser and the options of the run. `@test("large")` is one that is run where this option is given."""
    if callable(what):
        what.option = None
        TESTS.append(what)
        return what

    def marks(function):
        function.option = what
        TESTS.append(function)
        return function

    return marks


# The views, each with a text that it shows once it is there.
VIEWS = {
    "#/flow": "The same as lists",
    "#/story/order/order-2": "The path that it took",
    "#/search?kind=order&go=1": "Looked at",
    "#/queues": "invoice-queue",
    "#/letters": "that is all",
    "#/letters/process-dlq": "page 1",
    "#/letter/process-dlq/3": "Body, ",
    "#/plan?queue=process-dlq&go=1": "letters chosen",
    "#/work": "the newest first",
    "#/schedule/sweep": "every 5m",
    "#/clock": "Step 0",
}


@contextlib.contextmanager
def opened(browser: Browser, address: str, fragment: str = "", **how):
    with Page(browser, **how) as page:
        page.open(f"{address}/{fragment}")
        yield page
        assert page.run("window.ran === undefined"), "a script of others ran"
        assert not page.faults(), page.faults()
        asked = {urllib.parse.urlsplit(url)[:2] for url in page.requests() if not url.startswith(("data:", "blob:", "about:"))}
        own = urllib.parse.urlsplit(address)[:2]
        assert asked == {own}, f"it asked others: {asked}"


def look_at(page: Page, view: str) -> None:
    """Goes to a view, and waits for it."""
    page.go(view)
    page.sees(VIEWS[view], "main")


def calmly(what: str, page: Page, run) -> None:
    """Has something done until no frame of it is long, a few times at most."""

    def once() -> float:
        page.run("new Promise((resolve) => setTimeout(() => { window.longest = 0; resolve(); }, 0))")
        run()
        return longest(page)

    _calm(what, once)


def loads_calmly(what: str, browser: Browser, address: str, text: str) -> None:
    """Has an address loaded by a browser that knows nothing of it, until no frame is long, a few times at most."""

    def once() -> float:
        with Page(browser) as page:
            page.open(address)
            page.sees(text)
            return longest(page)

    _calm(what, once)


def longest(page: Page) -> float:
    """The longest frame, in milliseconds, once what is still to be drawn is drawn, and told."""
    page.run("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(resolve, 0))))")
    return page.run("window.longest")


def _calm(what: str, once) -> None:
    frames = []
    for _ in range(TRIES):
        frames.append(once())
        if frames[-1] <= FRAME_MILLIS_MAX:
            return
    raise AssertionError(f"{what}: the longest frames were {frames} ms")


def holds_no_more(before: dict[str, int], after: dict[str, int]) -> None:
    """Nothing of what went by was left behind."""
    grown = {name: after[name] - before[name] for name, most in HELD_MORE_MAX.items() if after[name] > before[name] + most}
    assert not grown, f"grown by {grown}: from {before} to {after}"
