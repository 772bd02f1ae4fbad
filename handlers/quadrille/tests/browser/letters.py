"""Letters that go back: by a redrive that is broken off and gone on with, and those that a look at them has hidden."""

import json
import tempfile
import time

from devtools import Browser, Page, eventually
from engine import downloaded
from opened import opened, test
from stub import DEAD, Stub


def begun(page: Page, rate: int, all: int, done: int) -> None:
    """Makes a plan, and sends those that would be done."""
    page.go(f"#/plan?queue={DEAD}&go={all}")
    page.sees(f"{done} of {all:,} letters chosen.")
    page.fill("by", "ann")
    page.fill("why", "the kitchen is back")
    page.fill("rate", str(rate))
    page.click(f"Send {done} of {all:,} letters back …")
    page.click(f"Send {done} letters back", "dialog[open]")


def stopped(page: Page, all: int, done: int) -> None:
    """Begins to send, and stops it: from then on the plan's view offers to go on with it."""
    begun(page, 1, all, done)
    page.sees(f"1 of {done} letters sent back")
    page.click("Stop")
    page.sees("stopped: what was not sent is where it was")


@test
def a_redrive_that_was_broken_off_goes_on_sends_none_twice_and_keeps_its_record(browser: Browser, _):
    with tempfile.TemporaryDirectory() as folder, Stub(letters=300, allows_actions=True) as stub:
        # Nobody hears what became of the third request.
        stub.unanswered = 3
        with opened(browser, stub.address) as page:
            begun(page, 20, 300, 100)
            page.sees("40 of 100 letters sent back")
            eventually("the third is sent", lambda: len(stub.sent) == 60)
            # Another tab sees it, and has to wait.
            with opened(browser, stub.address, "#/plan", beside=page) as other:
                other.sees("A redrive is being sent, in another tab or by a request that is not answered yet", ".kept")
                assert not other.run("[...document.querySelectorAll('.kept button')].some((one) => /Go on|Forget/.test(one.textContent))")
            page.send("Page.reload")
            page.sees("A redrive was broken off", ".kept")
            page.sees("by ann, 40 of 100 letters sent.", ".kept")
            halves = downloaded(browser, page, folder, "Download its record so far", "plan.jsonl.record").read_text()
            page.click("Go on with it …")
            page.sees("40 of 100 letters sent. The other 60 are sent back, as it was begun: by ann, the kitchen is back.", "dialog[open]")
            page.click("Leave it", "dialog[open]")
            assert len(stub.sent) == 60, "nothing is sent before it is confirmed"
            page.click("Go on with it …")
            page.click("Send the other 60 back", "dialog[open]")
            page.sees("Counts before and after")
            for told in ("40 were sent back before it was broken off", "40 sent back", "20 are no longer there", "the request that named it was not answered when it was broken off"):
                page.sees(told)
            assert len(set(stub.sent)) == len(stub.sent) == 100 and all(one % 3 == 0 for one in stub.sent)
            whole = downloaded(browser, page, folder, "Download the record of each letter", "plan.jsonl.record").read_text()
            assert whole.startswith(halves) and len(halves.splitlines()) == 1 + 3 + 40
            lines = [json.loads(line) for line in whole.splitlines()]
            assert [line["begun"]["by"] for line in lines if "begun" in line] == ["ann", "ann"]
            results = [line["letter"]["id"] for line in lines if "letter" in line]
            named = [line["sending"]["ids"] for line in lines if "sending" in line]
            missing = {str(one) for one in stub.sent} - set(results)
            assert len(set(results)) == len(results) == 80 and len(missing) == 20 and missing <= set(named[2])
            # It is over: nothing of it is kept.
            page.go("#/plan")
            page.sees("Nothing is changed by a plan")
            assert kept(page) == 0


def kept(page: Page) -> int:
    """How much is kept in the browser."""
    return page.run("""new Promise((resolve, reject) => {
      const asked = indexedDB.open("quadrille", 1);
      asked.onerror = () => reject(asked.error);
      asked.onsuccess = () => {
        const stores = asked.result.transaction(["redrives", "parts"]);
        const counts = ["redrives", "parts"].map((name) => stores.objectStore(name).count());
        stores.oncomplete = () => { asked.result.close(); resolve(counts[0].result + counts[1].result); };
      };
    })""")


@test
def redrives_that_are_not_over_are_kept_apart_and_few_and_forgotten_on_request(browser: Browser, _):
    with Stub(letters=600, allows_actions=True) as stub, opened(browser, stub.address) as page:
        for _ in range(6):
            lie, done = len(stub.lies), sum(one % 3 == 0 for one in stub.lies)
            stopped(page, lie, done)
        page.click("Go on with it, or forget it")
        page.wait("document.querySelectorAll('.kept').length === 5", "the newest are kept")
        times = page.run("[...document.querySelectorAll('.kept time')].map((one) => one.dateTime)")
        assert times == sorted(times, reverse=True), times
        sent = len(stub.sent)
        for left in range(5, 0, -1):
            page.click("Forget it …")
            page.sees("What was sent stays sent", "dialog[open]")
            page.click("Forget it", "dialog[open]")
            page.wait(f"document.querySelectorAll('.kept').length === {left - 1}", "it is forgotten")
        assert kept(page) == 0 and len(stub.sent) == sent


@test
def on_aws_what_may_have_been_sent_is_not_sent_again(browser: Browser, _):
    with Stub(letters=60, target="aws", allows_actions=True) as stub, opened(browser, stub.address) as page:
        stub.unanswered = 2
        begun(page, 5, 60, 20)
        eventually("the second is sent", lambda: len(stub.sent) == 10)
        # What the second has left lies there, and so does a copy of what it has sent: such a queue may give it once more.
        stub.lies += stub.sent[5:]
        page.send("Page.reload")
        page.click("Go on with it …")
        page.click("Send the other 15 back", "dialog[open]")
        page.sees("Counts before and after")
        page.sees("15 may have been sent when it was broken off, and stay: a look at their entities tells")
        assert len(set(stub.sent)) == len(stub.sent) == 10


@test
def a_redrive_keeps_its_rate_where_each_request_meets_few_letters(browser: Browser, _):
    with Stub(letters=600, allows_actions=True, meets=2) as stub, opened(browser, stub.address) as page:
        # 200 letters, 100 a second, by 100 requests.
        start = time.monotonic()
        begun(page, 100, 600, 200)
        page.sees("Counts before and after")
        took = time.monotonic() - start
        assert len(stub.sent) == 200 and stub.redrives == 100
        assert 2 <= took < 30, f"{took:.1f} s"


def given_back(stub: Stub, what: str) -> None:
    """All that was hidden shows itself again, and some was."""
    eventually(f"{what}: all is given back", lambda: stub.hid and not stub.hidden)
    stub.hid, stub.asked[:] = 0, []


# How each look at many letters begins, and what it shows where it fails.
LOOKS = {
    "dead-letter-groups": ("#/letters", "2,000 dead letters in 3 groups; that is all of 2 queues."),
    "dead-letters": (f"#/letters/{DEAD}?reason=none", "page 1: 0 letters, the last page"),
    "plan": (f"#/plan?queue={DEAD}&go=1", "2,000 letters tried. Nothing was changed."),
}


@test
def letters_that_a_look_hides_are_given_back_when_it_is_done_left_or_fails(browser: Browser, _):
    with Stub(letters=2_000, hides=True) as stub, opened(browser, stub.address) as page:
        page.sees("2,000 dead letters")
        for operation, (view, told) in LOOKS.items():
            page.go(view)
            page.wait("document.querySelector('main .view')", "it is begun")
            eventually("some are hidden", lambda: stub.hidden)
            page.go("#/queues")
            given_back(stub, f"{operation} that was left")
            page.go(view)
            page.sees(told)
            # What a page of a list shows stays hidden, so that the next one has others.
            assert operation != "dead-letters" or len(stub.hidden) == stub.hid == 2_000
            page.go("#/queues")
            given_back(stub, f"{operation} that was done")
            stub.fails = operation
            page.go(view)
            page.sees("✘ the queue does not answer (throttled)")
            page.go("#/queues")
            given_back(stub, f"{operation} that failed")
            stub.fails = None
        # One of them, which is the last.
        page.go(f"#/letter/{DEAD}/1999")
        page.sees("Body, ")
        given_back(stub, "a letter that was found")


@test
def letters_that_a_plan_or_a_redrive_passes_over_are_given_back_when_it_is_stopped_or_fails(browser: Browser, _):
    with Stub(letters=2_000, hides=True, allows_actions=True) as stub, opened(browser, stub.address) as page:
        page.sees("2,000 dead letters")
        page.go(f"#/plan?queue={DEAD}&go=1")
        page.click("stop", "main")
        page.sees("; stopped, so that the plan is of a part")
        given_back(stub, "a plan that was stopped")
        ends = {
            "stopped": lambda: [page.click("Stop"), page.sees("✘ stopped")],
            "left": lambda: page.go("#/queues"),
            "failed": lambda: page.sees("✘ the queue does not answer (throttled)"),
        }
        for how, end in ends.items():
            lie, done = len(stub.lies), sum(one % 3 == 0 for one in stub.lies)
            begun(page, 5, lie, done)
            given_back(stub, "the plan")
            eventually("some are passed over", lambda: stub.hidden)
            if how == "failed":
                stub.fails = "redrive-planned"
            end()
            stub.fails = None
            given_back(stub, f"a redrive that was {how}")
            page.go("#/queues")
        begun(page, 500, len(stub.lies), sum(one % 3 == 0 for one in stub.lies))
        page.sees("Counts before and after")
        given_back(stub, "a redrive that was done")
        assert not any(one % 3 == 0 for one in stub.lies)


@test
def letters_that_a_purge_passes_over_are_given_back(browser: Browser, _):
    with Stub(letters=600, hides=True, allows_actions=True) as stub, opened(browser, stub.address) as page:
        page.sees("600 dead letters")
        for fails in ("purge", None):
            page.go(f"#/letters/{DEAD}?reason=timeout")
            page.sees("page 1: 20 letters")
            page.click("Delete these …")
            count = sum(one % 3 == 1 for one in stub.lies)
            page.click(f"Delete {count} letters for good", "dialog[open]")
            stub.fails = fails
            page.sees("✘ the queue does not answer (throttled)" if fails else f"✔ {count} letters deleted")
            page.go("#/queues")
            given_back(stub, "a purge")
        assert len(stub.lies) == 400 and not any(one % 3 == 1 for one in stub.lies)


@test
def letters_are_purged_behind_any_number_of_others(browser: Browser, _):
    with Stub(letters=3, allows_actions=True) as stub, opened(browser, stub.address) as page:
        stub.lies = [one for one in range(1800) if one % 3 != 1] + [1801, 1804]
        page.go(f"#/letters/{DEAD}?reason=timeout")
        page.sees("page 1: 2 letters")
        page.click("Delete these …")
        page.click("Delete 2 letters for good", "dialog[open]")
        page.sees("✔ 2 letters deleted")
        assert len(stub.lies) == 1200
