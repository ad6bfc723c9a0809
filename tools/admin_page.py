"""The checks of admin-page.sh: a browser, the API, and clients that make the numbers move."""

import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request

from chromium import Chromium

admin, origin, profile, pictures = sys.argv[1:5]
checks = 0


def expect(what, holds):
    global checks
    if not holds:
        sys.exit(f"FAIL  {what}")
    checks += 1


def api(path, method="GET", **fields):
    request = urllib.request.Request(f"{admin}{path}", method=method, headers=fields)
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read()
        return json.loads(text) if answer.headers["content-type"] == "application/json" else text


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def literal(name, value):
    return b"\x40" + bytes([len(name)]) + name + bytes([len(value)]) + value


def stalled(count):
    """Opens a connection that requests a large file `count` times and never opens a window."""
    host, port = origin.removeprefix("http://").rstrip("/").split(":")
    client = socket.create_connection((host, int(port)))
    client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
    for number in range(count):
        path = b"/large.bin"
        head = b"\x82\x86\x44" + bytes([len(path)]) + path + literal(b":authority", b"example.test")
        head += literal(b"user-agent", b"stalled") + literal(b"cookie", b"session=" + b"s" * 40)
        head += literal(b"priority", [b"u=1", b"u=3, i", b"u=5, i", b"u=0"][number % 4])
        client.sendall(frame(1, 5, 1 + 2 * number, head))
    client.sendall(frame(6, 0, 0, b"12345678") * 220)
    client.sendall(frame(4, 1, 0))
    return client


def load(*flags):
    return subprocess.Popen(["h2load", *flags, f"{origin}/small.txt"], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


def main(browser, started):
    browser.size(1360, 900)
    browser.color_scheme("light")
    client = stalled(4)
    idle = [stalled(0) for _ in range(20)]
    browser.open(f"{admin}/")
    browser.wait("document.getElementById('live')?.dataset.state == 'live'")
    # Nothing loads the server yet: the page and the API agree.
    browser.wait("document.body.dataset.matched == '21'")
    before = api("/api/overview")
    requests = browser.wait(f"document.body.dataset.requests == '{before['requests']}' && "
                            "Number(document.body.dataset.requests)")
    listed = api("/api/connections?sort=stalled&limit=1")
    expect("the page counts the connections of the API",
           browser.value("document.getElementById('count').textContent") == "21 of 21"
           and listed["matched"] == 21)
    row = listed["rows"][0]
    expect("the API names the connection that is stalled", row["stalled"] == 4)
    expect("and so does the page", browser.value(
        f"document.querySelector('tr[data-id=\"{row['id']}\"]').textContent.includes('4 stalled')"))

    # Load moves the numbers.
    started.append(load("-D", "20", "-c", "8", "-m", "4", "--rps", "40"))
    browser.wait("Number(document.querySelector('#tile-requests .value').firstChild.data) > 50")
    browser.wait(f"Number(document.body.dataset.requests) > {requests + 100}")
    moved = int(browser.value("document.body.dataset.requests"))
    after = api("/api/overview")
    expect("the totals of the page are between two of the API",
           before["requests"] < moved <= after["requests"])
    browser.wait("document.body.dataset.matched == '29'")

    # The list is sorted and filtered by the server.
    browser.value("document.querySelector('th[data-sort=requests] button').click()")
    browser.wait("document.querySelector('th[data-sort=requests]').ariaSort == 'descending'")
    browser.wait("Number(document.querySelector('#connections tr').children[5].textContent) > 4")
    browser.value("document.querySelector('select[name=activity]').value = 'stalled';"
                  "document.querySelector('select[name=activity]')"
                  ".dispatchEvent(new Event('input', {bubbles: true}))")
    browser.wait("document.body.dataset.matched == '1'")
    if pictures:
        browser.value("document.querySelector('select[name=activity]').value = 'all';"
                      "document.querySelector('select[name=activity]')"
                      ".dispatchEvent(new Event('input', {bubbles: true}))")
        time.sleep(12)
        browser.screenshot(os.path.join(pictures, "overview-light.png"))

    # One connection is opened.
    browser.value(f"location.hash = 'connection={row['id']}&sort=stalled'; location.reload()")
    browser.wait("document.getElementById('one')?.dataset.id == '" + row["id"] + "'")
    one = api(f"/api/connections/{row['id']}")
    waits = browser.value("[...document.querySelectorAll('#one-streams tr')]"
                          ".map((row) => row.children[3].firstChild.textContent)")
    words = {"stream-window": "client's stream window",
             "connection-window": "client's connection window"}
    expected = [words.get(stream["waits_for"]) for stream in one["open_streams"]]
    expect(f"four streams wait for the client's windows: {expected}",
           len(expected) == 4 and all(expected))
    expect(f"and the page says so: {waits}", waits == expected)
    expect("the page shows the tables of the API",
           browser.value("document.querySelectorAll('#one-decoder tr').length")
           == one["http2"]["decoder"]["len"])
    text = browser.value("document.body.textContent")
    expect("but no secret of them", "session=" not in text and "example.test" not in text
           and "session=" not in json.dumps(one))
    expect("and the last frames",
           browser.value("document.querySelectorAll('#one-frames li').length") > 5)
    if pictures:
        browser.color_scheme("dark")
        browser.size(1360, 1180)
        time.sleep(4)
        browser.value("document.getElementById('one').scrollIntoView(); scrollBy(0, -70)")
        time.sleep(0.3)
        browser.screenshot(os.path.join(pictures, "connection-dark.png"))

    # The page ends it.
    browser.value("globalThis.confirm = () => true; document.getElementById('one-end').click()")
    browser.wait("document.getElementById('one-title').textContent.includes('has ended')")
    client.settimeout(10)
    while client.recv(1 << 16):
        pass
    try:
        api("/api/connections/0-1/close", method="POST")
        expect("a POST without the field is refused", False)
    except urllib.error.HTTPError as error:
        expect("a POST without the field is refused", error.code == 403)
    problems = [error for error in browser.errors if "404" not in error]
    expect(f"the page has no errors: {problems}", not problems)
    for one in idle:
        one.close()
    print(f"ok    the live page shows what the API says, and moves under load: {checks} checks")


started = []
browser = Chromium(profile)
try:
    main(browser, started)
finally:
    browser.close()
    for process in started:
        process.kill()
        process.wait()
