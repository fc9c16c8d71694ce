// The page is whole without this. It adds: the newest figures without a reload, one cross-hair
// through all charts, and the choice of a theme.

import { themeButton } from "/rollout/theme.js";

const EVERY_MS = 5000;
const SVG = "http://www.w3.org/2000/svg";
const status = document.getElementById("status");

const theme = document.getElementById("theme");
theme.hidden = false;
themeButton(theme);

// --- One cross-hair -----------------------------------------------------------------------------

function plots() {
  return [...document.querySelectorAll("svg.plot[data-points]")];
}

function nearest(points, place) {
  let best = null;
  for (const point of points) {
    if (best === null || Math.abs(point[0] - place) < Math.abs(best[0] - place)) best = point;
  }
  return best;
}

function readout(plot) {
  const figure = plot.closest(".figure");
  let output = figure.querySelector(".readout");
  if (output === null) {
    output = document.createElement("p");
    output.className = "readout";
    output.ariaHidden = "true"; // the same figures stand in the table
    figure.append(output);
  }
  return output;
}

function cross(plot, place) {
  const line = plot.querySelector(".cross") ?? plot.appendChild(document.createElementNS(SVG, "line"));
  const x = `${(place * 100).toFixed(2)}%`;
  for (const [name, value] of Object.entries({ class: "cross", x1: x, x2: x, y1: 10, y2: plot.clientHeight - 20 })) {
    line.setAttribute(name, value);
  }
}

function show(place) {
  for (const plot of plots()) {
    const points = (plot.points ??= JSON.parse(plot.dataset.points));
    const point = nearest(points, place);
    if (point === null) continue;
    cross(plot, point[0]);
    readout(plot).textContent = `${point[1]}  ${point[2]}`;
  }
}

function hide() {
  for (const plot of plots()) {
    plot.querySelector(".cross")?.remove();
    readout(plot).textContent = "";
  }
}

document.addEventListener("pointermove", (event) => {
  const plot = event.target.closest?.("svg.plot[data-points]");
  if (!plot) return;
  const box = plot.getBoundingClientRect();
  show((event.clientX - box.left) / box.width);
});
document.addEventListener("pointerout", (event) => {
  const plot = event.target.closest?.("svg.plot[data-points]");
  if (plot && !plot.contains(event.relatedTarget)) hide();
});

// --- The newest figures ---------------------------------------------------------------------------

// Nothing is taken out of the hands of somebody who types, or who looks at a moment.
function busy() {
  const typed = [...document.querySelectorAll("#abort input:not([type=hidden])")].some((input) => input.value !== "");
  return typed || document.activeElement?.matches("#abort *") || document.querySelector(".cross") !== null;
}

function said(state, text) {
  if (status.textContent !== text) status.textContent = text;
  status.dataset.state = state;
}

// The browser parses the answer and runs nothing in it.
function fetched() {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.timeout = EVERY_MS;
    request.onload = () => resolve(request);
    request.onerror = request.ontimeout = () => reject(new Error("no answer"));
    request.send();
  });
}

async function refresh() {
  const main = document.getElementById("main");
  if (!("live" in main.dataset)) return;
  setTimeout(refresh, EVERY_MS);
  if (busy() || document.hidden) return;
  let request;
  try {
    request = await fetched();
  } catch {
    said("lost", "connection lost: figures stand still");
    return;
  }
  if (request.status === 401) {
    location.reload();
    return;
  }
  const fresh = request.response?.getElementById("main");
  if (!fresh || busy()) return;
  const open = [...main.querySelectorAll("details[open]")].map((details) => details.id);
  const before = document.getElementById("headline")?.textContent;
  main.replaceWith(document.adoptNode(fresh));
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  document.title = request.response.title;
  const live = "live" in fresh.dataset;
  said("live", live ? "live" : "");
  const after = document.getElementById("headline")?.textContent;
  if (after && after !== before) document.getElementById("announcer").textContent = document.title;
}

setTimeout(refresh, EVERY_MS);
