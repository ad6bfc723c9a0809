// Small charts of the last two minutes, as SVG.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 240;
const HEIGHT = 60;
/** The number of points, one a second. */
export const POINTS = 120;

export function svg(name, attributes = {}) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  return element;
}

/** A chart of one or two series. Each has a class; the largest value sets the scale. */
export class Chart {
  constructor(label, classes) {
    this.element = svg("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
    });
    this.series = classes.map((name) => {
      const area = svg("path", { class: `area ${name}` });
      const line = svg("path", { class: `line ${name}` });
      this.element.append(area, line);
      return { area, line, values: [] };
    });
  }

  /** Adds a value to each series. `null` is a gap. */
  add(...values) {
    values.forEach((value, at) => {
      const series = this.series[at].values;
      series.push(value);
      if (series.length > POINTS) {
        series.shift();
      }
    });
    this.draw();
  }

  draw() {
    const all = this.series.flatMap(({ values }) => values).filter((value) => value !== null);
    const most = Math.max(...all, 1e-9);
    for (const { area, line, values } of this.series) {
      const first = POINTS - values.length;
      const points = values
        .map((value, at) => [((first + at) / (POINTS - 1)) * WIDTH, value])
        .filter(([, value]) => value !== null)
        .map(([x, value]) => [x.toFixed(1), (HEIGHT - 1 - (value / most) * (HEIGHT - 8)).toFixed(1)]);
      if (points.length < 2) {
        continue;
      }
      const path = points.map(([x, y]) => `${x} ${y}`).join(" L");
      line.setAttribute("d", `M${path}`);
      area.setAttribute("d", `M${points[0][0]} ${HEIGHT} L${path} L${points.at(-1)[0]} ${HEIGHT} Z`);
    }
  }
}
