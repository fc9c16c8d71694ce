// Every visible text with its contrast ratio (WCAG 2.2, section 1.4.3), colours as painted.
const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
canvas.canvas.width = canvas.canvas.height = 1;

function painted(colours) {
  canvas.clearRect(0, 0, 1, 1);
  for (const colour of colours) {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
  }
  return canvas.getImageData(0, 0, 1, 1).data;
}

function luminance([r, g, b]) {
  const [x, y, z] = [r, g, b].map((v) => {
    const s = v / 255;
    return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
}

function grounds(element) {
  const layers = [];
  for (let at = element; at; at = at.parentElement) {
    layers.unshift(getComputedStyle(at).backgroundColor);
  }
  return ["white", ...layers];
}

for (const animation of document.getAnimations()) animation.finish();
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const measured = [];
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const text = walker.currentNode.textContent.trim();
  if (!text || !element.checkVisibility() || element.closest("noscript, .unseen, title, .skip")) continue;
  const style = getComputedStyle(element);
  const ink = element instanceof SVGElement ? style.fill : style.color;
  const ground = grounds(element);
  const [light, dark] = [luminance(painted(ground)), luminance(painted([...ground, ink]))].sort((a, b) => b - a);
  measured.push({ text: text.slice(0, 40), ratio: Math.round(((light + 0.05) / (dark + 0.05)) * 100) / 100 });
}
return measured;
