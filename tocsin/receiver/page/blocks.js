// Block Kit to DOM: what a notifier sends, in Slack's own order and weight.

import { el, link } from "./dom.js";
import { mrkdwn, withEmoji } from "./mrkdwn.js";

export function textObject(object) {
  const text = String(object?.text ?? "");
  return object?.type === "mrkdwn" ? mrkdwn(text) : [withEmoji(text)];
}

const RENDERERS = {
  header: (block) => el("h3", { class: "block-header" }, textObject(block.text)),
  divider: () => el("hr"),
  section: (block) =>
    el(
      "div",
      { class: "block-section" },
      el(
        "div",
        {},
        block.text ? el("div", { class: "block-text" }, textObject(block.text)) : null,
        Array.isArray(block.fields)
          ? el("ul", { class: "fields" }, block.fields.map((one) => el("li", {}, textObject(one))))
          : null,
      ),
      block.accessory ? element(block.accessory) : null,
    ),
  context: (block) => el("p", { class: "block-context" }, list(block.elements).map(element)),
  actions: (block) => el("p", { class: "block-actions" }, list(block.elements).map(element)),
  image: (block) => element(block),
  markdown: (block) => el("div", { class: "block-text" }, mrkdwn(String(block.text ?? ""))),
  rich_text: (block) => el("div", { class: "block-text" }, list(block.elements).map(rich)),
};

export function renderBlock(block) {
  const renderer = RENDERERS[block?.type];
  return renderer ? renderer(block) : el("p", { class: "quiet" }, `[${block?.type ?? "?"} block]`);
}

function list(value) {
  return Array.isArray(value) ? value : [];
}

// Buttons are shown as they look. Pressing one needs Slack itself.
function element(item) {
  switch (item?.type) {
    case "button": {
      const style = ["primary", "danger"].includes(item.style) ? item.style : "plain";
      const label = el("span", { class: `button ${style}` }, textObject(item.text));
      return item.url ? link(item.url, label) : label;
    }
    case "image": // nothing is fetched from elsewhere for a picture
      return el("span", { class: "quiet" }, `[image: ${item.alt_text ?? ""}]`);
    case "mrkdwn":
    case "plain_text":
      return el("span", {}, textObject(item));
    default:
      return el("span", { class: "quiet" }, `[${item?.type ?? "?"}]`);
  }
}

function rich(item) {
  const children = list(item?.elements).map(rich);
  switch (item?.type) {
    case "rich_text_list":
      return el(item.style === "ordered" ? "ol" : "ul", {}, children.map((one) => el("li", {}, one)));
    case "rich_text_preformatted":
      return el("pre", {}, children);
    case "rich_text_quote":
      return el("blockquote", {}, children);
    case "rich_text_section":
      return el("span", {}, children);
    case "link":
      return link(item.url, String(item.text ?? item.url));
    case "emoji":
      return withEmoji(`:${item.name}:`);
    default: {
      const text = String(item?.text ?? "");
      const style = item?.style ?? {};
      if (style.code) return el("code", {}, text);
      if (style.bold) return el("strong", {}, text);
      if (style.italic) return el("em", {}, text);
      return el("span", {}, text);
    }
  }
}
