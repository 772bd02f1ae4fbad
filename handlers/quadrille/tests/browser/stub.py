"""An engine that is none: it answers the console's questions with more than a test could make on a real one."""

import dataclasses
import http.server
import json
import pathlib
import queue
import sys
import threading
import time
import urllib.parse

PAGE = pathlib.Path(__file__).resolve().parents[4] / "core/src/console/page"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
# As core/src/console/mod.rs has it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
MARKUP = "<img src=x onerror='window.ran=1'><script>window.ran=1</script>"
BIDI = "a\u202egpj.exe\u2066\u0007\u200b"
DEAD = "process-dlq"
LOOKED_AT = 500
# Seconds from when a letter was first seen.
GIVEN_UP_AFTER = 60


def node(id: str, sort: str, **more) -> dict:
    return {"id": id, "sort": sort, "name": id, "detail": None, "queue": None, "dead_letter_queue": None} | more


def edge(start: str, to: str, sort: str, label: str | None = None, step: str | None = None) -> dict:
    return {"from": start, "to": to, "label": label, "sort": sort, "step": step}


FLOW = {
    "nodes": [
        node("post_orders", "route", detail="POST /orders"),
        node("get_order", "route", detail="GET /orders/{order_id}"),
        node("sweep", "schedule", detail="every 5m"),
        node("orders", "table"),
        node("relay", "relay"),
        node("process", "step", queue="process", dead_letter_queue=DEAD),
        node("invoice-queue", "queue", queue="invoice-queue"),
        node("invoice", "step", queue="invoice-queue", dead_letter_queue="invoice-dlq"),
        node(DEAD, "dead_letter_queue", queue=DEAD),
        node("invoice-dlq", "dead_letter_queue", queue="invoice-dlq"),
        node("invoices", "bucket"),
        node("town", "bus"),
        node("alerts", "topic"),
        node("operator", "outside"),
    ],
    "edges": [
        edge("post_orders", "orders", "commit", step="post_orders"),
        edge("get_order", "orders", "read", step="get_order"),
        edge("sweep", "process", "message"),
        edge("orders", "relay", "stream"),
        edge("relay", "process", "message", "order.accepted", "process"),
        edge("relay", "invoice-queue", "message", "order.processed", "invoice"),
        edge("relay", "town", "message", "order.told"),
        edge("invoice-queue", "invoice", "message", step="invoice"),
        edge("process", "orders", "commit", step="process"),
        edge("process", DEAD, "fail", step="process"),
        edge("invoice", "invoice-dlq", "fail", step="invoice"),
        edge("invoice", "invoices", "write", step="invoice"),
        edge(DEAD, "alerts", "alarm"),
        edge("invoice-dlq", "alerts", "alarm"),
        edge("alerts", "operator", "message"),
    ],
}


def big_flow(steps: int) -> dict:
    """A flow of so many steps, each with a dead-letter queue."""
    nodes, edges = [node("table", "table"), node("relay", "relay")], [edge("table", "relay", "stream")]
    for number in range(steps):
        nodes += [node(f"step-{number}", "step", queue=f"step-{number}"), node(f"step-{number}-dlq", "dead_letter_queue")]
        start = "relay" if number % 4 == 0 else f"step-{number - 1}"
        edges += [edge(start, f"step-{number}", "message", f"event.number.{number}", f"step-{number}"),
                  edge(f"step-{number}", f"step-{number}-dlq", "fail", step=f"step-{number}")]
    return {"nodes": nodes, "edges": edges}


def at(second: int) -> str:
    minutes, seconds = divmod(second, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"2026-11-{1 + days % 28:02}T{hours:02}:{minutes:02}:{seconds:02}.000Z"


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # A browser opens many connections at once.
    request_queue_size = 100

    def handle_error(self, request, client_address):
        # A tab that is closed breaks its connections off.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@dataclasses.dataclass
class Stub:
    """Starts when it is made, and stops with `close`."""

    place: str = "local"
    target: str = "local"
    allows_actions: bool = False
    token: str | None = None
    entities: int = 0
    letters: int = 0
    timeline: int = 5
    flow: dict = dataclasses.field(default_factory=lambda: FLOW)
    body: str = '{"specversion":"1.0","type":"order.accepted","data":{"items":[1,2,3]}}'
    hostile: bool = False
    # As queues of AWS do it: what was looked at is hidden until it is given back, and a look takes a while.
    hides: bool = False
    # Letters that one request of a redrive meets at most.
    meets: int = LOOKED_AT
    # What the time is, in seconds since the first letter was seen.
    now: int = 3600

    def __post_init__(self):
        self.asked: list[tuple[str, str]] = []
        self.listeners: list[queue.Queue] = []
        self.cursor = 0
        self.lies = list(range(self.letters))
        # Letters that were sent back, in their order; requests for it; and the one of these that is never answered.
        self.sent: list[int] = []
        self.redrives, self.unanswered = 0, 0
        self.is_over = threading.Event()
        # Receipts of what is hidden, and how many ever were; the operation that fails from its second request on.
        self.hidden: set[str] = set()
        self.hid = 0
        self.fails: str | None = None
        self.step = 0
        # Told to the next who comes back.
        self.missed, self.is_new = 0, False
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                stub.answer(self, "GET", None)

            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                stub.answer(self, "POST", json.loads(self.rfile.read(length) or b"null"))

        self.server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.break_off()
        self.is_over.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler, method: str, body) -> None:
        url = urllib.parse.urlsplit(handler.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        self.asked.append((method, url.path))
        if url.path in ("/", "/_quadrille/") or url.path.startswith("/_quadrille/console/"):
            name = pathlib.PurePosixPath(url.path).name if "console/" in url.path else "index.html"
            file = PAGE / name
            if not file.is_file():
                return self.give(handler, 404, b"{}", "application/json")
            return self.give(handler, 200, file.read_bytes(), TYPES[file.suffix])
        if self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            return self.problem(handler, 401, "no_token", "the request has no token, or another one")
        parts = [urllib.parse.unquote(part) for part in url.path.removeprefix("/_quadrille/").split("/")]
        if parts == ["events"]:
            return self.listen(handler)
        name = f"{method.lower()}_{parts[0].replace('-', '_')}"
        if not hasattr(self, name):
            return self.problem(handler, 404, "not_found", "no such operation")
        if method == "POST" and parts[0] not in ("plan", "give-back", "clock") and not self.allows_actions:
            return self.problem(handler, 403, "read_only", "the pages only look")
        if parts[0] == self.fails and self.asked.count((method, url.path)) > 1:
            return self.problem(handler, 503, "throttled", "the queue does not answer")
        told = getattr(self, name)(parts[1:], query if method == "GET" else body)
        if told is None:
            return self.problem(handler, 404, "no_entity", "no entity has this id")
        return self.give(handler, 200, json.dumps(told).encode(), "application/json")

    def problem(self, handler, status: int, name: str, detail: str) -> None:
        told = {"status": status, "title": name, "type": f"/problems/{name}", "detail": detail}
        self.give(handler, status, json.dumps(told).encode(), "application/problem+json")

    def give(self, handler, status: int, body: bytes, content_type: str) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Content-Security-Policy", POLICY)
        handler.end_headers()
        handler.wfile.write(body)

    # The stream of events.

    def listen(self, handler) -> None:
        told: queue.Queue = queue.Queue()
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        self.last_event_id = handler.headers.get("Last-Event-ID")
        hello = {"cursor": f"stub-{self.cursor}", "missed": self.missed, "is_new": self.is_new}
        self.missed, self.is_new = 0, False
        self.listeners.append(told)
        try:
            handler.wfile.write(f"event: hello\ndata: {json.dumps(hello)}\n\n".encode())
            while (text := told.get()) is not None:
                handler.wfile.write(text.encode())
        except OSError:
            pass
        handler.close_connection = True

    def tell(self, work: list[dict], counts: dict | None = None, left_out: int = 0) -> None:
        """Tells all who listen of work."""
        self.cursor += 1
        data = {"now": at(self.cursor), "counts": counts or self.get_counts([], {}), "work": work, "left_out": left_out}
        for told in self.listeners:
            told.put(f": alive\n\nid: stub-{self.cursor}\nevent: work\ndata: {json.dumps(data)}\n\n")

    def break_off(self) -> None:
        """Ends the streams of all who listen."""
        for told in self.listeners:
            told.put(None)
        self.listeners = []

    # The questions.

    def get_system(self, *_):
        return {
            "name": "shop", "about": "A shop that is made up", "version": "9.9.9", "target": "simulated" if self.place == "simulated" else self.target,
            "stack": None, "place": self.place, "allows_actions": self.allows_actions, "now": at(self.now), "started_at": at(0),
            "kinds": [{"kind": "order", "table": "orders", "cancelled_by": "process"}, {"kind": "customer", "table": "orders", "cancelled_by": None}],
        }

    def get_flow(self, *_):
        return self.flow

    def get_counts(self, *_):
        names = [one["name"] for one in self.flow["nodes"] if one["sort"] in ("step", "route")]
        return {name: {"done": self.cursor * 1000 + 1234, "later": 2, "retried": 3, "ended": 1, "dead_lettered": 4} for name in names}

    def get_queues(self, *_):
        return [
            {"name": "process", "visible": 1234567, "in_flight": 2, "delayed": 3, "dead_letter_queue": DEAD, "dead": len(self.lies)},
            {"name": "invoice-queue", "visible": 0, "in_flight": 0, "delayed": 0, "dead_letter_queue": "invoice-dlq", "dead": 0},
        ]

    def entity(self, number: int) -> dict:
        id = f"order-{number}" if not self.hostile else f"{number}{MARKUP}{BIDI}"
        return {
            "kind": "order", "id": id, "status": ("NEW", "PROCESSED", "FAILED")[number % 3], "is_ended": number % 3 == 1,
            "version": 2, "created_at": at(number), "correlation_id": id, "state": {"id": id, "items": [MARKUP if self.hostile else "Chips"]},
            "related": [["customer", "customer-1"], ["run", f"run-{number % 50}"]],
            "trail": [{"at": at(number * 7 % 86400), "what": "received", "by": "post_orders"}],
        }

    def get_entities(self, parts, query):
        if len(parts) == 2:
            # By the id as it is.
            known = {self.entity(number)["id"]: number for number in range(min(self.entities, 5000))} if parts[0] == "order" else {}
            return self.entity(known[parts[1]]) if parts[1] in known else None
        start, limit = int(query.get("after", 0)), int(query["limit"])
        end = min(self.entities, start + limit) if parts[0] == "order" else 0
        found = [self.entity(number) for number in range(start, end)]
        status, related = query.get("status"), query.get("related")
        found = [one for one in found if status in (None, one["status"]) and (related is None or related in (id for _, id in one["related"]))]
        return {"entities": found, "next": str(end) if end < self.entities and end else None,
                "looked_at": max(0, end - start)}

    def get_stories(self, parts, _):
        number = next((number for number in range(min(self.entities, 5000)) if self.entity(number)["id"] == parts[1]), None)
        if number is None or parts[0] != "order":
            return None
        entity = self.entity(number)
        what = f"{MARKUP}{BIDI}" if self.hostile else "processed"
        entity["trail"] = [
            {"at": at(number + entry * 7919 % 2_000_000), "what": f"{what} {entry}", "by": "process", "try": 1 + entry % 3, "took": entry,
             "input": self.body if entry % 2 else "", "output": "[]"}
            | ({"redriven": 1, "redriven_at": at(9), "redriven_by": "ann", "redriven_why": "the kitchen is back"} if entry % 7 == 3 else {})
            | ({"dead": "rejected"} if entry % 11 == 5 else {})
            for entry in range(self.timeline)
        ]
        return {
            "entity": entity,
            "related": [{"kind": "customer", "id": "customer-1", "status": "KNOWN", "version": 1, "state": {}, "trail": [
                {"at": at(number), "what": "known", "by": "post_orders"}]}],
            "untold": [["customer", "customer-2", "damaged"]],
            "failing": [{"step": "process", "attempt": 3, "attempts_max": 5, "reason": "platform_unreachable", "detail": "connection refused " + (MARKUP if self.hostile else ""),
                         "at": at(3500), "next": at(3700)}],
            "letters": [{"queue": DEAD, "id": str(one), "handler": "process", "reason": "rejected", "detail": "no such snack", "dead_at": at(3000),
                         "deadline": at(90000)} for one in self.lies[:1]],
            "letters_looked_at": 1, "letters_next": None,
            "waiting": {"for": "the kitchen", "until": at(4000), "deadline": at(5000), "of": {"kind": "order", "id": entity["id"]}},
            "led_to": [["customer", "customer-3"]],
            "path": {"nodes": {"post_orders": "done", "orders": "done", "relay": "done", "process": "failed"},
                     "edges": {"0": "done", "3": "done", "4": "done", "9": "failed"}},
        }

    def letter(self, number: int) -> dict:
        reason, handler = (("rejected", "process"), ("timeout", "process"), ("platform_unreachable", "invoice"))[number % 3]
        return {
            "id": str(number), "reason": reason, "detail": f"no such snack {MARKUP if self.hostile else ''}", "handler": handler, "source_queue": "process",
            "correlation_id": None, "subject": self.entity(number)["id"], "attempts": 5, "first_seen": at(number), "dead_at": at(number + GIVEN_UP_AFTER),
        }

    def get_dead_letters(self, _, query):
        if query["queue"] != DEAD:
            return {"letters": [], "next": None}
        start, limit = int(query["after"]), int(query["limit"])
        letters, looked, place, met = [], 0, start, []
        while place < len(self.lies) and looked < LOOKED_AT and len(letters) < limit:
            letter = self.letter(self.lies[place])
            met.append(self.lies[place])
            is_in_time = query.get("since", "") <= letter["dead_at"] <= query.get("before", "9")
            if is_in_time and all(query.get(name) in (None, letter[name]) for name in ("reason", "handler", "subject")):
                letters.append(letter | {"is_end": False, "body": self.body})
            place, looked = place + 1, looked + 1
        return {"letters": letters, "next": place if place < len(self.lies) else None} | self.hide("held", met)

    def hide(self, name: str, met: list[int]) -> dict:
        """Hides letters, where such a queue does; what an answer tells of it."""
        if not self.hides:
            return {name: []}
        time.sleep(0.02)
        receipts = [f"receipt-{self.hid + at}-{one}" for at, one in enumerate(met)]
        self.hid += len(receipts)
        self.hidden |= set(receipts)
        return {name: receipts}

    def get_dead_letter_groups(self, _, query):
        if query["queue"] != DEAD:
            return {"groups": [], "looked_at": 0, "next": None}
        start = int(query.get("after") or 0)
        some = self.lies[start : start + LOOKED_AT]
        groups: dict = {}
        for number in some:
            letter = self.letter(number)
            group = groups.setdefault((letter["reason"], letter["handler"]), {
                "reason": letter["reason"], "handler": letter["handler"], "is_end": False, "count": 0,
                "ages": {"under_an_hour": 0, "under_a_day": 0, "older": 0}, "first": letter["dead_at"], "deadline": at(number + 1_000_000)})
            group["count"] += 1
            age = self.now - number - GIVEN_UP_AFTER
            group["ages"]["under_an_hour" if age < 3600 else "under_a_day" if age < 86400 else "older"] += 1
            group["last"] = letter["dead_at"]
        end = start + len(some)
        return {"groups": list(groups.values()), "looked_at": len(some), "next": end if end < len(self.lies) else None} | self.hide("held", some)

    def get_clock(self, *_):
        return {"now": at(self.step), "step": self.step, "steps": 1000, "is_at_end": self.step == 1000, "faults": True}

    def post_clock(self, _, ask):
        if "by_steps" in ask:
            self.step += ask["by_steps"]
        elif "to_step" in ask:
            self.step = ask["to_step"]
        return self.get_clock()

    def post_plan(self, _, ask):
        # Each page but the first says which plan it goes on with.
        assert ask["after"] == 0 or ask.get("plan") == f"plan of {ask['queue']}", ask
        page = self.get_dead_letters([], {"queue": ask["queue"], "after": ask["after"], "limit": ask["limit"]} | {
            name: value for name, value in ask["filter"].items() if isinstance(value, str)})
        for letter in page["letters"]:
            del letter["is_end"], letter["body"]
            number = int(letter["id"])
            letter |= {"queue": DEAD, "deadline": at(number + 1_000_000), "content": f"{number:016x}", "trial": self.trial(number)}
        return page | {"ends_left": 0, "plan": f"plan of {ask['queue']}"}

    def trial(self, number: int) -> dict:
        if number % 3 == 0:
            return {"outcome": "done", "what": "processed"}
        if number % 3 == 1:
            return {"outcome": "fails", "reason": "timeout", "detail": "it takes too long", "is_tried_again": False}
        return {"outcome": "unknown", "why": "it goes to others"}

    def post_redrive_planned(self, _, ask):
        # It meets no others than those of a part of the queue.
        sent = [one for one in self.lies if str(one) in ask["letters"]][: min(ask["limit"], self.meets)]
        gone = set(sent)
        self.lies = [one for one in self.lies if one not in gone]
        self.sent += sent
        self.redrives += 1
        if self.redrives == self.unanswered:
            self.is_over.wait()
        return {"results": {str(one): {"result": "sent"} for one in sent}, "done": not self.lies, "hidden": 0} | self.hide("passed_over", self.lies[:100])

    def post_purge(self, _, ask):
        if not self.hides:
            return self.purged_from(ask, ask.get("after", 0))
        moved = [one for one in self.lies if ask["filter"].get("reason") in (None, self.letter(one)["reason"])][: ask["limit"]]
        self.lies = [one for one in self.lies if one not in moved]
        return {"moved": len(moved), "done": not moved} | self.hide("passed_over", self.lies[:100])

    def purged_from(self, ask: dict, place: int) -> dict:
        """As a queue does that shows its messages: each call looks at 500, and the next one goes on behind them."""
        looked = [one for one in self.lies if one >= place]
        last, looked = looked[500:501], looked[:500]
        moved = [one for one in looked if ask["filter"].get("reason") in (None, self.letter(one)["reason"])][: ask["limit"]]
        if len(moved) == ask["limit"]:
            last = [moved[-1] + 1]
        self.lies = [one for one in self.lies if one not in moved]
        return {"moved": len(moved), "done": not last, "passed_over": []} | ({"next": last[0]} if last else {})

    def post_give_back(self, _, ask):
        assert ask["queue"] == DEAD and set(ask["receipts"]) <= self.hidden, ask
        self.hidden -= set(ask["receipts"])
        return {}
