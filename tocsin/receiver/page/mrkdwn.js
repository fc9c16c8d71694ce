// Slack's mrkdwn to DOM nodes: bold, italic, struck, code, links, quotes, a few emoji.

import { el, link } from "./dom.js";

const EMOJI = {
  rotating_light: "🚨", warning: "⚠️", white_check_mark: "✅", x: "❌", bell: "🔔", fire: "🔥",
  large_green_circle: "🟢", large_yellow_circle: "🟡", large_orange_circle: "🟠",
  red_circle: "🔴", large_blue_circle: "🔵", leftwards_arrow_with_hook: "↩️", rewind: "⏪",
  hourglass_flowing_sand: "⏳", hourglass: "⌛", chart_with_upwards_trend: "📈",
  chart_with_downwards_trend: "📉", moneybag: "💰", eyes: "👀", pager: "📟", gear: "⚙️",
  no_entry: "⛔", construction: "🚧", information_source: "ℹ️", stopwatch: "⏱️", tada: "🎉",
  arrows_counterclockwise: "🔄", heavy_check_mark: "✔️", mag: "🔍", lock: "🔒", zap: "⚡",
};

const INLINE = new RegExp(
  [
    "`(?<code>[^`\\n]+)`",
    "<(?<angle>(?:https?:|mailto:|[@#!])[^>\\n]*)>",
    "(?<![\\w*])\\*(?<bold>[^*\\n]+)\\*(?![\\w*])",
    "(?<![\\w_])_(?<italic>[^_\\n]+)_(?![\\w_])",
    "(?<![\\w~])~(?<struck>[^~\\n]+)~(?![\\w~])",
    ":(?<emoji>[a-z0-9_+-]+):",
  ].join("|"),
  "g",
);

export function mrkdwn(text) {
  return text.split(/(```[^]+?```)/).flatMap((part, index) =>
    index % 2 ? [el("pre", {}, plain(part.slice(3, -3).replace(/^\n/, "")))] : lines(part),
  );
}

function lines(text) {
  const nodes = [];
  let quote = null;
  for (const [index, line] of text.split("\n").entries()) {
    const quoted = /^(?:>|&gt;)\s?/.exec(line);
    if (quoted && quote !== null) quote.append(el("br"));
    if (quoted && quote === null) nodes.push((quote = el("blockquote")));
    if (!quoted && index > 0 && quote === null) nodes.push(el("br"));
    if (!quoted) quote = null;
    if (quoted) quote.append(...inline(line.slice(quoted[0].length)));
    else nodes.push(...inline(line));
  }
  return nodes;
}

function inline(text) {
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    nodes.push(plain(text.slice(at, match.index)), token(match));
    at = match.index + match[0].length;
  }
  nodes.push(plain(text.slice(at)));
  return nodes;
}

function token(match) {
  const { code, angle, bold, italic, struck, emoji } = match.groups;
  if (code !== undefined) return el("code", {}, plain(code));
  if (bold !== undefined) return el("strong", {}, inline(bold));
  if (italic !== undefined) return el("em", {}, inline(italic));
  if (struck !== undefined) return el("s", {}, inline(struck));
  if (emoji !== undefined) return withEmoji(match[0]);
  return reference(angle);
}

function reference(angle) {
  const bar = angle.indexOf("|");
  const target = bar < 0 ? angle : angle.slice(0, bar);
  const label = plain(bar < 0 ? target.replace(/^mailto:/, "") : angle.slice(bar + 1));
  if (target.startsWith("!date^")) return el("time", {}, label);
  if (/^[@#!]/.test(target)) {
    const shown = bar < 0 ? target.replace(/^!/, "@") : angle.slice(bar + 1);
    return el("span", { class: "mention" }, plain(shown));
  }
  return link(target.replaceAll("&amp;", "&"), label);
}

export function withEmoji(text) {
  return text.replace(/:([a-z0-9_+-]+):/g, (whole, name) => EMOJI[name] ?? whole);
}

function plain(text) {
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}
