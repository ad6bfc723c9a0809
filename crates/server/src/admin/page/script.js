// The live page: draws what /api/events sends once a second.

import { Chart, svg } from "/page/charts.js";

const byId = (id) => document.getElementById(id);
const ROWS = 50;

// --- Words and numbers ---

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function scaled(value, units, step) {
  let unit = 0;
  while (value >= step && unit < units.length - 1) {
    value /= step;
    unit += 1;
  }
  return [value < 10 && unit > 0 ? value.toFixed(1) : whole.format(value), units[unit]];
}

const bytes = (value) => scaled(value, ["B", "KiB", "MiB", "GiB", "TiB"], 1024).join(" ");

function duration(seconds) {
  if (seconds < 60) {
    return `${Math.floor(seconds)} s`;
  }
  if (seconds < 3600) {
    return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  }
  if (seconds < 86_400) {
    return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  }
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

const milliseconds = (value) =>
  value === null ? "–" : value < 1 ? `${whole.format(value * 1000)} µs` : value < 10 ? `${value.toFixed(1)} ms` : value < 1000 ? `${whole.format(value)} ms` : `${number.format(value / 1000)} s`;

const percent = (part, all) => (all > 0 ? `${whole.format((100 * part) / all)} %` : "–");

// --- Elements ---

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) {
      element.setAttribute(key, value);
    }
  }
  element.append(...children);
  return element;
}

const cell = (content, kind) => make("td", { class: kind }, ...[content].flat());
const badge = (text, kind = "") => make("span", { class: `badge ${kind}` }, text);
const note = (text) => make("span", { class: "note" }, text);

function empty(columns, text) {
  return make("tr", { class: "empty" }, make("td", { colspan: columns }, text));
}

// --- Totals ---

const tiles = {};

function tile(name, title, chart) {
  const value = make("p", { class: "value" }, "–");
  const more = make("p", { class: "more" });
  byId("tiles").append(make("article", { class: "tile", id: `tile-${name}` }, make("h3", {}, title), value, more, chart.element));
  tiles[name] = { value, more, chart };
}

tile("requests", "Requests a second", new Chart("Requests a second", [""]));
tile("latency", "Latency", new Chart("Latency", ["", "second"]));
tile("errors", "Errors a second", new Chart("Errors a second", ["bad"]));
tile("traffic", "Traffic a second", new Chart("Traffic a second", ["", "second"]));
tile("connections", "Connections", new Chart("Connections and streams", ["", "second"]));
tile("memory", "Memory held", new Chart("Memory held", [""]));

function show(name, value, unit, more, ...points) {
  const { value: element, more: below, chart } = tiles[name];
  element.replaceChildren(value, make("small", {}, unit));
  below.replaceChildren(...[more].flat());
  chart.add(...points);
}

/** Returns the time within which this share of the requests were answered, in milliseconds. */
function quantile(counts, bounds, share) {
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (all === 0) {
    return null;
  }
  let below = 0;
  for (let at = 0; at < counts.length; at += 1) {
    if (below + counts[at] >= share * all) {
      const from = at === 0 ? 0 : bounds[at - 1];
      const to = bounds[at] ?? from;
      return from + ((share * all - below) / Math.max(counts[at], 1)) * (to - from);
    }
    below += counts[at];
  }
  return bounds.at(-1);
}

let last = null;

function showOverview(now) {
  const before = last;
  last = now;
  byId("facts").replaceChildren(
    ...[`version ${now.version}`, `up ${duration(now.uptime)}`, `${now.workers} ${now.workers === 1 ? "worker" : "workers"}`].map((text) => make("span", {}, text)),
  );
  document.body.dataset.requests = now.requests;
  const passed = before ? now.uptime - before.uptime : 0;
  const rate = (pick) => (passed > 0 ? Math.max(pick(now) - pick(before), 0) / passed : 0);
  const requests = rate((all) => all.requests);
  show("requests", number.format(requests), "/s", `${whole.format(now.requests)} so far`, requests);

  const counts = now.latency.counts.map((count, at) => count - (before?.latency.counts[at] ?? 0));
  const [median, late] = before ? [0.5, 0.95].map((share) => quantile(counts, now.latency.bounds_ms, share)) : [null, null];
  show("latency", milliseconds(median), median === null ? "" : "median", late === null ? "no request in this second" : [key("second"), `95 % within ${milliseconds(late)}`], median, late);

  const failed = (all) => (all.responses["5xx"] ?? 0) + all.resets;
  const errors = rate(failed);
  const refused = rate((all) => all.responses["4xx"] ?? 0);
  show("errors", number.format(errors), "/s", `5xx and resets; 4xx: ${number.format(refused)} /s`, errors);

  const [sent, received] = [rate((all) => all.bytes_out), rate((all) => all.bytes_in)];
  const [value, unit] = scaled(sent, ["B", "KiB", "MiB", "GiB"], 1024);
  show("traffic", value, `${unit}/s out`, [key("second"), `${bytes(received)}/s in; headers ${percent(now.headers.saved, now.headers.fields_in + now.headers.fields_out)} smaller`], sent, received);
  show("connections", whole.format(now.connections), "open", [key("second"), `${whole.format(now.streams)} streams`], now.connections, now.streams);
  const [held, heldUnit] = scaled(now.memory.held, ["B", "KiB", "MiB", "GiB"], 1024);
  show("memory", held, heldUnit, now.memory.budget ? `${percent(now.memory.held, now.memory.budget)} of ${bytes(now.memory.budget)}` : "no limit", now.memory.held);
}

const key = (kind) => make("span", { class: `key ${kind}` });

// --- Upstreams ---

let mayWrite = false;

function showUpstreams(upstreams) {
  byId("upstreams-section").hidden = upstreams.length === 0;
  byId("upstreams").replaceChildren(...upstreams.map((upstream) => {
    const health = { up: ["up", "good"], failing: ["failing", "bad"], draining: ["draining", "warn"] }[upstream.health];
    const action = make("td", { class: "action" });
    if (mayWrite) {
      const drains = upstream.health === "draining";
      const button = make("button", { type: "button", class: drains ? "" : "danger" }, drains ? "Use again" : "Drain");
      button.addEventListener("click", () => act(`/api/upstreams/${encodeURIComponent(upstream.address)}/${drains ? "restore" : "drain"}`));
      action.append(button);
    }
    return make("tr", {}, cell(upstream.name), cell(upstream.address), cell(badge(...health)), cell(whole.format(upstream.connections), "number"), cell(whole.format(upstream.requests), "number"), action);
  }));
}

async function act(path) {
  const response = await fetch(path, { method: "POST", headers: { "x-tidegate-admin": "1" } });
  if (!response.ok) {
    alert(`${response.status}: ${await response.text()}`);
  }
}

// --- The list ---

const COLUMNS = [
  ["client", "Client", ""],
  [null, "Protocol", ""],
  ["age", "Age", "number"],
  ["rtt", "RTT", "number"],
  ["streams", "Streams", "number"],
  ["requests", "Requests", "number"],
  ["bytes_in", "In", "number"],
  ["bytes_out", "Out", "number"],
  ["saved", "Headers", "number"],
  ["stalled", "Windows", ""],
  ["guard", "Budgets", ""],
  ["memory", "Memory", "number"],
];

const view = {
  sort: "streams",
  order: "desc",
  offset: 0,
  filter: "",
  side: "client",
  protocol: "all",
  activity: "all",
  connection: "",
};

for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
  if (Object.hasOwn(view, name)) {
    view[name] = name === "offset" ? Number(value) || 0 : value;
  }
}

for (const [name, title, kind] of COLUMNS) {
  const head = make("th", { class: kind, scope: "col" });
  const button = make("button", { type: "button" }, title);
  button.disabled = name === null;
  button.addEventListener("click", () => {
    if (view.sort === name) {
      view.order = view.order === "desc" ? "asc" : "desc";
    } else {
      [view.sort, view.order] = [name, name === "client" ? "asc" : "desc"];
    }
    view.offset = 0;
    watch();
  });
  head.append(button);
  head.dataset.sort = name;
  byId("columns").append(head);
}

function windows(row) {
  if (row.stalled > 0) {
    return badge(`${row.stalled} stalled`, "bad");
  }
  return row.socket_full ? badge("socket full", "warn") : badge(row.protocol === "HTTP/2" ? "open" : "–", row.protocol === "HTTP/2" ? "good" : "");
}

function guard(row) {
  if (!row.guard) {
    return note("–");
  }
  const share = row.guard.spent / row.guard.limit;
  return badge(`${row.guard.name} ${whole.format(100 * share)} %`, share > 0.75 ? "bad" : share > 0.4 ? "warn" : "");
}

function showConnections(list) {
  byId("count").textContent = `${whole.format(list.matched)} of ${whole.format(list.total)}`;
  document.body.dataset.matched = list.matched;
  const rows = list.rows.map((row) => {
    const { headers } = row;
    const name = make("button", { type: "button", title: "Open this connection" }, row.peer);
    const client = row.via ? [name, note(`via ${row.via}`)] : row.side === "upstream" ? [name, note("upstream")] : [name];
    const line = make(
      "tr",
      { "data-id": row.id, class: row.id === view.connection ? "open" : null },
      cell(client),
      cell(row.tls ? [row.protocol, note(row.tls.version.replace("TLSv", "TLS ").replace("_", "."))] : row.protocol),
      cell(duration(row.age), "number"),
      cell(milliseconds(row.rtt_ms), "number"),
      cell(whole.format(row.streams), "number"),
      cell(whole.format(row.requests), "number"),
      cell(bytes(row.bytes_in), "number"),
      cell(bytes(row.bytes_out), "number"),
      cell(headers.saved > 0 ? `−${percent(headers.saved, headers.fields_in + headers.fields_out)}` : "–", "number"),
      cell(windows(row)),
      cell(guard(row)),
      cell(row.resting ? [note("rests "), bytes(row.memory)] : bytes(row.memory), "number"),
    );
    return line;
  });
  const focused = document.activeElement?.closest?.("tr[data-id]")?.dataset.id;
  byId("connections").replaceChildren(...(rows.length > 0 ? rows : [empty(COLUMNS.length, "No connection is like this.")]));
  if (focused) {
    byId("connections").querySelector(`tr[data-id="${CSS.escape(focused)}"] button`)?.focus();
  }
  const until = list.offset + list.rows.length;
  byId("range").textContent = list.matched > 0 ? `${whole.format(list.offset + 1)} to ${whole.format(until)} of ${whole.format(list.matched)}` : "";
  byId("before").disabled = list.offset === 0;
  byId("after").disabled = until >= list.matched;
}

byId("connections").addEventListener("click", (event) => {
  const id = event.target.closest("tr[data-id]")?.dataset.id;
  if (id) {
    view.connection = view.connection === id ? "" : id;
    watch();
    byId("one").scrollIntoView({ block: "nearest" });
  }
});

byId("before").addEventListener("click", () => turn(-ROWS));
byId("after").addEventListener("click", () => turn(ROWS));

function turn(rows) {
  view.offset = Math.max(view.offset + rows, 0);
  watch();
}

byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filters").addEventListener("input", ({ target }) => {
  view[target.name] = target.value;
  view.offset = 0;
  clearTimeout(typed);
  typed = setTimeout(watch, target.name === "filter" ? 300 : 0);
});
let typed;

// --- One connection ---

const WAITS = {
  nothing: ["nothing", "good"],
  "stream-window": ["client's stream window", "bad"],
  "connection-window": ["client's connection window", "bad"],
  socket: ["socket", "warn"],
  upstream: ["upstream", "sea"],
  handler: ["handler", "sea"],
  "client-body": ["client's body", ""],
};

function figure(name, value) {
  return make("div", {}, make("p", { class: "name" }, name), make("p", { class: "value" }, value));
}

function showOne(one) {
  const section = byId("one");
  section.hidden = !view.connection;
  if (!view.connection) {
    return;
  }
  section.dataset.id = one?.id ?? "";
  if (!one) {
    byId("one-title").textContent = "This connection has ended";
    byId("one-end").hidden = true;
    return;
  }
  const { http2 } = one;
  byId("one-end").hidden = !mayWrite;
  byId("one-title").textContent = one.peer;
  const tls = one.tls ? [one.tls.version.replace("TLSv", "TLS ").replace("_", "."), one.tls.cipher, one.tls.sni ?? "no SNI"] : ["cleartext"];
  byId("one-facts").replaceChildren(...[one.protocol, ...tls, `worker ${one.worker}`, one.resting ? "rests" : ""].filter(Boolean).map((text) => make("span", {}, text)));
  const { headers } = one;
  byId("one-figures").replaceChildren(
    figure("Age", duration(one.age)),
    figure("Round trip", milliseconds(one.rtt_ms)),
    figure("Requests", whole.format(one.requests)),
    figure("Received", bytes(one.bytes_in)),
    figure("Sent", bytes(one.bytes_out)),
    figure("Headers received", `${bytes(headers.fields_in)} as ${bytes(headers.blocks_in)}`),
    figure("Headers sent", `${bytes(headers.fields_out)} as ${bytes(headers.blocks_out)}`),
    ...(http2 ? [figure("Client's window", bytes(http2.send_window)), figure("Our window", bytes(http2.receive_window))] : []),
    figure("Memory", bytes(one.memory)),
  );
  byId("one-streams").replaceChildren(
    ...(one.open_streams.length > 0 ? one.open_streams.map(stream) : [empty(10, "No stream is open.")]),
  );
  for (const part of document.querySelectorAll(".only-http2")) {
    part.hidden = !http2;
  }
  if (http2) {
    showHttp2(http2);
  }
}

function stream(one) {
  const wait = WAITS[one.waits_for];
  const stalled = one.stalled_ms === null ? [] : [note(`for ${milliseconds(one.stalled_ms)}`)];
  return make(
    "tr",
    {},
    cell(String(one.id), "number"),
    cell(one.state),
    cell(one.urgency === null ? "–" : `u=${one.urgency}${one.incremental ? ", i" : ""}`),
    cell([badge(...wait), ...stalled]),
    cell(one.send_window === null ? "–" : bytes(one.send_window), "number"),
    cell(one.receive_window === null ? "–" : one.receive_window < 0 ? `−${bytes(-one.receive_window)}` : bytes(one.receive_window), "number"),
    cell(bytes(one.queued), "number"),
    cell(bytes(one.sent), "number"),
    cell(one.status === null ? "–" : String(one.status), "number"),
    cell(one.handler ?? "–"),
  );
}

function meter({ name, spent, limit, per_second: perSecond }) {
  const share = Math.min(spent / limit, 1);
  const bar = svg("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", role: "img", "aria-label": `${spent} of ${limit}` });
  bar.append(svg("rect", { width: 100 * share, height: 4 }));
  const kind = share > 0.75 ? "bad" : share > 0.4 ? "warn" : "";
  const title = `${whole.format(perSecond)} are refilled per second`;
  return make("div", { class: `meter ${kind}`, title }, make("span", { class: "name" }, name.replaceAll("_", " ")), bar, make("span", { class: "of" }, `${whole.format(spent)} of ${whole.format(limit)}`));
}

function showHttp2(http2) {
  byId("one-guards").replaceChildren(...http2.guards.map(meter));
  const value = (setting) => (setting === null ? "–" : String(setting));
  byId("one-settings").replaceChildren(
    ...http2.settings.map((row) => make("tr", {}, cell(row.name), cell(value(row.ours), "number"), cell(value(row.peers), "number"))),
  );
  byId("one-frames").replaceChildren(...http2.last_frames.toReversed().map((frame) => {
    const received = frame.direction === "received";
    return make(
      "li",
      {},
      make("span", { class: received ? "in" : "out", title: frame.direction }, received ? "↓" : "↑"),
      make("span", {}, frame.kind),
      make("span", { class: "dim" }, frame.stream ? `#${frame.stream}` : "–"),
      make("span", { class: "dim" }, `${frame.length} B`),
      make("span", { class: "dim" }, frame.flags.join(" ")),
    );
  }));
  if (http2.last_frames.length === 0) {
    byId("one-frames").replaceChildren(make("li", {}, make("span"), "forgotten at rest"));
  }
  for (const [name, table] of [["decoder", http2.decoder], ["encoder", http2.encoder]]) {
    byId(`one-${name}-size`).textContent = `${whole.format(table.size)} of ${whole.format(table.max_size)} B, ${table.len} entries`;
    byId(`one-${name}`).replaceChildren(
      ...(table.entries.length > 0
        ? table.entries.map((entry) => make("tr", {}, cell(String(entry.index), "number"), cell(entry.name), cell(entry.value ?? note(`${entry.value_len} bytes, not shown`))))
        : [empty(3, "The table is empty.")]),
    );
  }
}

byId("one-close").addEventListener("click", () => {
  view.connection = "";
  watch();
});
byId("one-end").addEventListener("click", () => {
  if (confirm("End this connection? Its requests are lost.")) {
    act(`/api/connections/${encodeURIComponent(view.connection)}/close`);
  }
});

// --- Events ---

let source = null;

function setLive(state, text) {
  byId("live").dataset.state = state;
  byId("live").textContent = text;
}

/** Begins to watch what `view` says, in place of what was watched before. */
function watch() {
  source?.close();
  const parameters = new URLSearchParams({ ...view, limit: ROWS });
  history.replaceState(null, "", `#${new URLSearchParams(Object.entries(view).filter(([, value]) => value !== ""))}`);
  for (const head of byId("columns").children) {
    if (head.dataset.sort === view.sort) {
      head.setAttribute("aria-sort", view.order === "desc" ? "descending" : "ascending");
    } else {
      head.removeAttribute("aria-sort");
    }
  }
  if (document.hidden) {
    setLive("paused", "paused");
    return;
  }
  source = new EventSource(`/api/events?${parameters}`);
  source.addEventListener("message", ({ data }) => {
    const event = JSON.parse(data);
    mayWrite = event.overview.may_write;
    showOverview(event.overview);
    showUpstreams(event.upstreams);
    showConnections(event.connections);
    showOne(event.connection);
    setLive("live", event.connections.late_workers > 0 ? `live, ${event.connections.late_workers} workers are late` : "live");
  });
  source.addEventListener("error", () => {
    last = null;
    const isOver = source.readyState === EventSource.CLOSED;
    setLive("lost", isOver ? "refused: too many viewers?" : "connecting again");
    if (isOver) {
      setTimeout(watch, 5000);
    }
  });
}

for (const name of ["filter", "side", "protocol", "activity"]) {
  byId("filters").elements[name].value = view[name];
}
// Nobody looks at a hidden page, so the server need not answer.
document.addEventListener("visibilitychange", watch);
watch();
