// Figures are drawn when they come near the window, and again when light turns to dark.
const templates = JSON.parse(document.getElementById("templates").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Set();

function draw(place) {
  place.spec ??= JSON.parse(place.firstElementChild.textContent);
  if (!place.canvas) {
    place.canvas = document.createElement("div");
    place.canvas.style.height = "100%";
    place.append(place.canvas);
  }
  const { data, layout } = structuredClone(place.spec);
  layout.template = templates[dark.matches ? "dark" : "light"];
  Plotly.react(place.canvas, data, layout, { displayModeBar: false, responsive: true });
  drawn.add(place);
}

const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) {
      near.unobserve(target);
      draw(target);
    }
  }
}, { rootMargin: "600px" });
const places = document.querySelectorAll(".plot");
places.forEach((place) => near.observe(place));

dark.addEventListener("change", () => places.forEach((place) => near.observe(place)));
addEventListener("beforeprint", () => places.forEach((place) => {
  if (place.offsetParent && !drawn.has(place)) draw(place);
}));

document.querySelectorAll("select[data-shows]").forEach((select) => {
  const choices = document.querySelectorAll(`#${select.dataset.shows} > [data-choice]`);
  const show = () => choices.forEach((c) => { c.hidden = c.dataset.choice !== select.value; });
  select.addEventListener("change", show);
  show(); // a browser may remember another choice over a reload
});
