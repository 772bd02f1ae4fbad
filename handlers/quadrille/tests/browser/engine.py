"""The console of the command itself: `quadrille up`, with orders that fail."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request

from devtools import BOUND, Browser, Page, eventually
from opened import opened, test
from stub import MARKUP

# What of a view is pictured for README.md.
PICTURES = {"flow": (1300, 500), "plan": (1000, 640), "story": (1000, 1060)}
QUEUE, DEAD = "order-processor", "order-processor-dlq"
VIEWS = ("#/flow", "#/search?kind=order&go=1", "#/queues", "#/letters", f"#/letters/{DEAD}", f"#/plan?queue={DEAD}&go=1", "#/work")


def environment() -> dict:
    """None of the variables that the caller may have set, and no configuration file."""
    return {name: value for name, value in os.environ.items() if not name.startswith("QUADRILLE_")} | {"QUADRILLE_CONFIG": ""}


class Engine:
    """`up`, which ends with the test."""

    def __init__(self, command: pathlib.Path, system: str, folder: str, *options: str, port: int = 0):
        self.command, self.system, self.folder = command, system, folder
        args = [str(command), "up", system, "--port", str(port), "--data", folder, *options]
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(), text=True)
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://"), line
        self.address = line.removeprefix("listening on ").strip()
        self.port = int(self.address.rpartition(":")[2])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(BOUND)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, path: str, body=None, token: str | None = None):
        """What the engine answers, as JSON."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.address + path, data, headers), timeout=BOUND) as answer:
            return json.load(answer)

    def dlq(self, *args: str) -> str:
        done = subprocess.run([str(self.command), "dlq", args[0], self.system, *args[1:], "--data", self.folder], env=environment(), capture_output=True, text=True, timeout=BOUND)
        assert done.returncode == 0, done
        return done.stdout

    def dead(self) -> int:
        return next(queue["dead"] for queue in self.ask("/_quadrille/queues") if queue["name"] == QUEUE)

    def orders(self, count: int, name: str = "Ann") -> list[str]:
        """Orders snacks, and waits until each is a dead letter; their ids."""
        before = self.dead()
        ids = []
        for number in range(before, before + count):
            order = {"customerName": name, "snackItems": [{"name": "Chips", "quantity": 2, "price": 2.5}], "totalAmount": 5, "idempotencyKey": f"order-{number}"}
            ids.append(self.ask("/orders", order)["orderId"])
        eventually("all are dead letters", lambda: self.dead() == before + count)
        return ids


@contextlib.contextmanager
def snacks(args, folder: str, failing: int, *options: str, port: int = 0):
    """A kitchen that fails so many of 100 orders."""
    with Engine(args.command, "snacks", folder, "--failing", str(failing), "--busy", "0", *options, port=port) as engine:
        yield engine


@test
def an_order_is_followed_live_to_its_dead_letter_and_its_story(browser: Browser, args):
    with tempfile.TemporaryDirectory() as folder, snacks(args, folder, 100) as engine, opened(browser, engine.address) as page:
        page.sees("✔ Nothing is stuck")
        assert page.run("document.title") == "[LOCAL] snacks: Flow", page.run("document.title")
        page.sees("● live", "#live")
        ids = engine.orders(19, f"{MARKUP}\u202egpj")
        # It was told, and not loaded anew.
        page.sees(f"✘ 19 dead letters in {DEAD}")
        page.sees("✘ 19", ".canvas")
        page.go("#/work")
        page.sees("✘ dead letter")
        page.sees(engine.orders(1)[0])
        page.go("#/queues")
        page.wait(f"[...document.querySelectorAll('tr.stuck')].some((row) => row.innerText.includes('{QUEUE}') && row.innerText.includes('✘ 20'))")
        page.go("#/search?kind=order&go=1")
        page.sees(": 20 found; that is all.")
        page.go("#/search")
        page.fill("id", ids[7])
        page.click("Show its story")
        page.sees("Timeline")
        page.sees("dead letter")
        assert page.run("location.hash").endswith(ids[7])
        page.sees("✘ failed", ".canvas")
        state = page.run("document.querySelector('main').textContent")
        assert MARKUP in state and "⟨U+202E⟩" in state, state
        pictures(args, page, "story")
        page.click("letter ", "main", "td a")
        page.sees("Body, ")
        text = page.text()
        assert ids[7] in text, text
        assert page.run("document.querySelectorAll('main img, main script').length") == 0
        page.click("Plan a redrive of this letter")
        page.sees("1 letter tried")
        page.sees("fails again")
        page.go("#/letters")
        page.sees("20 dead letters in 1 group; that is all")
        page.click("show them")
        page.sees("page 1: 20 letters")
        page.click("a day ago or more")
        page.sees("page 1: 0 letters, the last page")
        page.click("under an hour ago")
        page.sees("page 1: 20 letters")
        page.go("#/letters")
        page.sees("20 dead letters in 1 group; that is all")
        page.click("20 given up under an hour ago", "main", "td a")
        page.sees("page 1: 20 letters")


@test
def without_permission_it_only_looks(browser: Browser, args):
    with tempfile.TemporaryDirectory() as folder, snacks(args, folder, 100) as engine:
        engine.orders(3)
        with opened(browser, engine.address) as page:
            page.sees("3 dead letters")
            page.sees("read only", ".band")
            for view in VIEWS:
                page.go(view)
                page.wait("document.querySelector('main .view')?.childElementCount > 1")
                assert not page.run("!!document.querySelector('button.act')"), view
            page.go("#/letters")
            page.sees("--allow-actions")
            for path, body in [("purge", {"queue": DEAD, "limit": 9}), ("redrive", {"queue": DEAD, "limit": 9}), ("redrive-planned", {"queue": DEAD, "letters": {}, "limit": 9, "by": "ann"})]:
                asked = f"fetch('/_quadrille/{path}', {{ method: 'POST', headers: {{ 'Content-Type': 'application/json' }}, body: {json.dumps(json.dumps(body))} }})"
                refused = page.run(f"{asked}.then(async (answer) => [answer.status, (await answer.json()).type])")
                assert refused == [403, "/problems/read_only"], f"{path}: {refused}"
            page.go(f"#/plan?queue={DEAD}&go=1")
            page.sees("3 letters tried. Nothing was changed.")
        assert engine.dead() == 3


@test
def a_token_is_asked_for_and_stays_in_the_tab(browser: Browser, args):
    token = "a-token-of-the-tests-that-is-long-enough"
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "token"
        file.write_text(token)
        file.chmod(0o600)
        with Engine(args.command, "snacks", f"{folder}/data", "--token-file", str(file)) as engine, opened(browser, engine.address) as page:
            page.sees("The engine asks for its token")
            page.fill("token", "another-token-that-is-long-enough-too")
            page.click("Open")
            page.sees("It is not this token.")
            page.fill("token", token)
            page.click("Open")
            page.sees("Nothing is stuck")
            page.sees("● live", "#live")
            page.send("Page.reload")
            page.sees("Nothing is stuck")
            # As the command `console` prints it: it is taken, and stays in no history.
            page.run("sessionStorage.clear()")
            page.open(f"{engine.address}/#token={token}")
            page.sees("Nothing is stuck")
            assert page.run("location.hash") == "#/flow"
            assert not any(token in url.partition("#")[0] for url in page.requests())


@test
def the_right_letters_go_back_by_a_plan_and_every_count_agrees(browser: Browser, args):
    count = 50
    with tempfile.TemporaryDirectory() as folder:
        with snacks(args, f"{folder}/data", 100) as engine:
            ids = engine.orders(count)
        with snacks(args, f"{folder}/data", 40, "--allow-actions") as engine, opened(browser, engine.address, height=900) as page:
            page.sees(f"{count} dead letters")
            pictures(args, page, "flow")
            page.go("#/letters")
            page.click("plan a redrive")
            page.sees(f"{count} letters tried. Nothing was changed.")
            told = dict(page.run("[...document.querySelectorAll('tbody tr')].map((row) => [row.cells[2].innerText, Number(row.cells[1].innerText)])"))
            done, again = told["✔ done"], told["✘ fails again"]
            assert done + again == count and done > 5 and again > 5, told
            page.sees(f"{done} of {count} letters chosen.")
            page.fill("by", "ann")
            page.fill("why", "the kitchen is back")
            page.fill("rate", "100")
            pictures(args, page, "plan")
            both = downloaded(browser, page, folder)
            assert engine.dead() == count
            page.click(f"Send {done} of {count} letters back …")
            page.sees(f"Send {done} of {count} letters of {DEAD} back to {QUEUE}.", "dialog[open]")
            page.sees("LOCAL", "dialog[open]")
            page.click(f"Send {done} letters back", "dialog[open]")
            page.sees("Counts before and after")
            row = page.run("[...document.querySelectorAll('tbody tr')].at(-1).innerText.split(/\\s+/).join(' ')")
            assert row == f"{DEAD} {count} {done} 0 {again}", row
            assert engine.dead() == again
            page.go("#/search?kind=order&status=PROCESSED&go=1")
            page.sees(f": {done} found; that is all.")
            # The one that went back tells by whom and why.
            page.click("order ", "main", "td a")
            page.sees("sent back: 1 time,")
            page.sees("by ann: the kitchen is back")
            assert page.run("location.hash").split("/")[-1] in ids
            # What it wrote is a plan of the command.
            lines = both.read_text().splitlines()
            assert len(lines) == done + 1
            assert engine.dlq("redrive", "--plan", str(both), "--rate", "1000", "--json").count(f'"missing":{done}') == 1
            page.go(f"#/plan?queue={DEAD}&go=1")
            page.sees(f"{again} letters tried.")
            page.run("document.querySelector('tbody input').click()")
            page.sees(f"{again} of {again} letters chosen.")
            rest = downloaded(browser, page, folder)
            written = pathlib.Path(folder) / "written.jsonl"
            engine.dlq("plan", "--queue", DEAD, "--out", str(written))
            own, others = rest.read_text().splitlines(), written.read_text().splitlines()
            assert own[1:] == others[1:] and len(own) == again + 1
            assert json.loads(own[0]).keys() == json.loads(others[0]).keys()
            # Those that fail again stop it.
            page.fill("by", "ann")
            page.fill("rate", "1")
            page.click(f"Send {again} of {again} letters back …")
            page.click(f"Send {again} letters back", "dialog[open]")
            page.sees("✘ stopped: of ")
            assert engine.dead() < again or page.run("document.querySelector('progress').value") < again
            eventually("they are dead letters again", lambda: engine.dead() == again)
            page.go(f"#/letters/{DEAD}")
            page.sees(f"page 1: {min(20, again)} letter")
            page.click("Delete these …")
            page.sees(f"{again} letters of {DEAD} would be deleted for good", "dialog[open]")
            page.click(f"Delete {again} letters for good", "dialog[open]")
            page.sees(f"✔ {again} letters deleted")
            assert engine.dead() == 0


@test
def a_redrive_that_a_reload_broke_off_is_gone_on_with_and_every_count_agrees(browser: Browser, args):
    count = 50
    with tempfile.TemporaryDirectory() as folder:
        with snacks(args, f"{folder}/data", 100) as engine:
            engine.orders(count)
        with snacks(args, f"{folder}/data", 40, "--allow-actions") as engine, opened(browser, engine.address, f"#/plan?queue={DEAD}&go=1") as page:
            page.sees(f"{count} letters tried. Nothing was changed.")
            told = dict(page.run("[...document.querySelectorAll('tbody tr')].map((row) => [row.cells[2].innerText, Number(row.cells[1].innerText)])"))
            done, again = told["✔ done"], told["✘ fails again"]
            page.fill("by", "ann")
            page.fill("rate", "5")
            page.click(f"Send {done} of {count} letters back …")
            page.click(f"Send {done} letters back", "dialog[open]")
            page.sees(f"10 of {done} letters sent back")
            page.send("Page.reload")
            page.sees("A redrive was broken off", ".kept")
            page.sees(f" by ann, 10 of {done} letters sent.", ".kept")
            page.click("Go on with it …")
            page.sees(f"The other {done - 10} are sent back, as it was begun: by ann.", "dialog[open]")
            page.click(f"Send the other {done - 10} back", "dialog[open]")
            page.sees("Counts before and after")
            page.sees("10 were sent back before it was broken off")
            record = downloaded(browser, page, folder, "Download the record", "plan.jsonl.record")
            results = [told["letter"] for told in map(json.loads, record.read_text().splitlines()) if "letter" in told]
            assert len({one["id"] for one in results}) == len(results) == done and all(one["result"] == "sent" for one in results), results
            row = page.run("[...document.querySelectorAll('tbody tr')].at(-1).innerText.split(/\\s+/).join(' ')")
            assert row == f"{DEAD} {count - 10} {done - 10} 0 {again}", row
            assert engine.dead() == again
            page.go("#/search?kind=order&status=PROCESSED&go=1")
            page.sees(f": {done} found; that is all.")


def downloaded(browser: Browser, page: Page, folder: str, name: str = "Download the plan", file: str = "plan.jsonl") -> pathlib.Path:
    """The file that the page writes."""
    place = tempfile.mkdtemp(dir=folder)
    browser.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=place, browserContextId=page.context)
    page.click(name)
    written = pathlib.Path(place) / file
    eventually("the file is there", written.is_file)
    return written


def pictures(args, page: Page, name: str) -> None:
    """A picture for README.md, where they are asked for."""
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
        page.size(*PICTURES[name])
        page.run("window.scrollTo(0, 0)")
        page.picture(args.pictures / f"{name}.webp")
        page.size(1280, 900)


@test
def a_schedule_is_triggered_after_a_confirmation(browser: Browser, args):
    with tempfile.TemporaryDirectory() as folder, Engine(args.command, "auction", folder, "--allow-actions") as engine, opened(browser, engine.address) as page:
        page.sees("kickoff", ".canvas")
        page.go("#/schedule/kickoff")
        page.click("Trigger it now …")
        page.sees("The schedule kickoff happens once more now", "dialog[open]")
        page.click("Leave it", "dialog[open]")
        page.wait("!document.querySelector('dialog')")
        page.click("Trigger it now …")
        triggers = lambda: [url for url in page.requests() if "/schedules/" in url]
        assert not triggers(), "what is left is not done"
        page.click("Trigger it", "dialog[open]")
        page.sees("✔ Triggered at ")
        assert len(triggers()) == 1
        page.go("#/work")
        page.sees("poll_auction")


@test
def an_order_is_cancelled_after_a_confirmation(browser: Browser, args):
    with tempfile.TemporaryDirectory() as folder, snacks(args, folder, 100, "--allow-actions") as engine:
        [id] = engine.orders(1)
        with opened(browser, engine.address, f"#/story/order/{id}") as page:
            page.click("Cancel it …")
            page.sees(f"The order {id} is cancelled", "dialog[open]")
            page.click("Cancel it", "dialog[open]")
            page.sees("CANCELLED", ".status")
            assert engine.ask(f"/orders/{id}")["status"] == "CANCELLED"
            assert not page.run("[...document.querySelectorAll('button')].some((one) => one.textContent.startsWith('Cancel'))"), "what has ended can't be cancelled"


@test
def a_simulated_run_is_travelled_through(browser: Browser, args):
    command = [str(args.command), "sim", "checkout", "--from", "7", "--console", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(), text=True)
    try:
        line = next(line for line in process.stdout if "http://" in line)
        address = line[line.index("http://") :].strip().rstrip("/")
        with opened(browser, address, "#/clock") as page:
            page.sees("SIMULATED", ".band")
            page.sees(", the end")
            page.go("#/search?kind=order&go=1")
            page.sees("; that is all.")
            assert ": 0 found" not in page.text()
            page.go("#/clock")
            page.sees(", the end")
            steps = int(page.run("document.querySelector('input[type=range]').max"))
            page.fill("to", str(steps // 2))
            page.click("Travel there")
            page.sees(f"Step {steps // 2:,} of {steps:,}")
            middle = page.run("document.querySelector('.big time').dateTime")
            page.click("one step back")
            page.sees(f"Step {steps // 2 - 1:,} of")
            page.click("ten steps")
            page.sees(f"Step {steps // 2 + 9:,} of")
            page.fill("at", middle)
            page.click("Skip to it")
            page.wait(f"document.querySelector('.big time').dateTime === {json.dumps(middle)}", "it is that time again")
            # The other views are of that time as well.
            page.fill("to", "0")
            page.click("Travel there")
            page.sees("Step 0 of")
            page.go("#/search?kind=order&go=2")
            page.sees(": 0 found; that is all.")
            page.go("#/flow")
            page.sees("Nothing is stuck")
    finally:
        process.terminate()
        process.wait(BOUND)
        process.stdout.close()


@test
def the_orders_of_a_run_are_found_by_its_id_and_lead_to_it(browser: Browser, args):
    with tempfile.TemporaryDirectory() as folder, Engine(args.command, "auction", folder, "--allow-actions") as engine, opened(browser, engine.address) as page:
        post = lambda ids: engine.ask("/orders", [{"record_id": id, "parameter_1": "a", "parameter_2": 1} for id in ids])
        run_of = lambda id: next((of for kind, of in engine.ask(f"/_quadrille/entities/order/{id}").get("related", []) if kind == "run"), None)
        runs = []
        for ids in (["one", "two"], ["three"]):
            post(ids)
            engine.ask("/_quadrille/schedules/kickoff", {})
            eventually(f"{ids} are in a run", lambda: all(map(run_of, ids)))
            runs.append(run_of(ids[0]))
        assert runs[0] != runs[1], runs
        page.go("#/search")
        page.fill("kind", "order")
        page.fill("related", runs[0])
        page.click("Look", "form:nth-of-type(2)")
        page.sees("Looked at ")
        page.sees(": 2 found; that is all.")
        assert sorted(page.run("[...document.querySelectorAll('td[data-name=id] bdi')].map((one) => one.textContent)")) == ["one", "two"]
        page.click("order one", "main", "td a")
        page.sees("Timeline")
        page.click(f"run {runs[0]}", "main", "a")
        page.wait(f"document.querySelector('h1').textContent.includes({json.dumps(runs[0])})", "it leads to the run")
        page.sees("Timeline")
        page.click("every order related to it")
        page.sees(": 2 found; that is all.")


@test
def an_engine_that_is_started_again_is_found_again(browser: Browser, args):
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as after:
        with snacks(args, folder, 100) as engine:
            page = after.enter_context(opened(browser, engine.address))
            page.sees("● live", "#live")
            engine.orders(2)
            page.sees("2 dead letters")
            port = engine.port
        page.sees("○ reconnecting", "#live")
        with snacks(args, folder, 100, port=port) as engine:
            page.sees("● live: the engine was started again; reloaded", "#live")
            engine.orders(1)
            page.sees("3 dead letters")
