"""Chromium without a window, driven over its DevTools protocol."""

import base64
import contextlib
import json
import pathlib
import shutil
import subprocess
import tempfile
import time

import websocket

# How long anything may take before a test gives up on it. No test takes this long unless it fails.
BOUND = 60

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# In each page before its own scripts: what the tests look at afterwards.
WATCH = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
}).observe({ type: "longtask", buffered: true });
window.until = (condition, millis) => new Promise((resolve) => {
  const end = performance.now() + millis;
  const look = () => {
    let seen = null;
    try { seen = condition(); } catch (error) { if (!(error instanceof TypeError)) throw error; }
    if (seen || performance.now() > end) resolve(seen instanceof Node ? true : seen ?? null); else setTimeout(look, 20);
  };
  look();
});
"""


def found() -> str | None:
    """The browser's program, where one is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """A browser, with a profile of its own that ends with it."""

    def __init__(self, program: str):
        self.profile = tempfile.mkdtemp(prefix="browser-")
        self.process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--remote-debugging-port=0",
                f"--user-data-dir={self.profile}",
                # Tests run as root in a container, and look at nothing but their own server.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--remote-allow-origins=*",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        told = pathlib.Path(self.profile) / "DevToolsActivePort"
        port, path = eventually("Chromium tells its port", lambda: lines_of(told))
        self.socket = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=BOUND, max_size=None)
        self.number = 0
        self.events: list[dict] = []

    def send(self, method: str, session: str | None = None, **params) -> dict:
        """Sends a command and waits for its answer; what happens meanwhile is kept."""
        self.number += 1
        number = self.number
        message = {"id": number, "method": method, "params": params}
        self.socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.send("Browser.close")
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)


def lines_of(file: pathlib.Path) -> list[str] | None:
    lines = file.read_text().splitlines() if file.exists() else []
    return lines if len(lines) == 2 else None


def eventually(what: str, look, bound: float = BOUND):
    """Looks until there is something to see, and returns it."""
    end = time.monotonic() + bound
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise AssertionError(f"not within {bound} s: {what}")
        time.sleep(0.01)


class Page:
    """A tab, in a context of its own, or in that of another: no other context shares its session."""

    def __init__(self, browser: Browser, width: int = 1280, height: int = 900, beside: "Page | None" = None):
        self.browser, self.is_alone = browser, beside is None
        self.context = beside.context if beside else browser.send("Target.createBrowserContext")["browserContextId"]
        self.target = browser.send("Target.createTarget", url="about:blank", browserContextId=self.context)["targetId"]
        self.session = browser.send("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            self.send(f"{domain}.enable")
        self.send("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        self.size(width, height)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.browser.send("Target.closeTarget", targetId=self.target)
        if self.is_alone:
            self.browser.send("Target.disposeBrowserContext", browserContextId=self.context)

    def send(self, method: str, **params) -> dict:
        return self.browser.send(method, session=self.session, **params)

    def size(self, width: int, height: int, mobile: bool = False) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def scheme(self, name: str) -> None:
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def open(self, address: str) -> None:
        """Loads an address anew, whatever was there."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'", f"{address} is loaded")

    def is_seen(self, is_seen: bool) -> None:
        """Lets the page know that its tab is looked at, or no longer."""
        hidden = json.dumps(not is_seen)
        self.run(f"Object.defineProperty(document, 'hidden', {{ configurable: true, value: {hidden} }}); document.dispatchEvent(new Event('visibilitychange'))")

    def go(self, fragment: str) -> None:
        """Goes to another view of the page."""
        self.run(f"location.hash = {json.dumps(fragment)}")

    def run(self, script: str):
        """The value of an expression, waited for where it is a promise."""
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            told = answer["exceptionDetails"]
            raise AssertionError(f"{script}: {told.get('exception', {}).get('description', told['text'])}")
        return answer["result"].get("value")

    def wait(self, condition: str, what: str | None = None):
        """Waits in the page until an expression is true, and returns its value."""
        end = time.monotonic() + BOUND
        while True:
            try:
                seen = self.run(f"window.until ? window.until(() => ({condition}), {BOUND * 1000}) : null")
            except (AssertionError, RuntimeError) as error:
                # The page went to another document meanwhile.
                if "context" not in str(error).lower() and "navigated" not in str(error).lower():
                    raise
                seen = None
            if seen:
                return seen
            if time.monotonic() > end:
                raise AssertionError(f"not within {BOUND} s: {what or condition}\n{self.text()[:3000]}")

    def text(self) -> str:
        return self.run("document.body?.innerText ?? ''")

    def sees(self, text: str, where: str = "main") -> None:
        """Waits for a text."""
        self.wait(f"document.querySelector({json.dumps(where)}).innerText.includes({json.dumps(text)})", f"it shows {text!r}")

    def click(self, name: str, where: str = "body", tag: str = "button, a, summary") -> None:
        """Clicks what has this text, as a hand does: once it is there, and can be clicked."""
        find = (
            f"[...document.querySelector({json.dumps(where)}).querySelectorAll({json.dumps(tag)})]"
            f".find((one) => one.textContent.trim().startsWith({json.dumps(name)}) && !one.disabled)"
        )
        self.wait(f"!!{find}", f"{name!r} can be clicked")
        self.run(f"{find}.click()")

    def fill(self, name: str, value: str) -> None:
        """Types into the input of this name."""
        find = f"document.querySelector({json.dumps(f'[name={json.dumps(name)}]')})"
        self.wait(f"!!{find}", f"there is an input {name}")
        self.run(f"(() => {{ const input = {find}; input.value = {json.dumps(value)}; input.dispatchEvent(new Event('change')); }})()")

    def key(self, name: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, text=text if kind == "keyDown" else "")

    def faults(self) -> list[str]:
        """Errors of scripts, and what the page's policy has refused."""
        found = []
        for event in self.browser.events:
            if event.get("sessionId") != self.session:
                continue
            params = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(json.dumps(params["exceptionDetails"])[:500])
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] == "error" and params["entry"]["source"] != "network":
                # No hand has touched the page, so that it is not asked whether it may be left.
                if "beforeunload" in params["entry"]["text"]:
                    continue
                found.append(params["entry"]["text"])
        return found

    def requests(self) -> list[str]:
        """The addresses that were asked."""
        return [
            event["params"]["request"]["url"]
            for event in self.browser.events
            if event.get("sessionId") == self.session and event["method"] == "Network.requestWillBeSent"
        ]

    def held(self) -> dict[str, int]:
        """What the page holds: nodes, listeners, and bytes of its heap, once what it has let go is gone."""
        self.send("HeapProfiler.collectGarbage")
        self.send("HeapProfiler.collectGarbage")
        counters = self.send("Memory.getDOMCounters")
        heap = self.send("Runtime.getHeapUsage")["usedSize"]
        return {"nodes": counters["nodes"], "listeners": counters["jsEventListeners"], "heap": heap}

    def picture(self, file: pathlib.Path) -> None:
        shot = self.send("Page.captureScreenshot", format="webp", quality=80)
        file.write_bytes(base64.b64decode(shot["data"]))
