"""Much of everything, and for long: what is on the page stays small, and no frame takes long."""

import contextlib

from devtools import Browser, Page, eventually
from opened import VIEWS, calmly, holds_no_more, loads_calmly, opened, test
from stub import DEAD, FLOW, Stub, at, big_flow

ROWS_MAX = 200
# 10 minutes of at most 4 events a second, each with at most 100 entries.
UPDATES, ENTRIES = 2_400, 100


def rows(page: Page, selector: str = "tbody tr") -> int:
    return page.run(f"document.querySelectorAll({selector!r}).length")


@test
def a_hundred_thousand_entities_are_searched_in_parts(browser: Browser, _):
    with Stub(entities=100_000) as stub, opened(browser, stub.address) as page:
        page.sees("Nothing is stuck")

        def search():
            page.go("#/flow")
            page.sees("The same as lists")
            page.go("#/search?kind=order&go=1")
            page.sees("Looked at 5,000: 5,000 found; there are more.")
            assert rows(page) <= ROWS_MAX
            page.click("last ⇥")
            page.sees("found 4,901–5,000 of 5,000")
            page.click("← back")
            page.sees("found 4,801–4,900 of 5,000")

        calmly("a search", page, search)
        page.sees("FAILED 1,666 · NEW 1,667 · PROCESSED 1,667")
        changed = page.run("[...document.querySelectorAll('td[data-name=changed] time')].map((one) => one.dateTime)")
        assert changed == sorted(changed, reverse=True) and len(changed) == 100, "the newest is first"

        def all() -> None:
            search()
            page.click("look at all")
            page.sees("Looked at 100,000: 100,000 found; that is all.")
            assert rows(page) <= ROWS_MAX

        calmly("a search through all", page, all)
        # Who asks for all while a part is looked at still sees each of them once.
        page.go("#/flow")
        page.sees("The same as lists")
        page.run("location.hash = '#/search?kind=order&go=1'; window.until(() => [...document.querySelectorAll('button')].find((one) => one.textContent === 'look at all'), 5000).then(() => [...document.querySelectorAll('button')].find((one) => one.textContent === 'look at all').click())")
        page.sees("Looked at 100,000: 100,000 found; that is all.")
        calmly("pages of 100,000", page, lambda: [page.click("last ⇥"), page.sees("found 99,901–100,000 of 100,000"), page.click("⇤ first"), page.sees("found 1–100 of")])
        page.go("#/search?kind=order&status=FAILED&go=2")
        page.sees("Looked at 5,000: 1,666 found; there are more.")
        # Those of a run.
        page.go("#/search")
        page.fill("related", "run-7")
        page.click("Look", "form:nth-of-type(2)")
        page.sees("Looked at 5,000: 100 found; there are more.")
        found = page.run("[...document.querySelectorAll('td[data-name=id] bdi')].map((one) => Number(one.textContent.split('-')[1]))")
        assert len(found) == 100 and {number % 50 for number in found} == {7}, found


@test
def a_timeline_of_twenty_thousand_entries_is_shown_in_windows(browser: Browser, _):
    with Stub(entities=10, timeline=20_000, body='{"data":"' + "d" * 1000 + '"}') as stub, opened(browser, stub.address) as page:
        page.sees("Nothing is stuck")

        def read():
            page.go("#/flow")
            page.sees("The same as lists")
            page.go("#/story/order/order-2")
            page.sees("entries 1–100 of 20,001")
            assert rows(page, ".timeline li") <= ROWS_MAX
            page.click("last ⇥")
            page.sees("entries 20,001–20,001 of 20,001")
            page.click("← back")
            page.sees("entries 19,901–20,000 of 20,001")

        calmly("a story", page, read)
        times = page.run("[...document.querySelectorAll('.timeline li > time')].map((one) => one.dateTime)")
        assert times == sorted(times) and len(times) == 100


@test
def a_hundred_thousand_letters_are_counted_exactly(browser: Browser, _):
    with Stub(letters=100_000, now=100_059) as stub, opened(browser, stub.address) as page:
        page.sees("100,000 dead letters")

        def count():
            page.go("#/flow")
            page.sees("The same as lists")
            page.go("#/letters")
            page.sees("100,000 dead letters in 3 groups; that is all of 2 queues.")

        calmly("the groups", page, count)
        counts = page.run("[...document.querySelectorAll('td[data-name=letters]')].map((one) => one.textContent)")
        assert sorted(counts) == ["33,333", "33,333", "33,334"], counts
        # By age as well, each count leading to its letters: those of a whole day and more were given up in its first 13,600 seconds.
        ages = page.run("[...document.querySelectorAll('tbody tr')].map((row) => [4, 5, 6].map((at) => parseInt(row.cells[at].innerText.replace(',', ''))))")
        assert [sum(group[at] for group in ages) for at in range(3)] == [3_600, 82_800, 13_600], ages
        page.click("4,533 given up a day ago or more", "main", "td a")
        page.sees("page 1: 20 letters")
        given_up = page.run("[...document.querySelectorAll('td[data-name=\"given up\"] time')].map((one) => one.dateTime)")
        assert at(0) < min(given_up) and max(given_up) <= at(13_700), given_up

        def leaf():
            page.go("#/flow")
            page.sees("The same as lists")
            page.go(f"#/letters/{DEAD}?reason=timeout")
            page.sees("page 1: 20 letters")
            page.click("on →")
            page.sees("page 2: 20 letters")
            page.click("← back")
            page.sees("page 1: 20 letters")
            assert rows(page) <= ROWS_MAX

        calmly("a list of letters", page, leaf)


@test
def five_thousand_letters_are_planned_and_the_right_ones_sent(browser: Browser, _):
    with Stub(letters=5_000, allows_actions=True) as stub, opened(browser, stub.address) as page:
        page.sees("5,000 dead letters")

        def plan():
            page.go("#/flow")
            page.sees("The same as lists")
            page.go(f"#/plan?queue={DEAD}&go=1")
            page.sees("5,000 letters tried. Nothing was changed.")

        calmly("a plan", page, plan)
        page.sees("1,667 of 5,000 letters chosen.")
        assert rows(page) == 3
        page.run("document.querySelectorAll('tbody input')[2].click()")
        page.sees("3,333 of 5,000 letters chosen.")
        page.fill("by", "ann")
        page.fill("rate", "500")
        page.click("Send 3,333 of 5,000 letters back …")
        page.sees(f"Send 3,333 of 5,000 letters of {DEAD} back to process", "dialog[open]")
        assert len(stub.lies) == 5_000, "nothing is sent before it is confirmed"
        page.click("Leave it", "dialog[open]")
        page.click("Send 3,333 of 5,000 letters back …")
        page.click("Send 3,333 letters back", "dialog[open]")
        page.sees("3,333 of 3,333 letters sent back, 0 dead letters came meanwhile.")
        page.sees("Counts before and after")
        told = page.run("[...document.querySelectorAll('tbody tr')].at(-1).innerText.split(/\\s+/).join(' ')")
        assert told == f"{DEAD} 5,000 3,333 0 1,667", told
        assert {number % 3 for number in stub.lies} == {1} and len(stub.lies) == 1_667


@test
def letters_of_a_mebibyte_each_are_listed_without_their_bodies(browser: Browser, _):
    with Stub(letters=100, body='{"data":"' + "b" * (1 << 20) + '"}') as stub, opened(browser, stub.address) as page:
        page.sees("100 dead letters")

        def leaf():
            page.go("#/flow")
            page.sees("The same as lists")
            page.go(f"#/letters/{DEAD}")
            page.sees("page 1: 20 letters")

        calmly("a list of 20 MB", page, leaf)


@test
def a_flow_of_many_steps_is_drawn_at_once_and_alike(browser: Browser, _):
    with Stub(flow=big_flow(30)) as stub, opened(browser, stub.address) as page:
        page.sees("Nothing is stuck")
        drawn = page.run("document.querySelector('.canvas svg').outerHTML.length")

        def again():
            page.go("#/work")
            page.sees("the newest first")
            # It is another flow then, which is laid out anew.
            stub.flow = big_flow(30)
            stub.flow["nodes"][0]["name"] = name = f"table-{len(stub.asked)}"
            stub.is_new = True
            page.go("#/flow")
            stub.break_off()
            page.sees(name, ".canvas")

        calmly("a flow of 62 nodes", page, again)
        stub.flow = big_flow(30)
        page.open(f"{stub.address}/")
        page.sees("Nothing is stuck")
        assert page.run("document.querySelector('.canvas svg').outerHTML.length") == drawn
        # No node stands on another.
        boxes = page.run("[...document.querySelectorAll('a.node')].map((one) => one.getBoundingClientRect()).map(({ x, y, right, bottom }) => [x, y, right, bottom])")
        assert len(boxes) == 62
        hits = [(one, other) for at, one in enumerate(boxes) for other in boxes[:at] if one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]]
        assert not hits, hits[:3]


@test
def the_first_load_of_every_view_is_calm(browser: Browser, _):
    # Of a flow of many steps, and much of all that the views show.
    flow = big_flow(30)
    flow["nodes"] += FLOW["nodes"]
    flow["edges"] += FLOW["edges"]
    much = {"flow": flow, "place": "simulated", "entities": 100_000, "timeline": 20_000, "allows_actions": True}
    # Those that count all letters take as long as these are many, and are looked at by tests of their own.
    counting = [view for view in VIEWS if view == "#/letters" or "plan" in view]
    for letters, views in ((100_000, [view for view in VIEWS if view not in counting]), (5_000, counting)):
        with Stub(letters=letters, now=100_059, **much) as stub:
            for view in views:
                loads_calmly(f"the first load of {view}", browser, f"{stub.address}/{view}", VIEWS[view])


@test
def ten_minutes_of_updates_leave_nothing_behind(browser: Browser, _):
    with Stub(letters=3, entities=10) as stub, opened(browser, stub.address) as page:
        page.sees("3 dead letters")
        eventually("it listens", lambda: stub.listeners)

        def tell(count: int) -> None:
            for _ in range(count):
                number = stub.cursor
                stub.tell([{"at": at(number), "step": "process", "subject": f"order-{number}-{one}", "kind": "order", "attempt": 1, "what": f"processed {number} {one}",
                            "verdict": "done"} for one in range(ENTRIES)], left_out=7)
            page.sees(f"{stub.cursor * 1000 + 1234:,} done")

        def round() -> None:
            # Half of it in the flow, half where each entry is seen.
            tell(UPDATES // 20)
            page.go("#/work")
            page.sees("200 entries, the newest first")
            for _ in range(UPDATES // 20):
                number = stub.cursor
                stub.tell([{"at": at(number), "step": "process", "subject": f"order-{number}-{one}", "kind": "order", "attempt": 1, "what": f"processed {number} {one}",
                            "verdict": "retry"} for one in range(ENTRIES)])
            page.sees(f"processed {stub.cursor - 1} 99")
            page.go("#/flow")
            page.sees(f"{stub.cursor * 1000 + 1234:,} done")

        round()
        before = page.held()
        for _ in range(10):
            round()
        after = page.held()
        assert stub.cursor >= UPDATES, stub.cursor
        holds_no_more(before, after)
        page.go("#/work")
        page.sees("200 entries, the newest first")
        assert rows(page) == ROWS_MAX
        # Each of them was counted.
        left = stub.cursor * ENTRIES - ROWS_MAX + 7 * (stub.cursor // 2)
        page.sees(f"{left:,} left out.")


@test
def a_stream_that_breaks_off_is_gone_on_with(browser: Browser, _):
    with Stub(letters=3) as stub, opened(browser, stub.address) as page:
        page.sees("● live", "#live")
        work = {"at": at(1), "step": "process", "subject": "order-1", "kind": "order", "attempt": 1, "what": "processed", "verdict": "done"}
        stub.tell([work])
        page.sees("2,234 done")
        stub.missed = 12
        stub.break_off()
        page.sees("reconnecting", "#live")
        page.sees("● live: missed 12, reloaded", "#live")
        assert stub.last_event_id == "stub-1"
        stub.lies = stub.lies[:1]
        stub.is_new = True
        stub.break_off()
        page.sees("the engine was started again; reloaded", "#live")
        page.sees("1 dead letter in")
        eventually("all is loaded anew each time", lambda: stub.asked.count(("GET", "/_quadrille/flow")) == 3)


@test
def a_tab_that_nobody_looks_at_holds_no_connection_and_goes_on_where_it_was(browser: Browser, _):
    with Stub(letters=3, entities=10) as stub, opened(browser, stub.address) as page:
        page.sees("● live", "#live")
        work = {"at": at(1), "step": "process", "subject": "order-1", "kind": "order", "attempt": 1, "what": "processed", "verdict": "done"}
        stub.tell([work])
        page.sees("2,234 done")
        page.is_seen(False)
        # A browser has 6 connections for all of them.
        with contextlib.ExitStack() as tabs:
            for _ in range(8):
                tab = tabs.enter_context(opened(browser, stub.address, beside=page))
                tab.sees("● live", "#live")
                tab.is_seen(False)
                tab.sees("○ reconnecting", "#live")
        asked = stub.asked.count(("GET", "/_quadrille/events"))
        stub.tell([work])
        page.is_seen(True)
        page.sees("● live", "#live")
        assert stub.last_event_id == "stub-1" and stub.asked.count(("GET", "/_quadrille/events")) == asked + 1
        stub.tell([work])
        page.sees("4,234 done")
        # Who has an answer before them has missed none of it.
        page.go("#/search?kind=order&go=1")
        page.sees("Looked at 10: 10 found")
        searches = stub.asked.count(("GET", "/_quadrille/entities/order"))
        page.is_seen(False)
        stub.missed = 7
        page.is_seen(True)
        page.sees("● live: missed 7, reloaded", "#live")
        eventually("all is loaded anew", lambda: stub.asked.count(("GET", "/_quadrille/counts")) == 10)
        page.sees("Looked at 10: 10 found")
        assert stub.asked.count(("GET", "/_quadrille/entities/order")) == searches
