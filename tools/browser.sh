#!/usr/bin/env bash
# Proves that a browser loads the demo page over HTTP/2 and shows it. Headless Chromium opens it
# over TLS. The page's own script writes the protocol of the page into #protocol, and a row for the
# page and for each resource into #resources; all of them must be HTTP/2. The screenshot is
# target/browser.png.
#
#   cargo build --release && tools/browser.sh
source "$(dirname "$0")/lib.sh"
need chromium python3

# browse FLAG...: opens the demo page, and exits when it is loaded.
browse() {
    headless_chromium --ignore-certificate-errors --window-size=1280,900 "$@" "$https/" ||
        { cat "$scratch/chromium.log" "$log" >&2; die "Chromium failed"; }
}

start_tidegate --log info
browse --dump-dom >"$scratch/page.html"
browse --screenshot="$target/browser.png" >/dev/null
python3 - "$scratch/page.html" "$target/browser.png" <<'PYTHON' || { cat "$scratch/page.html" "$log" >&2; exit 1; }
import html.parser, re, struct, sys, zlib

page, screenshot = sys.argv[1:]


class Texts(html.parser.HTMLParser):
    """The text below each element that has an id; elements without an end tag don't nest."""

    def __init__(self):
        super().__init__()
        self.open, self.texts = [], {}

    def handle_starttag(self, tag, attributes):
        if tag not in ("area", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"):
            self.open.append((tag, dict(attributes).get("id")))

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        for _, name in self.open:
            if name:
                self.texts[name] = self.texts.get(name, "") + " " + data


texts = Texts()
texts.feed(open(page).read())
protocol = texts.texts.get("protocol", "").strip()
over = re.findall(r"HTTP/[0-9.]+|\bcache\b|\bunknown\b", texts.texts.get("resources", ""))
if protocol != "HTTP/2":
    sys.exit(f"FAIL  Chromium loaded the page over {protocol!r}, not over HTTP/2")
if len(over) < 4 or set(over) != {"HTTP/2"}:
    sys.exit(f"FAIL  page, style, script and image should have been loaded over HTTP/2: {over}")

# A rendered page has many colours; an empty page compresses to almost nothing.
data = open(screenshot, "rb").read()
assert data.startswith(b"\x89PNG"), "the screenshot isn't a PNG"
width, height = struct.unpack(">II", data[16:24])
at, packed = 8, b""
while at < len(data):
    (length,) = struct.unpack(">I", data[at : at + 4])
    packed += data[at + 8 : at + 8 + length] if data[at + 4 : at + 8] == b"IDAT" else b""
    at += 12 + length
colours = len(set(zlib.decompress(packed)))
if colours < 32:
    sys.exit(f"FAIL  the screenshot of {width}x{height} looks empty")
print(f"ok    Chromium loaded the page and its resources over {protocol}, {len(over)} requests; {screenshot} shows it")
PYTHON
