"""What takes minutes, and is asked for by an option: 100,000 orders on a real engine, and a real engine watched for long."""

import contextlib
import http.client
import json
import tempfile
import threading
import time

from devtools import BOUND, Browser, Page, eventually
from engine import DEAD, QUEUE, Engine, snacks
from opened import FRAME_MILLIS_MAX, calmly, holds_no_more, opened, test

ORDERS, AT_ONCE = 100_000, 16
# Of 100 orders so many fail at first, and so many of these still when the kitchen is mended in part.
FAILING, FAILING_STILL = 5, 2
# How long an operator needs to find one that is stuck, and why.
FOUND_SECONDS_MAX = 60
WORKED_SECONDS_MAX = 1_800
# What is still asked for at the end: errors, and the addresses that were asked.
TOLD = ("Runtime.exceptionThrown", "Log.entryAdded", "Network.requestWillBeSent")
# Orders a second of a steady load.
STEADY = 20


def posted(engine: Engine, numbers: range) -> None:
    """Orders snacks, many at once."""

    def post(part: range) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=BOUND)
        for number in part:
            order = {"customerName": "Ann", "snackItems": [{"name": "Chips", "quantity": 2, "price": 2.5}], "totalAmount": 5, "idempotencyKey": f"order-{number}"}
            connection.request("POST", "/orders", json.dumps(order), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status >= 300:
                failed.append((answer.status, body))
                return
        connection.close()

    failed: list = []
    threads = [threading.Thread(target=post, args=(numbers[at::AT_ONCE],)) for at in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed[0]


def worked(engine: Engine) -> bool:
    """Whether no message waits any longer."""
    return all(queue["visible"] + queue["in_flight"] + queue["delayed"] == 0 for queue in engine.ask("/_quadrille/queues"))


class Steps:
    """What was done, how long it took, and the longest frame of it."""

    def __init__(self, page: Page | None = None):
        self.page = page

    @contextlib.contextmanager
    def step(self, what: str):
        if self.page:
            self.page.run("window.longest = 0")
        start = time.monotonic()
        yield
        told = f"{what}: {time.monotonic() - start:.1f} s"
        if self.page:
            longest = self.page.run("window.longest")
            told += f", {f'the longest frame {longest:.0f} ms' if longest else f'no frame over {FRAME_MILLIS_MAX} ms'}"
        print(f"       {told}", flush=True)


@test("large")
def why_one_of_a_hundred_thousand_is_stuck_is_found_and_the_right_ones_of_five_thousand_go_back(browser: Browser, args):
    with tempfile.TemporaryDirectory() as folder:
        steps = Steps()
        with snacks(args, f"{folder}/data", FAILING) as engine:
            with steps.step(f"{ORDERS:,} orders posted"):
                posted(engine, range(ORDERS))
            with steps.step("and worked"):
                eventually("all are worked", lambda: worked(engine), WORKED_SECONDS_MAX)
            dead = engine.dead()
        assert ORDERS * FAILING / 100 * 0.9 < dead < ORDERS * FAILING / 100 * 1.1, dead
        with snacks(args, f"{folder}/data", FAILING_STILL, "--allow-actions") as engine, opened(browser, engine.address) as page:
            steps = Steps(page)
            red = f"✘ {dead:,} dead letters in {DEAD}"
            calmly("the first load", page, lambda: [page.open(engine.address), page.sees(red), page.sees("● live", "#live")])
            with steps.step("the page's first load"):
                page.open(engine.address)
                page.sees(red)
            start = time.monotonic()
            it = found(page, steps)
            assert time.monotonic() - start < FOUND_SECONDS_MAX, f"it took {time.monotonic() - start:.0f} s to find why {it} is stuck"
            assert statuses(page, steps) == {"NEW": dead, "PROCESSED": ORDERS - dead}
            done, again = planned(page, steps, dead)
            sent(page, steps, dead, done, again)
            # Every count agrees: of the queue, of its letters, of the orders, and of what the engine tells itself.
            assert engine.dead() == again
            page.go("#/letters")
            page.sees(f"{again:,} dead letters in 1 group; that is all of")
            page.go("#/queues")
            page.wait(f"[...document.querySelectorAll('tr.stuck')].some((row) => row.innerText.includes('{QUEUE}') && row.innerText.includes('✘ {again:,}'))")
            page.go("#/flow")
            page.sees(f"✘ {again:,} dead letters in {DEAD}")
            assert statuses(page, steps) == {"NEW": again, "PROCESSED": ORDERS - again}
            with steps.step(f"a plan of the {again:,} that are left"):
                page.go(f"#/plan?queue={DEAD}&go=1")
                page.sees(f"{again:,} letters tried. Nothing was changed.")
            told = page.run("[...document.querySelectorAll('tbody tr')].map((row) => row.cells[2].innerText)")
            assert told == ["✘ fails again"], told


def found(page: Page, steps: Steps) -> str:
    """Finds one that is stuck, by its status and by the reason, and reads why; its id."""
    with steps.step("search by status, to the first found"):
        page.go("#/search?kind=order&status=NEW&go=1")
        page.wait("document.querySelector('main td a')", "one is found")
    with steps.step("and through 5,000"):
        page.sees("Looked at 5,000: ")
    with steps.step("search by reason, to the first found"):
        page.go("#/search?kind=order&reason=kitchen_busy&go=2")
        page.wait("document.querySelector('main td a')", "one is found")
    with steps.step("its story"):
        page.click("order ", "main", "td a")
        page.sees("Timeline")
        page.sees("nothing more happens by itself")
        page.sees("kitchen_busy")
    return page.run("location.hash").split("/")[-1]


def statuses(page: Page, steps: Steps) -> dict[str, int]:
    """How many orders there are of each status, as the page counts them."""
    with steps.step(f"a look at all {ORDERS:,}"):
        page.go("#/flow")
        page.sees("The same as lists")
        page.go("#/search?kind=order&go=3")
        page.click("look at all")
        page.sees(f"Looked at {ORDERS:,}: {ORDERS:,} found; that is all.")
    told = page.run("document.querySelector('main .note').innerText").split(" · ")
    return {name: int(count.replace(",", "")) for name, count in (one.split(" ") for one in told)}


def planned(page: Page, steps: Steps, dead: int) -> tuple[int, int]:
    """Makes the plan of all; how many would be done, and how many would fail again."""

    def plan() -> None:
        page.go("#/flow")
        page.sees("The same as lists")
        page.go("#/letters")
        page.click("plan a redrive")
        page.sees(f"{dead:,} letters tried. Nothing was changed.")

    with steps.step(f"groups, and a plan of {dead:,}"):
        plan()
    calmly("a plan", page, plan)
    told = dict(page.run("[...document.querySelectorAll('tbody tr')].map((row) => [row.cells[2].innerText, Number(row.cells[1].innerText.replace(',', ''))])"))
    done, again = told["✔ done"], told["✘ fails again"]
    assert done + again == dead and done > dead / 2 and again > dead / 3, told
    return done, again


def sent(page: Page, steps: Steps, dead: int, done: int, again: int) -> None:
    """Sends those that would be done."""
    page.sees(f"{done:,} of {dead:,} letters chosen.")
    page.fill("by", "ann")
    page.fill("why", "the kitchen is back")
    page.fill("rate", "500")
    page.click(f"Send {done:,} of {dead:,} letters back …")
    page.sees(f"Send {done:,} of {dead:,} letters of {DEAD} back to {QUEUE}.", "dialog[open]")
    with steps.step(f"a redrive of {done:,}"):
        page.click(f"Send {done:,} letters back", "dialog[open]")
        page.sees("Counts before and after")
    row = page.run("[...document.querySelectorAll('tbody tr')].at(-1).innerText.split(/\\s+/).join(' ')")
    assert row == f"{DEAD} {dead:,} {done:,} 0 {again:,}", row


@contextlib.contextmanager
def steady(engine: Engine):
    """Orders as many snacks a second, until it is left; yields how many it has ordered, and what went wrong."""
    count, wrong, over = [0], [], threading.Event()

    def load() -> None:
        begun = time.monotonic()
        while not over.is_set() and not wrong:
            try:
                posted(engine, range(count[0], count[0] + STEADY))
            except (AssertionError, OSError) as error:
                wrong.append(error)
            count[0] += STEADY
            over.wait(max(0, begun + count[0] / STEADY - time.monotonic()))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield count, wrong
    finally:
        over.set()
        thread.join()


@test("minutes")
def a_page_that_is_left_open_under_load_holds_no_more_after_minutes(browser: Browser, args):
    views = {"#/flow": "The same as lists", "#/work": "200 entries, the newest first"}
    with tempfile.TemporaryDirectory() as folder, snacks(args, folder, FAILING) as engine, steady(engine) as (count, wrong):
        with opened(browser, engine.address) as page:
            page.sees("● live", "#live")
            for view, text in views.items():
                page.go(view)
                page.sees(text)
                samples = []
                # The first minute is for what is made once.
                for minute in range(max(2, args.minutes // len(views)) + 1):
                    before, end = count[0], time.monotonic() + (60 if minute else 5)
                    page.run("window.longest = 0")
                    # What the browser tells meanwhile is read.
                    while time.monotonic() < end:
                        page.run("new Promise((resolve) => setTimeout(resolve, 1000))")
                        browser.events[:] = [event for event in browser.events if event["method"] in TOLD]
                    longest = page.run("window.longest")
                    samples.append(page.held())
                    held = ", ".join(f"{value:,} {name}" for name, value in samples[-1].items())
                    print(f"       {view}, minute {minute}: {count[0] - before:,} orders, the longest frame {longest:.0f} ms, held: {held}", flush=True)
                    assert not wrong, wrong
                    page.sees("● live", "#live")
                holds_no_more(samples[1], samples[-1])
        assert count[0] >= STEADY * 60 * args.minutes * 0.8, f"{count[0]} orders are no steady load"
