// PagerDuty's incidents: those that still want somebody first, then the newest.

import { el, link } from "./dom.js";
import { clock, iso, serverNowUs, span } from "./time.js";

const STATUS = {
  triggered: { mark: "▲", label: "Triggered" },
  acknowledged: { mark: "◆", label: "Acknowledged" },
  resolved: { mark: "✓", label: "Resolved" },
};

export class IncidentPane {
  constructor(root, count) {
    this.root = root;
    this.count = count;
    this.reset([], 200);
  }

  reset(incidents, limit) {
    this.limit = limit;
    this.incidents = new Map(incidents.map((one) => [one.number, one]));
    this.render(null);
  }

  show(incident) {
    this.incidents.set(incident.number, incident);
    while (this.incidents.size > this.limit) {
      this.incidents.delete(this.incidents.keys().next().value);
    }
    this.render(incident.number);
  }

  render(fresh) {
    const all = [...this.incidents.values()].sort(
      (a, b) => (a.status === "resolved") - (b.status === "resolved") || b.number - a.number,
    );
    const open = all.filter((one) => one.status !== "resolved").length;
    this.count.textContent = all.length ? `${open} open, ${all.length - open} resolved` : "";
    this.root.replaceChildren(
      ...(all.length
        ? all.map((one) => card(one, one.number === fresh))
        : [el("p", { class: "empty" }, "Nobody was paged yet.")]),
    );
    this.tick();
  }

  // Once a second: how long the open ones have been open.
  tick() {
    for (const node of this.root.querySelectorAll("[data-since]")) {
      node.textContent = `open for ${span(serverNowUs() - Number(node.dataset.since))}`;
    }
  }
}

function card(incident, fresh) {
  const status = STATUS[incident.status] ?? { mark: "?", label: incident.status };
  const open = incident.status !== "resolved";
  return el(
    "article",
    { class: `incident ${incident.status}${fresh ? " fresh" : ""}`, "data-key": incident.dedup_key },
    el(
      "p",
      { class: "incident-head" },
      el("span", { class: `pill ${incident.status}` }, `${status.mark} ${status.label}`),
      el("span", { class: `severity ${incident.severity}` }, incident.severity),
      open
        ? el("span", { class: "quiet", "data-since": incident.opened_at_us })
        : el("span", { class: "quiet" }, `after ${span(incident.changed_at_us - incident.opened_at_us)}`),
      el("span", { class: "quiet number" }, `#${incident.number}`),
    ),
    el("h3", {}, incident.summary),
    facts(incident),
    details(incident.custom_details),
    links(incident),
    el("ol", { class: "log" }, incident.log.map(entry)),
  );
}

function facts(incident) {
  const rows = [
    ["Dedup key", el("code", {}, incident.dedup_key)],
    ["Source", incident.source],
    ["Component", incident.component],
    ["Group", incident.group],
    ["Class", incident.class_],
  ].filter(([, value]) => value);
  return el("dl", { class: "facts" }, rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function details(custom) {
  const rows = Object.entries(custom ?? {});
  if (rows.length === 0) return null;
  return el(
    "table",
    {},
    el("caption", { class: "unseen" }, "Custom details"),
    el("tbody", {}, rows.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, shown(value))))),
  );
}

function shown(value) {
  if (Array.isArray(value)) return value.map(shown).join("\n");
  return typeof value === "string" ? value : JSON.stringify(value, null, 1);
}

function links(incident) {
  const all = [...incident.links];
  if (incident.client_url) all.push({ href: incident.client_url, text: incident.client });
  if (all.length === 0) return null;
  return el("p", { class: "links" }, all.map((one) => link(one?.href, String(one?.text ?? one?.href))));
}

const ACTIONS = { trigger: "triggered", acknowledge: "acknowledged", resolve: "resolved" };

function entry(item, index) {
  const again = item.action === "trigger" && index > 0 ? " again (nobody paged)" : "";
  return el(
    "li",
    { class: item.action },
    el("time", { datetime: iso(item.at_us) }, clock(item.at_us)),
    ` ${ACTIONS[item.action] ?? item.action}${again}`,
    item.summary && index > 0 ? el("span", { class: "quiet" }, `: ${item.summary}`) : null,
  );
}
