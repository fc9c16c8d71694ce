// The Slack channel: messages oldest first, edited in place, replies under their message.

import { renderBlock } from "./blocks.js";
import { el, link } from "./dom.js";
import { mrkdwn, withEmoji } from "./mrkdwn.js";
import { clock, iso } from "./time.js";

const COLOURS = { good: "#2eb67d", warning: "#ecb22e", danger: "#e01e5a" };

export class MessagePane {
  constructor(root, channel, count) {
    this.root = root;
    this.channel = channel;
    this.count = count;
    this.reset([], 500);
  }

  reset(messages, limit) {
    this.limit = limit;
    this.nodes = new Map(); // channel/ts -> {node, thread}
    this.root.replaceChildren(el("p", { class: "empty" }, "No message yet."));
    for (const message of messages) this.show(message, false);
  }

  show(message, fresh = true) {
    const key = `${message.channel}/${message.ts}`;
    const known = this.nodes.get(key);
    const thread = known?.thread ?? el("div", { class: "thread" });
    const node = el(
      "article",
      { class: fresh ? "message fresh" : "message", "data-ts": message.ts },
      el("img", { src: "/page/bell.svg", alt: "", width: 36, height: 36, class: "avatar" }),
      el("div", { class: "message-body" }, this.head(message), ...content(message)),
    );
    if (known) {
      known.node.replaceWith(node);
    } else if (message.thread_ts === null) {
      this.root.querySelector(":scope > .empty")?.remove();
      this.root.append(node);
      this.channel.textContent = `#${message.channel_name}`;
    } else {
      const parent = this.nodes.get(`${message.channel}/${message.thread_ts}`);
      (parent?.thread ?? this.root).append(node);
    }
    if (message.thread_ts === null) node.querySelector(".message-body").append(thread);
    this.nodes.set(key, { node, thread });
    this.trim();
    return node;
  }

  head(message) {
    return el(
      "p",
      { class: "message-head" },
      el("strong", {}, message.username),
      el("span", { class: "badge" }, "APP"),
      el("time", { datetime: iso(message.posted_at_us) }, clock(message.posted_at_us)),
      message.broadcast ? el("span", { class: "badge" }, "ALSO IN THE CHANNEL") : null,
      message.edit_count > 0
        ? el(
            "span",
            { class: "edited", title: message.edits.join("\n") },
            `edited ${message.edit_count === 1 ? "once" : `${message.edit_count} times`}, last ${clock(message.edited_at_us)}`,
          )
        : null,
    );
  }

  trim() {
    while (this.nodes.size > this.limit) {
      const [key, { node }] = this.nodes.entries().next().value;
      node.remove();
      this.nodes.delete(key);
    }
    const heads = this.root.querySelectorAll(":scope > .message").length;
    const all = this.nodes.size;
    this.count.textContent =
      all === 0 ? "" : `${plural(heads, "message")}, ${plural(all - heads, "reply", "replies")}`;
  }
}

function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

// As in Slack: text is what notifications show, blocks are what the channel shows.
function content(message) {
  const nodes = [];
  if (message.blocks.length > 0) nodes.push(...message.blocks.map(renderBlock));
  else if (message.text) nodes.push(el("div", { class: "block-text" }, mrkdwn(message.text)));
  nodes.push(...message.attachments.map(attachment));
  return nodes;
}

function attachment(item) {
  const fields = Array.isArray(item?.fields) ? item.fields : [];
  const node = el(
    "div",
    { class: "attachment" },
    item?.pretext ? el("p", {}, mrkdwn(String(item.pretext))) : null,
    item?.title
      ? el("p", {}, el("strong", {}, item.title_link ? link(item.title_link, item.title) : item.title))
      : null,
    item?.text ? el("div", { class: "block-text" }, mrkdwn(String(item.text))) : null,
    fields.length
      ? el("ul", { class: "fields" }, fields.map((one) => el("li", {}, el("strong", {}, String(one?.title ?? "")), el("br"), mrkdwn(String(one?.value ?? "")))))
      : null,
    Array.isArray(item?.blocks) ? item.blocks.map(renderBlock) : null,
    item?.footer ? el("p", { class: "block-context" }, withEmoji(String(item.footer))) : null,
  );
  const colour = COLOURS[item?.color] ?? (/^#[0-9a-f]{6}$/i.test(item?.color) ? item.color : null);
  if (colour) node.style.borderInlineStartColor = colour;
  return node;
}
