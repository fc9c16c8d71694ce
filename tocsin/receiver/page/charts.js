// Small live charts drawn as SVG. A few hundred points and five charts need no library; drawing
// them here keeps them legible to screen readers, themed by the style sheet, and free of markup
// from elsewhere. Each chart shares the time axis and the cross-hair with the others.

import { el, svg } from "./dom.js";
import { clock, relative } from "./time.js";

const HEIGHT = 140;
const MARGIN = { top: 28, right: 18, bottom: 20, left: 46 };

const STALE_US = 15e6;

const FORMATS = {
  ratio: (v) => `${trimmed(v * 100)} %`,
  s: (v) => (v < 1 ? `${Math.round(v * 1000)} ms` : `${trimmed(v)} s`),
  "USD/h": (v) => `$${trimmed(v)}/h`,
  "1/s": (v) => `${trimmed(v)}/s`,
};

function trimmed(value) {
  if (value === 0) return "0";
  const significant = Math.abs(value) < 1 ? 2 : 3;
  return Math.abs(value) >= 1000 ? Math.round(value).toString() : Number(value.toPrecision(significant)).toString();
}

export class Charts {
  constructor(root, legend) {
    this.root = root;
    this.legend = legend;
    this.marks = [];
    this.origin = null;
    this.hoverUs = null;
    this.reset({ catalogue: [], points: [] }, 2000);
    new ResizeObserver(() => this.draw()).observe(root);
  }

  reset({ catalogue, points }, limit) {
    this.limit = limit;
    this.newestUs = 0;
    this.names = []; // series in the order of their first point: their colours stay
    this.data = new Map(catalogue.map((chart) => [chart.signal, new Map()]));
    this.panels = catalogue.map((chart) => this.panel(chart));
    this.root.replaceChildren(...this.panels.map(({ node }) => node));
    this.add(points);
  }

  add(points) {
    for (const point of points) {
      if (!this.data.has(point.signal)) continue;
      this.newestUs = Math.max(this.newestUs, point.at_us);
      if (!this.names.includes(point.series)) this.names.push(point.series);
      const series = this.data.get(point.signal);
      if (!series.has(point.series)) series.set(point.series, []);
      const kept = series.get(point.series);
      const before = kept.findLastIndex((one) => one.at_us <= point.at_us);
      const same = before >= 0 && kept[before].at_us === point.at_us;
      kept.splice(same ? before : before + 1, same ? 1 : 0, point); // told again: replaced
      if (kept.length > this.limit) kept.shift();
    }
    this.legend.replaceChildren(
      ...this.names.map((name, index) =>
        el("li", {}, key(index), el("span", {}, name)),
      ),
    );
    this.draw();
  }

  mark(marks, origin) {
    this.marks = marks;
    this.origin = origin;
    this.draw();
  }

  panel(chart) {
    const plot = el("div", { class: "plot" });
    const values = el("ul", { class: "values" });
    const node = el(
      "figure",
      { "data-signal": chart.signal },
      el("figcaption", { title: chart.meaning }, el("span", {}, chart.title), values),
      plot,
    );
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const [from, to] = this.domain();
      const width = box.width - MARGIN.left - MARGIN.right;
      const share = (event.clientX - box.left - MARGIN.left) / width;
      this.hoverUs = from + Math.min(1, Math.max(0, share)) * (to - from);
      this.draw();
    });
    plot.addEventListener("pointerleave", () => {
      this.hoverUs = null;
      this.draw();
    });
    return { chart, node, plot, values };
  }

  domain() {
    let [from, to] = [Infinity, -Infinity];
    for (const series of this.data.values()) {
      for (const points of series.values()) {
        from = Math.min(from, points[0].at_us);
        to = Math.max(to, points.at(-1).at_us);
      }
    }
    for (const { at_us } of this.marks) [from, to] = [Math.min(from, at_us), Math.max(to, at_us)];
    return from < to ? [from, to] : [to - 1e6, to];
  }

  // Drawn at most once a frame, however many points came.
  draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      const domain = this.domain();
      for (const panel of this.panels) this.drawPanel(panel, domain);
    });
  }

  drawPanel({ chart, plot, values }, [from, to]) {
    const series = this.data.get(chart.signal);
    const format = FORMATS[chart.unit] ?? trimmed;
    const latest = this.names
      .map((name, index) => ({ name, index, point: this.at(series.get(name)) }))
      .filter(({ point }) => point !== undefined);
    values.replaceChildren(
      ...latest.map(({ index, point }) => el("li", {}, key(index), this.named(point, format))),
    );
    const width = Math.max(160, plot.clientWidth);
    if (latest.length === 0) {
      plot.replaceChildren(el("p", { class: "empty" }, "No point yet."));
      return;
    }
    const top = ceiling(chart, series);
    const x = (us) => MARGIN.left + ((us - from) / (to - from)) * (width - MARGIN.left - MARGIN.right);
    const y = (v) => HEIGHT - MARGIN.bottom - (v / top) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    const spoken = latest.map(({ name, point }) => `${name} ${this.named(point, format)}`);
    plot.replaceChildren(
      svg(
        "svg",
        { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": `${chart.title}: ${spoken.join(", ")}` },
        grid(top, format, y, width),
        this.timeTicks(from, to, x),
        level(chart.warning, top, y, width, "warning"),
        level(chart.critical, top, y, width, "critical"),
        markLines(this.marks, x),
        this.names.map((name, index) => line(series.get(name) ?? [], index, x, y)),
        this.hoverUs === null
          ? null
          : svg("line", { class: "hover", x1: x(this.hoverUs), x2: x(this.hoverUs), y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }),
      ),
    );
  }

  // A value that is no longer news is not shown as if it were.
  named(point, format) {
    const now = this.hoverUs ?? this.newestUs;
    if (Math.abs(now - point.at_us) > STALE_US) return "no data";
    return point.value === null ? "unknown" : format(point.value);
  }

  // The point to name: under the cross-hair, else the newest.
  at(points) {
    if (points === undefined || this.hoverUs === null) return points?.at(-1);
    return points.findLast((point) => point.at_us <= this.hoverUs) ?? points[0];
  }

  timeTicks(from, to, x) {
    const origin = this.origin ?? from;
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400];
    const step = (steps.find((s) => (to - from) / 1e6 / s <= 4) ?? 86400) * 1e6;
    const ticks = [];
    for (let at = origin + Math.ceil((from - origin) / step) * step; at <= to; at += step) {
      const label = this.origin === null ? clock(at) : short(relative(at - origin));
      ticks.push(svg("text", { class: "tick", x: x(at), y: HEIGHT - 5, "text-anchor": "middle" }, label));
    }
    return ticks;
  }
}

// +30 s, +1 min, +2 min 30 s
function short(text) {
  return text.replace(".0 s", " s").replace(" min 0 s", " min");
}

function ceiling(chart, series) {
  let most = 0;
  for (const points of series.values()) {
    for (const { value } of points) if (value !== null) most = Math.max(most, value);
  }
  // A level counts as soon as the values come near it.
  for (const at of [chart.warning, chart.critical]) {
    if (at !== null && most > at * 0.4) most = Math.max(most, at);
  }
  if (most === 0) return 1;
  if (chart.unit === "ratio" && most > 0.6 && most <= 1) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((m) => m * power).find((v) => v >= most * 1.02) ?? most;
}

function grid(top, format, y, width) {
  return [0, top / 2, top].flatMap((value) => [
    svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
    svg("text", { class: "tick", x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, format(value).replace("/h", "").replace("/s", "")),
  ]);
}

function level(value, top, y, width, kind) {
  if (value === null || value > top) return null;
  return svg("line", { class: `level ${kind}`, x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) });
}

// Steps that stand close together share one label, 2-3; labels that would still touch go higher.
function markLines(marks, x) {
  const groups = [];
  for (const mark of marks) {
    const at = x(mark.at_us);
    const last = groups.at(-1);
    if (last && at - last.end < 12) {
      last.marks.push(mark);
      last.end = at;
    } else {
      groups.push({ marks: [mark], end: at });
    }
  }
  const edges = [-Infinity, -Infinity]; // where the last label of each row ends
  return groups.map(({ marks: near }) => {
    const numbers = near.length > 1 ? `${near[0].number}-${near.at(-1).number}` : near[0].number;
    const middle = (x(near[0].at_us) + x(near.at(-1).at_us)) / 2;
    const half = String(numbers).length * 3.5 + 2;
    const row = edges[0] <= middle - half ? 0 : 1;
    edges[row] = middle + half;
    return svg(
      "g",
      { class: `mark ${near[0].tone}` },
      svg("title", {}, near.map((mark) => `${mark.number} ${mark.title}`).join(", ")),
      near.map((mark) => {
        const at = x(mark.at_us);
        return svg("line", { class: `mark ${mark.tone}`, x1: at, x2: at, y1: MARGIN.top - 3, y2: HEIGHT - MARGIN.bottom });
      }),
      svg("text", { x: middle, y: MARGIN.top - 6 - row * 12, "text-anchor": "middle" }, String(numbers)),
    );
  });
}

// An unknown value breaks the line, and so does a time without points: a gap is not zero.
function line(points, index, x, y) {
  const longest = 4 * usualStep(points);
  const runs = [[]];
  points.forEach((point, i) => {
    const gap = i > 0 && point.at_us - points[i - 1].at_us > longest;
    if (gap || point.value === null) runs.push([]);
    if (point.value !== null) runs.at(-1).push(point);
  });
  const style = `series series-${index % 6}`;
  const place = ({ at_us, value }) => `${x(at_us).toFixed(1)} ${y(value).toFixed(1)}`;
  const drawn = runs.filter((run) => run.length > 1);
  const alone = runs.filter((run) => run.length === 1).flat();
  return [
    svg("path", { class: style, d: drawn.map((run) => `M${run.map(place).join("L")}`).join(""), fill: "none" }),
    alone.map(({ at_us, value }) => svg("circle", { class: style, cx: x(at_us), cy: y(value), r: 2 })),
  ];
}

// The median time between two points.
function usualStep(points) {
  if (points.length < 2) return Infinity;
  const steps = points.slice(1).map((point, i) => point.at_us - points[i].at_us);
  return steps.sort((a, b) => a - b)[Math.floor(steps.length / 2)];
}

function key(index) {
  return svg(
    "svg",
    { class: "key", width: 22, height: 10, "aria-hidden": "true" },
    svg("line", { class: `series series-${index % 6}`, x1: 1, x2: 21, y1: 5, y2: 5 }),
  );
}
