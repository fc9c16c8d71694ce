// Times are UTC microseconds, as everywhere in Tocsin.

let offsetUs = 0;

// The page's clock may differ from the server's; durations "since" count on the server's.
export function setServerTime(nowUs) {
  offsetUs = nowUs - Date.now() * 1000;
}

export function serverNowUs() {
  return Date.now() * 1000 + offsetUs;
}

export function clock(us) {
  return new Date(us / 1000).toISOString().slice(11, 19);
}

export function iso(us) {
  return new Date(us / 1000).toISOString();
}

export function span(us) {
  const seconds = Math.abs(us) / 1e6;
  const sign = us < 0 ? "−" : "";
  if (seconds < 60) return `${sign}${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${sign}${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${sign}${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

// Before or after some other moment: +6.3 s, −0.4 s.
export function relative(us) {
  return us > 0 ? `+${span(us)}` : span(us);
}
