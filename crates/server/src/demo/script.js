"use strict";

const names = { h2: "HTTP/2", h3: "HTTP/3", "http/1.1": "HTTP/1.1" };

function row(name, entry) {
  const cells = [
    name,
    names[entry.nextHopProtocol] ?? (entry.nextHopProtocol || "cache"),
    `${entry.transferSize} B`,
    `${(entry.responseEnd - entry.startTime).toFixed(1)} ms`,
  ];
  const line = document.createElement("tr");
  line.append(...cells.map((text) => {
    const cell = document.createElement("td");
    cell.textContent = text;
    return cell;
  }));
  return line;
}

addEventListener("load", () => {
  const [page] = performance.getEntriesByType("navigation");
  // The server has filled in what it speaks. A proxy before it may speak something else with the browser.
  const protocol = names[page.nextHopProtocol];
  if (protocol) {
    document.getElementById("protocol").textContent = protocol;
  }
  const rows = performance.getEntriesByType("resource").map((entry) => row(new URL(entry.name).pathname, entry));
  document.getElementById("resources").append(row(location.pathname, page), ...rows);
});

document.getElementById("file").addEventListener("change", async ({ target }) => {
  const output = document.getElementById("uploaded");
  output.textContent = "…";
  try {
    const response = await fetch("/upload", { method: "POST", body: target.files[0] });
    const { bytes, sha256 } = await response.json();
    output.textContent = `${bytes} bytes, SHA-256 ${sha256}`;
  } catch (error) {
    output.textContent = String(error);
  }
});

// The panel of this connection: asked for once a second while the page is visible.
const size = (bytes) => (bytes < 10_000 ? `${bytes} B` : `${(bytes / 1000).toFixed(1)} KB`);

function figure(name, value) {
  const group = document.createElement("div");
  const [term, description] = [document.createElement("dt"), document.createElement("dd")];
  term.textContent = name;
  description.textContent = value;
  group.append(term, description);
  return group;
}

async function showConnection() {
  if (document.hidden) {
    return;
  }
  const own = await (await fetch("/connection")).json();
  const { headers } = own;
  const figures = [["Requests so far", own.requests]];
  if (own.streams !== null) {
    figures.push(["Streams open", own.streams]);
  }
  if (headers) {
    const saved = 100 * (1 - (headers.blocks_in + headers.blocks_out) / (headers.fields_in + headers.fields_out));
    figures.push(
      ["Headers received", `${size(headers.fields_in)} as ${size(headers.blocks_in)}`],
      ["Headers sent", `${size(headers.fields_out)} as ${size(headers.blocks_out)}`],
      ["HPACK saved", `${saved.toFixed(0)} %`],
    );
  }
  figures.push(["Received", size(own.bytes_in)], ["Sent", size(own.bytes_out)]);
  document.getElementById("figures").replaceChildren(...figures.map(([name, value]) => figure(name, value)));
  document.getElementById("own").hidden = false;
}

addEventListener("load", () => {
  let asking = false;
  const ask = async () => {
    if (asking) {
      return;
    }
    asking = true;
    try {
      await showConnection();
    } catch {
      // The server may be gone for now.
    }
    asking = false;
  };
  ask();
  setInterval(ask, 1000);
});
