// The loop's story: numbered steps, how long each took, and the three spans that matter.

import { el } from "./dom.js";
import { clock, iso, relative, span } from "./time.js";

const TONES = [
  [/began|down/, "bad"],
  [/applied|requested/, "act"],
  [/recovered|resolved/, "good"],
  [/signal|alert|fired|paged/, "warn"],
];

function toneOf(step) {
  return TONES.find(([pattern]) => pattern.test(step))?.[1] ?? "note";
}

const SPANS = [
  ["Regression to page", "regression_began", "paged"],
  ["Page to rollback", "paged", "rollback_applied"],
  ["Rollback to recovery", "rollback_applied", "recovered"],
];

export class TimelinePane {
  constructor(root, spans) {
    this.root = root;
    this.spans = spans;
    this.marks = [];
  }

  // Returns the newest step, for the announcer.
  show({ steps, catalogue }) {
    const happened = new Map(steps.map((step) => [step.step, step]));
    const titles = new Map(catalogue.map(({ step, title }) => [step, title]));
    const pending = catalogue.filter(({ step }) => !happened.has(step));
    const origin = happened.get("regression_began") ?? steps[0];
    this.origin = origin?.at_us ?? null;
    this.marks = steps.map((step, index) => ({
      at_us: step.at_us,
      number: index + 1,
      title: step.title || titles.get(step.step) || step.step,
      tone: toneOf(step.step),
    }));
    this.root.replaceChildren(
      ...steps.map((step, index) => done(step, this.marks[index], steps[index - 1], origin)),
      ...pending.map(({ title }, index) =>
        el(
          "li",
          { class: "pending" },
          el("span", { class: "dot" }, String(steps.length + index + 1)),
          el("strong", {}, title),
          el("span", { class: "quiet" }, "not yet"),
        ),
      ),
    );
    this.spans.replaceChildren(
      ...SPANS.filter(([, from, to]) => happened.has(from) && happened.has(to)).map(
        ([label, from, to]) =>
          el("div", {}, el("dt", {}, label), el("dd", {}, span(happened.get(to).at_us - happened.get(from).at_us))),
      ),
    );
    return this.marks.at(-1) ?? null;
  }
}

function done(step, mark, before, origin) {
  const since = step === origin ? clock(step.at_us) : relative(step.at_us - origin.at_us);
  return el(
    "li",
    { class: `done ${mark.tone}`, "data-step": step.step },
    el("span", { class: "dot" }, String(mark.number)),
    el("strong", {}, mark.title),
    el(
      "time",
      { datetime: iso(step.at_us), title: before ? `${span(step.at_us - before.at_us)} after the step before` : null },
      since,
    ),
    step.detail ? el("span", { class: "quiet detail" }, step.detail) : null,
  );
}
