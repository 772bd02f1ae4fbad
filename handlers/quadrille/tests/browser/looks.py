"""What is seen, and by whom: places, colours, widths, names, keys; and texts of others that stay texts."""

import json
import pathlib
import re

from devtools import Browser
from letters import stopped
from opened import VIEWS, calmly, look_at, opened, test
from stub import DEAD, MARKUP, PAGE, Stub

# WCAG 2.1, AA, for text of this size.
CONTRAST_MIN = 4.5
PAGE_BYTES_MAX = 150_000

# Letters of the views that are looked at, and those of them that a plan would have done. A redrive of these is not over.
LETTERS, DONE = 50, 17
KEPT = "#/plan"

# The worst contrast of a text with its ground, and where.
CONTRAST = """(() => {
  const parse = (text) => {
    const parts = text.match(/[\\d.]+/g)?.map(Number) ?? [0, 0, 0, 0];
    return { rgb: parts.slice(0, 3), alpha: parts.length > 3 ? parts[3] : 1 };
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((part) => part / 255).map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    const shape = node.closest("a.node")?.querySelector("path");
    if (shape) return parse(getComputedStyle(shape).fill).rgb;
    for (let at = node; at; at = at.parentElement) {
      const { rgb, alpha } = parse(getComputedStyle(at).backgroundColor);
      if (alpha === 1) return rgb;
    }
    return [255, 255, 255];
  };
  let worst = { ratio: 99, count: 0 };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let count = 0;
  while (walk.nextNode()) {
    const text = walk.currentNode.data.trim(), node = walk.currentNode.parentElement;
    if (!text || node.closest(".unseen, .skip, noscript, title, defs") || !node.getClientRects().length) continue;
    const style = getComputedStyle(node);
    const front = parse(node instanceof SVGElement ? style.fill : style.color).rgb;
    const [one, other] = [light(front), light(ground(node))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    count += 1;
    if (ratio < worst.ratio) worst = { ratio, text: text.slice(0, 60), where: node.outerHTML.slice(0, 160) };
  }
  for (const input of document.querySelectorAll("input[placeholder]")) {
    const [one, other] = [light(parse(getComputedStyle(input, "::placeholder").color).rgb), light(ground(input))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < worst.ratio) worst = { ratio, text: input.placeholder, where: input.outerHTML.slice(0, 160) };
  }
  return { ...worst, count };
})()"""


def look(page, view: str) -> None:
    """Goes to a view, or to that of a redrive that was stopped."""
    if view != KEPT:
        return look_at(page, view)
    stopped(page, LETTERS, DONE)
    page.go(KEPT)
    page.sees(f"1 of {DONE} letters sent.", ".kept")


@test
def a_place_is_known_by_title_icon_colour_and_word(browser: Browser, _):
    seen = set()
    for place in ("local", "development", "production", "simulated"):
        with Stub(place=place) as stub, opened(browser, stub.address) as page:
            page.sees("Nothing is stuck" if not stub.lies else "dead letters")
            title = page.run("document.title")
            assert title.startswith(f"[{place.upper()}]"), title
            assert page.run("document.querySelector('.band').innerText").startswith(place.upper())
            icon = page.run("document.querySelector('link[rel=icon]').href")
            colour = page.run("getComputedStyle(document.querySelector('.band')).backgroundColor")
            seen.add((icon, colour))
            assert (page.run("!!document.querySelector('a[data-view=clock]')")) == (place == "simulated")
            assert stub.place in icon
            assert ("GET", f"/_quadrille/console/icon-{place}.svg") in stub.asked or (PAGE / f"icon-{place}.svg").is_file()
    assert len({icon for icon, _ in seen}) == len({colour for _, colour in seen}) == 4, seen


@test
def text_has_contrast_in_light_and_dark(browser: Browser, _):
    for place in ("local", "development", "production", "simulated"):
        with Stub(place=place, entities=300, letters=LETTERS, allows_actions=True) as stub, opened(browser, stub.address) as page:
            page.sees("dead letters")
            # The band is all that a place changes.
            views = [*VIEWS, KEPT] if place == "simulated" else ["#/flow"]
            for view in views:
                look(page, view)
                for scheme in ("light", "dark"):
                    page.scheme(scheme)
                    worst = page.run(CONTRAST)
                    assert worst["count"] > 5, f"{view}: nothing is seen"
                    assert worst["ratio"] >= CONTRAST_MIN, f"{view}, {scheme}: {worst}"
                page.scheme("light")


@test
def a_phone_has_nothing_to_scroll_sideways(browser: Browser, _):
    long = "x" * 500
    with Stub(place="simulated", entities=300, letters=LETTERS, allows_actions=True, body=json.dumps({"data": long})) as stub:
        with opened(browser, stub.address, width=360, height=740) as page:
            page.size(360, 740, mobile=True)
            page.sees("dead letters")
            for view in [*VIEWS, KEPT]:
                look(page, view)
                width = page.run("document.documentElement.scrollWidth")
                assert width <= 360, f"{view} is {width} wide"
                assert page.run("document.querySelector('main').innerText.trim().length") > 20, view


@test
def every_view_has_landmarks_and_all_that_is_used_has_a_name(browser: Browser, _):
    used = {"link", "button", "textbox", "searchbox", "combobox", "checkbox", "slider", "spinbutton", "progressbar", "region", "navigation", "dialog"}
    with Stub(place="simulated", entities=300, letters=LETTERS, allows_actions=True) as stub, opened(browser, stub.address) as page:
        page.sees("dead letters")
        for view in [*VIEWS, KEPT]:
            look(page, view)
            nodes = [node for node in page.send("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
            roles = {node["role"]["value"] for node in nodes}
            assert {"banner", "navigation", "main", "contentinfo", "heading"} <= roles, f"{view}: {roles}"
            nameless = [node for node in nodes if node["role"]["value"] in used and not node.get("name", {}).get("value", "").strip()]
            assert not nameless, f"{view}: {nameless[:3]}"
            assert page.run("document.querySelectorAll('h1').length") == 1, view
            assert page.run("document.title.length") > 12, view


@test
def the_keyboard_reaches_a_letter_from_the_flow(browser: Browser, _):
    with Stub(entities=300, letters=LETTERS) as stub, opened(browser, stub.address) as page:
        page.sees("50 dead letters")
        page.run("document.activeElement.blur()")
        page.key("Tab", 9)
        assert page.run("document.activeElement.className") == "skip"
        page.key("Enter", 13, "\r")
        page.wait("document.activeElement.id === 'main'", "the skip link leads to the content")
        tab_to(page, "a.node.dead_letter_queue.stuck")
        assert page.run("getComputedStyle(document.activeElement.querySelector('path')).strokeWidth") == "4px", "the focus is seen"
        page.key("Enter", 13, "\r")
        page.sees("that is all of 1 queue", "main")
        page.wait("document.activeElement.tagName === 'H1'", "the view's heading is read first")
        tab_to(page, "td a")
        page.key("Enter", 13, "\r")
        page.sees("page 1", "main")
        tab_to(page, "td a")
        page.key("Enter", 13, "\r")
        page.sees("Body, ", "main")
        # By age as well, and to what is left of a redrive.
        page.go("#/letters")
        page.sees("that is all", "main")
        tab_to(page, "td[data-name^=under] a")
        page.key("Enter", 13, "\r")
        page.sees("page 1: 17 letters", "main")
        stub.allows_actions = True
        page.send("Page.reload")
        page.sees("actions allowed", ".band")
        stopped(page, LETTERS, DONE)
        tab_to(page, "main a[href^='#/plan?kept']")
        page.key("Enter", 13, "\r")
        tab_to(page, ".kept button.act")
        page.key("Enter", 13, "\r")
        page.sees("The other 16 are sent back", "dialog[open]")
        page.key("Escape", 27)
        page.wait("!document.querySelector('dialog')", "it is left")
        assert len(stub.sent) == 1


def tab_to(page, selector: str) -> None:
    for _ in range(200):
        page.key("Tab", 9)
        if page.run(f"document.activeElement.matches({json.dumps(selector)})"):
            return
    raise AssertionError(f"the tab key does not come to {selector}")


@test
def what_is_hostile_is_shown_as_text(browser: Browser, _):
    with Stub(hostile=True, entities=300, letters=50, allows_actions=True, body=json.dumps({"data": MARKUP})) as stub:
        with opened(browser, stub.address) as page:
            page.sees("50 dead letters")
            hostile = stub.entity(2)["id"]
            for view in ["#/search?kind=order&go=1", "#/letters/process-dlq", "#/letter/process-dlq/3", "#/plan?queue=process-dlq&go=1"]:
                look_at(page, view)
                assert "onerror" in page.text() or view.startswith("#/plan"), view
            page.go("#/search")
            page.fill("id", hostile)
            page.click("Show its story")
            page.sees("Timeline")
            shown = page.wait("document.querySelector('h1').textContent")
            assert "⟨U+202E⟩" in shown and "⟨U+2066⟩" in shown and "⟨U+0007⟩" in shown and MARKUP in shown, shown
            page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            stub.tell([{"at": "2026-11-01T00:00:00.000Z", "step": f"process{MARKUP}", "subject": hostile, "kind": "order", "attempt": 1, "what": MARKUP, "verdict": "done"}])
            page.go("#/work")
            page.sees("1 entry")
            # What an id is in an address, it is again on the way back.
            page.click(hostile[:8], "main", "td a")
            page.wait("location.hash.startsWith('#/story/')", "it goes to the story")
            page.sees("Timeline")
            for address in ("#/story/order/%E0%A4%A", "#/story/__proto__/x", "#/constructor", f"#/letters/{MARKUP}", "#/find/javascript:alert(1)"):
                page.go(address)
                page.wait("!!document.querySelector('main h1')")
            assert page.run("document.querySelectorAll('main img, main script, main iframe').length") == 0
            links = page.run("[...document.querySelectorAll('a')].map((one) => one.getAttribute('href'))")
            assert all(link.startswith("#") for link in links), links


@test
def a_body_of_a_mebibyte_is_shown_part_by_part(browser: Browser, _):
    body = json.dumps({"data": ["y" * 40] * 21_000 + ["\u202e" + "z" * 200_000]}, ensure_ascii=False)
    assert len(body) > 1 << 20
    with Stub(letters=3, body=body) as stub, opened(browser, stub.address, f"#/letter/{DEAD}/1") as page:
        page.sees("characters left out")
        assert page.run("document.querySelector('main').textContent.length") < 20_000

        def read():
            page.go(f"#/letters/{DEAD}")
            page.sees("page 1: 3 letters")
            page.go(f"#/letter/{DEAD}/1")
            page.click("show 16,000 more")
            page.click("show all")
            page.wait("document.querySelector('.long.block') && !document.querySelector('.more')", "all of it is shown")

        calmly("a body of 1 MB", page, read)
        text = page.run("[...document.querySelectorAll('.long.block pre')].map((one) => one.textContent).join('')")
        assert text.count("y" * 40) == 21_000 and text.rstrip("\n ]}\"").endswith("z" * 100) and "⟨U+202E⟩" in text


@test
def the_page_is_small_and_whole(*_):
    files = {file.name: file.read_text() for file in PAGE.iterdir()}
    size = sum(len(text.encode()) for text in files.values())
    assert size <= PAGE_BYTES_MAX, f"{size} bytes"
    for name, text in files.items():
        used = set(re.findall(r"""["'(/](?:\./|/_quadrille/console/|console/)([\w-]+\.(?:js|css|svg))""", text))
        assert used <= files.keys(), f"{name} uses {used - files.keys()}"
        for banned in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://", 'style="'):
            assert banned not in text.replace('"http://www.w3.org/2000/svg"', ""), f"{name} has {banned}"
    told = re.findall(r'"(\w+)"', (pathlib.Path(PAGE) / "app.js").read_text())
    assert "local" in told and all(f"icon-{place}.svg" in files for place in ("local", "development", "production", "simulated"))
