"use strict";
(() => {
  const section = document.getElementById("pictures");
  if (!section) return;
  for (const viewer of section.querySelectorAll(".viewer")) {
    const slices = JSON.parse(viewer.querySelector("script").textContent);
    const stage = viewer.querySelector(".stage"), slider = viewer.querySelector("input"), said = viewer.querySelector("output");
    const scan = stage.querySelector("img"), paths = stage.querySelectorAll("path[data-of]");
    const show = (at) => {
      const slice = slices[at];
      if (scan) scan.src = slice.scan;
      for (const path of paths) path.setAttribute("d", slice[path.dataset.of]);
      if (said) said.textContent = slice.name;
      if (slider) slider.setAttribute("aria-valuetext", slice.name);
    };
    const steps = { ArrowLeft: -1, ArrowDown: -1, PageDown: -5, ArrowRight: 1, ArrowUp: 1, PageUp: 5, Home: -1e9, End: 1e9 };
    if (slider) {
      slider.addEventListener("input", () => show(Number(slider.value)));
      stage.addEventListener("keydown", (event) => {
        if (!(event.key in steps)) return;
        event.preventDefault();
        slider.value = String(Math.max(0, Math.min(slices.length - 1, Number(slider.value) + steps[event.key])));
        show(Number(slider.value));
      });
    }
    stage.addEventListener("keydown", (event) => {
      if (event.key !== " ") return;
      event.preventDefault();
      stage.classList.toggle("bare");
    });
    const larger = viewer.querySelector("button");
    larger.addEventListener("click", () => {
      larger.textContent = viewer.classList.toggle("large") ? "smaller" : "larger";
      larger.setAttribute("aria-pressed", String(viewer.classList.contains("large")));
    });
  }
  for (const box of section.querySelectorAll("input[data-layer]")) {
    box.addEventListener("change", () => section.classList.toggle("hide-" + box.dataset.layer, !box.checked));
  }
  const look = section.querySelectorAll("input[data-look]");
  const adjust = () => {
    const wanted = [...look].map((one) => one.dataset.look + "(" + one.value + ")").join(" ");
    for (const scan of section.querySelectorAll(".stage img")) scan.style.filter = wanted;
  };
  for (const one of look) one.addEventListener("input", adjust);
})();
