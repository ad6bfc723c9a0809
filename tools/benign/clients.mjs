// Runs one scenario of an honest client of node's http2, on one connection. Usage: node clients.mjs
// ORIGIN SCENARIO
// Prints the outcome in one line.
import http2 from "node:http2";

const [origin, scenario] = process.argv.slice(2);

const settings = scenario === "paused" ? { initialWindowSize: 1000 } : {};
const session = http2.connect(origin, { rejectUnauthorized: false, settings, maxOutstandingPings: 64 });
session.on("goaway", code => { if (code !== 0) end(`GOAWAY ${code}`); });
session.on("error", error => end(`the session failed: ${error.message}`));

function end(text) {
  console.log(text);
  process.exit(0);
}

// Returns the request, and a promise of the status once the body is complete, or of the error.
function ask(fields, send = request => request.end()) {
  const request = session.request(fields);
  const answer = new Promise((resolve, reject) => {
    let status = 0;
    request.on("response", head => { status = head[":status"]; });
    request.on("error", reject);
    request.on("data", () => {});
    request.on("end", () => resolve(status));
  });
  send(request);
  return { request, answer };
}

const get = (path, more = {}) => ask({ ":path": path, ...more });

async function statuses(answers) {
  const counts = {};
  for (const status of await Promise.all(answers)) counts[status] = (counts[status] ?? 0) + 1;
  return Object.entries(counts).map(([status, count]) => `${count} × ${status}`).join(", ");
}

const scenarios = {
  async cookies() {
    const crumbs = count => Array.from({ length: count }, (_, index) => `crumb${index}=value${index}`);
    return statuses([90, 150].map(count => get("/dot.svg", { cookie: crumbs(count) }).answer));
  },
  // 30 PINGs at once, while 600 requests are made.
  async pings() {
    await new Promise(next => session.once("connect", next));
    const pings = Array.from({ length: 30 }, () => new Promise((resolve, reject) => {
      session.ping(error => error ? reject(error) : resolve());
    }));
    const answers = Array.from({ length: 600 }, () => get("/dot.svg").answer);
    await Promise.all(pings);
    return statuses(answers);
  },
  async zoom() {
    const kept = [];
    for (let round = 0; round < 5; round++) {
      for (let index = 0; index < 400; index++) {
        const { request, answer } = get("/dot.svg");
        if (index % 10 === 0) {
          kept.push(answer);
        } else {
          answer.catch(() => {});
          request.close(http2.constants.NGHTTP2_CANCEL);
        }
      }
      await Promise.all(kept);
    }
    return statuses(kept);
  },
  async search() {
    let last = null, count = 0;
    for (let key = 0; key < 200; key++) {
      last?.request.close(http2.constants.NGHTTP2_CANCEL);
      last = get("/dot.svg");
      last.answer.catch(() => {});
      await new Promise(next => setImmediate(next));
      count++;
    }
    return `${count} keys, ${await statuses([last.answer])}`;
  },
  // Each write is a DATA frame of its own, and node may send an empty one at the end.
  async tiny() {
    const { answer, request } = ask({ ":path": "/echo", ":method": "POST" }, () => {});
    for (let message = 0; message < 3000; message++) {
      if (!request.write("tiny!")) await new Promise(next => request.once("drain", next));
    }
    request.end();
    return statuses([answer]);
  },
  async uploads() {
    const answers = [];
    for (let index = 0; index < 300; index++) {
      const { answer } = ask({ ":path": "/upload", ":method": "POST" }, request => {
        request.write("a piece");
        request.end();
      });
      answers.push(answer);
    }
    return statuses(answers);
  },
  // The server resets the paused downloads after its --write-timeout, and answers the requests
  // beside them.
  async paused() {
    let over = 0;
    const ends = [];
    for (let index = 0; index < 110; index++) {
      const request = session.request({ ":path": "/large" });
      ends.push(new Promise(resolve => request.on("close", () => { over++; resolve(); })));
      request.on("error", () => {});
      request.pause();
    }
    await Promise.all(ends);
    return `${over} over, ${await statuses(Array.from({ length: 30 }, () => get("/dot.svg").answer))}`;
  },
};

scenarios[scenario]().then(end, error => end(`failed: ${error.message}`));
