// Connects the stream of changes to the panes.

import { Charts } from "./charts.js";
import { IncidentPane } from "./incidents.js";
import { MessagePane } from "./messages.js";
import { themeButton } from "./theme.js";
import { setServerTime } from "./time.js";
import { TimelinePane } from "./timeline.js";

const byId = (id) => document.getElementById(id);

const timeline = new TimelinePane(byId("steps"), byId("spans"));
const charts = new Charts(byId("charts"), byId("legend"));
const messages = new MessagePane(byId("messages"), byId("channel"), byId("slack-count"));
const incidents = new IncidentPane(byId("incidents"), byId("incident-count"));

function announce(text) {
  byId("announcer").textContent = text;
}

function status(state, text) {
  const node = byId("status");
  node.dataset.state = state;
  node.textContent = text;
}

function showTimeline(data) {
  const newest = timeline.show(data);
  charts.mark(timeline.marks, timeline.origin);
  return newest;
}

const HANDLERS = {
  snapshot(data) {
    setServerTime(data.now_us);
    showTimeline(data.timeline);
    charts.reset(data.charts, data.limits.points_a_series);
    messages.reset(data.messages, data.limits.messages);
    incidents.reset(data.incidents, data.limits.incidents);
  },
  timeline(data) {
    const newest = showTimeline(data);
    if (newest) announce(`Step ${newest.number}: ${newest.title}`);
  },
  points(data) {
    charts.add(data);
  },
  message(data) {
    messages.show(data);
    announce(`Slack message ${data.edit_count > 0 ? "edited" : "posted"}: ${data.text}`);
  },
  incident(data) {
    incidents.show(data);
    announce(`PagerDuty incident ${data.status}: ${data.summary}`);
  },
};

const events = new EventSource("/events");
events.addEventListener("open", () => status("live", "live"));
events.addEventListener("error", () => status("lost", "connection lost, trying again"));
for (const [kind, handle] of Object.entries(HANDLERS)) {
  events.addEventListener(kind, (event) => handle(JSON.parse(event.data)));
}

themeButton(byId("theme"));
setInterval(() => incidents.tick(), 1000);
