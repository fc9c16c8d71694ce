// Elements from plain values. Texts become text nodes, never markup: what the page shows comes
// from anywhere.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

// A link only where the address is one of the web or of mail; otherwise the bare text.
export function link(href, ...children) {
  let url = null;
  try {
    url = new URL(href);
  } catch {
    url = null;
  }
  if (url === null || !["http:", "https:", "mailto:"].includes(url.protocol)) {
    return el("span", {}, ...children);
  }
  return el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer" }, ...children);
}
