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
